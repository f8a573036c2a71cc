"""Spans of whole requests, as a collector gets them."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from gateway.config.checks import problems
from tests.support.collector import collecting
from tests.support.gateway import configuration, serving
from tests.support.observed import observed
from tests.support.scripted_upstream import HELLO, answer, scripted_upstream, stream
from tests.support.upstreams import refusing_port

CHAT = "/api/chat/stream"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
SERVER, CLIENT, INTERNAL = 2, 3, 1


@pytest.fixture
async def collector():
    async with collecting() as made:
        yield made


@pytest.fixture
def shop(tmp_path, collector):
    def make(claude, traces=None, **sections):
        traces = {"endpoint": collector.url} | (traces or {})
        return serving(configuration(tmp_path, claude.url, traces=traces, **sections))

    return make


async def ask(caller, message="the question of a person", **headers):
    async with caller.post(CHAT, {"message": message}, **headers) as response:
        await response.read()
        return response.status


async def test_a_request_is_a_span_with_what_it_spent_its_time_on(shop, collector):
    before = time.time()
    async with scripted_upstream() as claude, shop(claude) as caller:
        assert await ask(caller) == 200
    after = time.time()
    root = collector.named(f"POST {CHAT}")
    parts = [span for span in collector.spans if span is not root and span.name != root.name]
    assert [span.name for span in parts] == ["reserve", parts[1].name, "first_token", "relay", "settle"]
    assert parts[1].name.startswith("chat claude-")
    assert {span.trace_id for span in parts} == {root.trace_id}
    assert {span.parent_id for span in parts} == {root.span_id}
    assert (root.parent_id, root.kind, root.failed, root.service) == ("", SERVER, False, "tokenweir")
    assert [span.kind for span in parts] == [INTERNAL, CLIENT, INTERNAL, INTERNAL, INTERNAL]
    assert all(before <= root.started <= span.started <= span.ended <= root.ended <= after for span in parts)


async def test_spans_have_the_names_of_the_conventions_and_nothing_that_was_said(shop, collector):
    async with scripted_upstream() as claude, shop(claude) as caller:
        await ask(caller)
        key = caller.key
    root = collector.named(f"POST {CHAT}").attributes
    assert {name: root[name] for name in ("http.request.method", "http.route", "http.response.status_code")} == {
        "http.request.method": "POST", "http.route": CHAT, "http.response.status_code": 200,
    }  # fmt: skip
    assert (root["tokenweir.tenant"], root["tokenweir.kind"]) == ("acme", "done")
    (call,) = [span.attributes for span in collector.spans if span.kind == CLIENT]
    assert (call["gen_ai.operation.name"], call["gen_ai.provider.name"]) == ("chat", "anthropic")
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == (12, 5)
    assert call["gen_ai.response.finish_reasons"] == ["end_turn"]
    everything = b"".join(collector.raw)
    for secret in (b"the question of a person", b"Hello", key.encode(), b"127.0.0.1", b"sk-ant-"):
        assert secret not in everything


async def test_each_attempt_is_a_span_and_says_why_another_followed(shop, collector):
    refused = answer(529, OVERLOADED, b"retry-after-ms: 1")
    async with scripted_upstream(refused, stream(HELLO)) as claude, shop(claude) as caller:
        assert await ask(caller) == 200
    first, second = [span for span in collector.spans if span.kind == CLIENT]
    assert (first.failed, first.attributes["error.type"]) == (True, "upstream_overloaded_error")
    assert (second.failed, second.attributes["gen_ai.usage.output_tokens"]) == (False, 5)
    assert first.ended <= second.started
    assert not collector.named(f"POST {CHAT}").failed


async def test_a_fault_of_the_upstream_makes_the_request_an_error_and_a_limit_does_not(shop, collector):
    plans = {"default": {"requests_per_minute": 1}}
    async with scripted_upstream(answer(400, OVERLOADED)) as claude, shop(claude, plans=plans) as caller:
        assert await ask(caller) == 400
        assert await ask(caller) == 429
    failed, refused = [span for span in collector.spans if span.kind == SERVER]
    assert (failed.failed, refused.failed) == (True, False)
    assert refused.attributes["error.type"] == "rate_limited"
    (reserve,) = [span for span in collector.spans if span.parent_id == refused.span_id]
    assert (reserve.name, reserve.attributes["error.type"]) == ("reserve", "rate_limited")


async def test_the_trace_of_the_caller_goes_on_to_claude(shop, collector):
    async with scripted_upstream() as claude, shop(claude) as caller:
        await ask(caller, traceparent=f"00-{TRACE}-{PARENT}-01")
    root = collector.named(f"POST {CHAT}")
    assert (root.trace_id, root.parent_id) == (TRACE, PARENT)
    assert claude.requests[0].headers["traceparent"] == f"00-{TRACE}-{root.span_id}-01"


async def test_who_is_traced_is_the_callers_to_say_and_then_a_share(shop, collector):
    async with scripted_upstream() as claude, shop(claude, {"sample": 0}) as caller:
        await ask(caller, traceparent=f"00-{TRACE}-{PARENT}-00")
        await ask(caller)
        await ask(caller, traceparent="nonsense")
        await ask(caller, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert [span.parent_id for span in collector.spans if span.kind == SERVER] == [PARENT]
    assert [asked.headers["traceparent"][-2:] for asked in claude.requests] == ["00", "00", "00", "01"]


async def test_what_is_not_relayed_leaves_no_span(shop, collector):
    async with scripted_upstream() as claude, shop(claude) as caller, caller.get("/health") as response:
        assert response.status == 200
    assert collector.raw == []


async def test_a_slow_bucket_leads_to_its_trace(shop, collector):
    async with scripted_upstream() as claude, shop(claude) as caller:
        await ask(caller)
        scraped = await scrape(caller, "application/openmetrics-text; version=1.0.0")
        plain = await scrape(caller, "text/plain")
    lines = [line for line in scraped.splitlines() if line.startswith("tokenweir_time_to_first_token_seconds_bucket")]
    (told,) = [line for line in lines if "trace_id" in line]
    assert re.search(r'# \{trace_id="(\w+)"\}', told)[1] == collector.named(f"POST {CHAT}").trace_id
    assert "trace_id" not in plain


async def scrape(caller, accept):
    url = f"{caller.gateway.ops_url}/metrics"
    async with caller.session.get(url, headers={"accept": accept}) as response:
        return await response.text()


async def test_a_collector_that_is_away_is_nobodys_concern(tmp_path):
    traces = {"endpoint": f"http://127.0.0.1:{refusing_port()}", "timeout": 0.2}
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url, traces=traces)) as caller:
        assert await ask(caller) == 200


async def test_without_an_endpoint_nothing_is_traced(tmp_path):
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, outcomes):
        await ask(caller)
        assert (await outcomes.only()).trace_id == ""
    assert "traceparent" not in claude.requests[0].headers


def test_without_an_endpoint_nothing_is_loaded():
    code = "import sys, gateway.app, gateway.cli.serve; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_endpoint_without_the_extra_is_refused_with_what_to_install(tmp_path, monkeypatch):
    config = configuration(tmp_path, "http://127.0.0.1:1", traces={"endpoint": "http://127.0.0.1:4318"})
    assert problems(config) == []
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    (problem,) = problems(config)
    assert "pip install 'tokenweir[otel]'" in problem
