"""Errors in a stream of Claude's, and what is hidden of them."""

from __future__ import annotations

import pytest

from gateway.core.claude import Fold
from gateway.core.errors import UpstreamRefused
from tests.support.folding import STOP, WAYS, delta, event, finish, fold


@WAYS
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "overloaded_error",
            "Overloaded",
        ),
        ({"error": {"type": "overloaded_error"}}, "overloaded_error", "Claude answered with status 529."),
        ({"type": "error", "error": {"message": "No"}}, "api_error", "No"),
        ({"type": "error", "error": {"type": "new_error", "message": "New"}}, "api_error", "New"),
        ({"type": "error", "error": {"type": ["x"], "message": 7}}, "api_error", "Claude answered with status 500."),
        ({"type": "error", "error": "Overloaded"}, "api_error", "Claude answered with status 500."),
        ({"type": "error"}, "api_error", "Claude answered with status 500."),
        ({}, "api_error", "Claude answered with status 500."),
        ({"type": "overloaded_error"}, "api_error", "Claude answered with status 500."),
        ("null", "api_error", "Claude answered with status 500."),
        ("<html>", "api_error", "Claude answered with status 500."),
        ("", "api_error", "Claude answered with status 500."),
    ],
)
def test_an_error_event_is_an_error_whatever_it_lacks(way, error, kind, message):
    folded, _ = fold([event(error, "error")], way)
    assert isinstance(folded.error, UpstreamRefused)
    assert (folded.error.claude_type, folded.error.message, folded.started) == (kind, message, True)
    assert folded.error.code == f"upstream_{kind}"


@WAYS
def test_an_error_is_known_by_its_type_alone(way):
    assert isinstance(fold([event({"type": "error"}, "")], way)[0].error, UpstreamRefused)


@WAYS
def test_the_first_error_counts(way):
    overloaded = event({"type": "error", "error": {"type": "overloaded_error"}})
    assert fold([event({"type": "error"}), overloaded], way)[0].error.claude_type == "api_error"


def test_an_error_after_the_end_is_an_error():
    assert fold([STOP, event({"type": "error"})])[0].error is not None


@WAYS
def test_what_is_said_once_is_hidden_and_deltas_are_not_looked_at(way):
    asked = []

    def hide(data):
        asked.append(data)
        return data.replace(b"hush", b"***")

    fold = Fold(hide=hide)
    take = getattr(fold, way)
    take(event({"type": "message_start", "message": {"model": "claude-hush"}}))
    take(finish(reason="hush"))
    told = len(asked)
    for _ in range(100):
        take(delta(text="hush"))
    assert len(asked) == told
    take(event({"type": "error", "error": {"type": "invalid_request_error", "message": "no hush"}}))
    assert (fold.model, fold.stop_reason, str(fold.error)) == ("claude-***", "***", "no ***")


@WAYS
def test_what_is_hidden_may_be_about_our_credential(way):
    fold = Fold(hide=lambda data: data.replace(b"hush", b"***"))
    getattr(fold, way)(event({"type": "error", "error": {"type": "authentication_error", "message": "no hush"}}))
    assert fold.error is not None
    assert fold.error.detail == "Claude's answer about the gateway's own credential: event authentication_error: no ***"
