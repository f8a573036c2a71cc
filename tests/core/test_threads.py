"""A conversation kept at Claude is refused in Claude's own words, so that its SDKs go on without one."""

from __future__ import annotations

import pytest

from gateway.core.dialects.messages import error_body
from gateway.core.errors import Forbidden, ThreadsNotOffered
from gateway.core.plans import Plan
from gateway.core.restrictions import check_account_resources, restrictions_of

CLOSED = restrictions_of(Plan())
OPEN = restrictions_of(Plan(account_resources=True))


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_a_thread_needs_account_resources(thread):
    check_account_resources({"thread": thread}, OPEN)
    with pytest.raises(ThreadsNotOffered, match="account_resources"):
        check_account_resources({"thread": thread}, CLOSED)


def test_no_thread_is_no_thread():
    check_account_resources({"thread": None, "messages": []}, CLOSED)


def test_a_container_is_forbidden():
    with pytest.raises(Forbidden, match=r"^container: "):
        check_account_resources({"container": "c_1", "thread": {"type": "create"}}, CLOSED)


def test_the_refusal_carries_claudes_code_for_it():
    error = error_body(ThreadsNotOffered("No."), "req_gw1")["error"]
    assert error == {
        "type": "invalid_request_error",
        "message": "No.",
        "details": {"error_code": "thread_unsupported_request"},
    }
