"""The tree of errors is what its documentation draws: codes are stable, statuses and blame are fixed."""

from __future__ import annotations

import inspect
import re

import pytest

from gateway.core import errors
from gateway.core.claude import STATUS_OF_TYPE
from gateway.core.errors import GatewayError, MessageRequired, RateLimited, UpstreamRefused

ALL = {
    name: member
    for name, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, GatewayError) and member is not GatewayError
}
DRAWN = re.compile(r"^ *[│├└─ ]+ (\w+) +(\d{3})? *([a-z_]+)?(?: +origin = (\w+))?", re.MULTILINE)


def test_every_error_is_drawn_with_its_status_and_code():
    drawn = {name: (status, code) for name, status, code, _ in DRAWN.findall(errors.__doc__)}
    assert set(drawn) == set(ALL)
    for name, (status, code) in drawn.items():
        if status:
            assert (str(ALL[name].status), ALL[name].code) == (status, code), name


def test_blame_is_drawn_at_the_branches():
    assert [error.origin for error in (errors.ClientError, errors.GatewayFault, errors.UpstreamError)] == [
        "client",
        "gateway",
        "upstream",
    ]
    assert "ClientError                      origin = client" in errors.__doc__


def test_codes_are_unique():
    own = [error.code for error in ALL.values() if "code" in vars(error)]
    assert len(own) == len(set(own))


def test_every_error_is_one_of_claudes_to_claudes_clients():
    assert {error.claude_type for error in ALL.values()} <= set(STATUS_OF_TYPE)


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, None), (0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.5, 60), (60.0, 60)]
)
def test_the_time_to_come_back_is_whole_seconds_and_never_too_early(seconds, told):
    assert RateLimited("Too much.", limit="key-requests-per-minute", retry_after=seconds).retry_seconds == told


def test_a_wrong_method_is_told_the_right_ones():
    error = errors.MethodNotAllowed("DELETE" * 100, ("POST", "GET"))
    assert (error.allowed, error.message) == ("GET, POST", "This route takes GET, POST, not DELETEDELETEDELETEDE.")


def test_a_missing_message_is_told_as_the_frontends_know_it():
    assert MessageRequired().message == str(MessageRequired()) == "Message is required"


def test_claudes_refusal_is_a_code_of_its_own():
    error = UpstreamRefused("No.", status=529, claude_type="overloaded_error", retryable=True, retry_after=3.0)
    assert (error.code, error.status, error.origin, error.retry_seconds) == (
        "upstream_overloaded_error",
        529,
        "upstream",
        3,
    )
    assert (error.body, dict(error.headers), error.detail) == (None, {}, None)


def test_a_sentence_that_quotes_a_caller_stays_a_sentence():
    error = errors.InvalidRequest("Unknown field: " + "x" * 100_000)
    assert len(error.message) < 1_100
    assert error.message.startswith("Unknown field: xxx")
    assert error.message.endswith("x...")


def test_an_error_that_is_kept_keeps_no_frames_nor_those_of_its_cause():
    with pytest.raises(errors.UpstreamMalformed) as raised:  # noqa: PT012 - what is raised has a cause
        try:
            int("cut")
        except ValueError as cause:
            raise errors.UpstreamMalformed("Claude's answer was cut.") from cause
    error = raised.value
    errors.forget_way(error)
    assert error.__traceback__ is None
    assert isinstance(error.__cause__, ValueError)
    assert error.__cause__.__traceback__ is None
