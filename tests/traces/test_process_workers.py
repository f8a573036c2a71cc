"""Traces of several workers: each makes its own spans, and their metrics are summed up without exemplars."""

from __future__ import annotations

import aiohttp
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.collector import collecting
from tests.support.process import make_key, serving
from tests.support.scripted_upstream import scripted_upstream

SCRAPER = {"accept": "application/openmetrics-text; version=1.0.0"}


async def test_workers_make_spans_and_no_exemplars(tmp_path):
    async with collecting() as collector, scripted_upstream() as claude:
        variables = {"ANTHROPIC_API_KEY": "sk-ant-mine", "TOKENWEIR_TRACES__ENDPOINT": collector.url}
        async with (
            serving(tmp_path, "serve", "--workers", "2", ANTHROPIC_BASE_URL=claude.url, **variables) as gateway,
            aiohttp.ClientSession(headers={"x-api-key": make_key(tmp_path)}) as session,
        ):
            async with session.post(f"{gateway.url}/api/chat/stream", json={"message": "hi"}) as response:
                assert response.status == 200
                await response.read()
            async with session.get(f"{gateway.ops_url}/metrics", headers=SCRAPER) as response:
                scraped = await response.text()
    samples = [sample for family in text_string_to_metric_families(scraped) for sample in family.samples]
    assert sum(sample.value for sample in samples if sample.name == "tokenweir_time_to_first_token_seconds_count") == 1
    assert not any(sample.exemplar for sample in samples)
    assert collector.named("POST /api/chat/stream").attributes["http.response.status_code"] == 200
