"""The program itself, with a certificate of its own."""

from __future__ import annotations

import signal
import ssl

import aiohttp
import pytest

from tests.support.process import serving


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_it_says_https_and_speaks_it(workers, certificate, trusted, tmp_path):
    variables = {f"TOKENWEIR_SERVER__{name.upper()}": value for name, value in certificate().items()}
    drain = {"TOKENWEIR_SERVER__DRAIN_DELAY": "0", "ANTHROPIC_API_KEY": "sk-ant-mine"}
    async with serving(tmp_path, "serve", "--workers", workers, **variables, **drain) as gateway:
        assert gateway.url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=trusted)
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{gateway.url}/health", ssl=context) as answer:
                assert answer.status == 200
            async with http.get(f"{gateway.ops_url}/livez") as answer:
                assert answer.status == 200
        gateway.signal(signal.SIGTERM)
        ended = await gateway.end()
    assert (ended.code, ended.err) == (0, "")
