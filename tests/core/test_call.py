"""A call to Claude."""

from __future__ import annotations

from gateway.core.call import Call
from gateway.core.quota.worst import Worst


def test_what_claude_reads_at_first_is_the_estimate_if_there_is_one():
    assert Call("GET", "/v1/models", b"", {}).entered_tokens == 0
    assert Call("POST", "/v1/messages", b"{}", {}, worst=Worst(300, 10, 0, 0, 100, None)).entered_tokens == 100
