"""What an upstream says of our credential is cut out, however it is written; nothing else is changed."""

from __future__ import annotations

import json

import pytest

from gateway.upstream.hiding import SHORTEST, Secrets

KEY = "sk-ant-api03-Hush_hush-0123"
ODD = 'o/"p\\e\tra+tör=='


def test_a_secret_is_cut_out_wherever_it_is():
    assert Secrets(KEY).hide(f"{KEY}, x-api-key: {KEY}.".encode()) == b"***, x-api-key: ***."


def test_what_holds_none_is_the_same_object():
    data = b"x-api-key: sk-ant-api03-another"
    assert Secrets(KEY).hide(data) is data


@pytest.mark.parametrize("ascii_alone", [True, False])
@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_a_secret_is_found_as_json_may_write_it(ascii_alone, slash):
    written = json.dumps({"message": f"not {ODD}!"}, ensure_ascii=ascii_alone).replace("/", slash)
    assert json.loads(Secrets(ODD).hide(written.encode())) == {"message": "not ***!"}


def test_of_two_secrets_the_longer_is_cut_out_whole():
    assert Secrets(KEY, KEY + "-and-more").hide(f"{KEY}-and-more {KEY}".encode()) == b"*** ***"


@pytest.mark.parametrize("placeholder", ["", "x", "test", "-" * (SHORTEST - 1)])
def test_a_placeholder_is_no_secret(placeholder):
    data = b"a text of x and test and ------------"
    assert Secrets(placeholder).hide(data) is data


def test_half_of_a_character_in_a_secret_is_no_error():
    assert Secrets("half-of-\ud83d-a-pair").hide(b"text") == b"text"
