"""The view of the models by their keys."""

import pytest

from gateway.config import Config
from gateway.config.fields import dotted, holds_secret, nearest, type_at, walk


def test_every_key_of_every_part_is_seen():
    known = {".".join(path) for path, _ in walk(Config)}
    assert {"data_dir", "server.listen", "upstreams.*.api_key", "plans.*.per_key.requests_per_minute"} <= known


def test_a_path_is_written_as_in_the_file():
    assert dotted(("upstreams", 0, "api_key")) == "upstreams[0].api_key"


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (("upstreams", 0, "api_key"), True),
        (("upstreams", 0, "name"), False),
        (("upstreams", 0), True),
        (("upstreams",), True),
        (("database_url",), True),
        (("server", "listen"), False),
        (("server",), False),
        (("plans",), False),
        (("plans", "default"), False),
        (("nothing", "known"), True),
    ],
)
def test_what_may_hold_a_secret_is_not_shown_and_in_doubt_neither(path, secret):
    assert holds_secret(Config, path) is secret


def test_below_a_value_there_is_nothing():
    assert type_at(Config, ("server", "listen", "x")) is None


def test_a_key_like_no_other_has_no_nearest():
    assert nearest(Config, ("zzz", "qqq")) is None
