"""Operators see every further attempt, and why it was made."""

from __future__ import annotations

from tests.support.gateway import configuration, serving
from tests.support.scripted_upstream import HELLO, answer, scripted_upstream, stream


async def test_a_retried_overload_is_counted_under_the_upstream_and_the_code_of_the_failure(tmp_path):
    overloaded = answer(529, b"{}", b"retry-after-ms: 1")
    async with (
        scripted_upstream(overloaded, stream(HELLO)) as claude,
        serving(configuration(tmp_path, claude.url)) as caller,
    ):
        async with caller.post("/api/chat/stream", {"message": "Hello"}) as response:
            assert b'"type":"done"' in await response.read()
        async with caller.session.get(f"{caller.gateway.ops_url}/metrics") as response:
            lines = (await response.text()).splitlines()
    assert len(claude.requests) == 2
    retries = [line for line in lines if line.startswith("tokenweir_upstream_retries_total{")]
    assert retries == ['tokenweir_upstream_retries_total{code="upstream_overloaded_error",upstream="claude"} 1.0']
