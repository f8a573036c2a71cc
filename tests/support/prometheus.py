"""Debian's Prometheus and its tool."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support.node import missing

PATIENCE = 60.0


def promtool() -> str:
    """Return where it is; without it skip, in CI fail."""
    return shutil.which("promtool") or missing("no Prometheus here; `make test` installs it")


class Prometheus:
    """A server, to be asked."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def ask(self, expression: str) -> list[dict]:
        """Return what an expression gives now; an expression that is none is an AssertionError."""
        async with self._http.post(f"{self.url}/api/v1/query", data={"query": expression}) as response:
            answer = await response.json()
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"]

    async def until(self, expression: str) -> list[dict]:
        """Wait until an expression gives something."""
        async with asyncio.timeout(PATIENCE):
            while not (found := await self.ask(expression)):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.2)
        return found

    async def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {each["metric"]["alertname"] for each in await self.ask('ALERTS{alertstate="firing"}')}


@asynccontextmanager
async def prometheus(directory: Path, rules: Path, targets: list[str]) -> AsyncIterator[Prometheus]:
    """Start a Prometheus that scrapes gateways each half second, under the job's true name."""
    promtool()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [f"{rules}/*.yaml"],
        "scrape_configs": [{"job_name": "tokenweir", "static_configs": [{"targets": targets}]}],
    }
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(config))
    running = await asyncio.create_subprocess_exec(
        "prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as http:
            here = Prometheus(f"http://127.0.0.1:{port}", http)
            async with asyncio.timeout(PATIENCE):
                while not await _ready(here.url, http):  # noqa: ASYNC110 - the same
                    await asyncio.sleep(0.1)
            yield here
    finally:
        running.terminate()
        await running.wait()


async def _ready(url: str, http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get(f"{url}/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
