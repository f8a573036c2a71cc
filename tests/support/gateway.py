"""A whole gateway for tests: the same ``running`` as in production, on free ports and a database of its own."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from gateway.app import Gateway, running
from gateway.config import Config
from gateway.log import Log, LogSettings, configure_logging

ORIGIN = "https://shop.example"


def configuration(data_dir: Path, upstream_url: str, **sections: Any) -> Config:
    """Return a configuration on free ports; sections are laid over the defaults."""
    server = {
        "listen": "127.0.0.1:0",
        "ops_listen": "127.0.0.1:0",
        "drain_delay": 0,
        "max_loop_lag": 0,
        **sections.pop("server", {}),
    }
    # Connections opened ahead of need would be counted with those that a test asked for.
    upstream = {"retry_budget": 5, "warm_connections": 0, **sections.pop("upstream", {})}
    keys = {"read_timeout": 30, **sections.pop("keys", {})}  # a machine that is busy testing may stall for seconds
    log = {"gather": 0, **sections.pop("log", {})}  # what a test did is told when it looks
    return Config(
        data_dir=data_dir,
        server=server,
        upstreams=[{"name": "claude", "base_url": upstream_url, "api_key": "sk-ant-secret-of-the-operator"}],
        upstream=upstream,
        keys=keys,
        log=log,
        **sections,
    )


class Caller:
    """A client of one gateway with one key."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession, key: str) -> None:
        self.gateway = gateway
        self.session = session
        self.key = key

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def post(self, path: str, body: Any, **headers: str) -> Any:
        kind = {"json": body} if not isinstance(body, bytes) else {"data": body}
        return self.session.post(self.gateway.url + path, headers={**self.headers, **headers}, **kind)

    def get(self, path: str, **headers: str) -> Any:
        return self.session.get(self.gateway.url + path, headers={**self.headers, **headers})


@asynccontextmanager
async def serving(config: Config, *, plan: str = "default") -> AsyncIterator[Caller]:
    """Serve, with a tenant ``acme`` and a key of it."""
    with logging_to(config.data_dir / "log.jsonl", config.log) as log:
        async with running(config, log) as gateway, aiohttp.ClientSession() as session:
            gateway.store.ensure_tenant("acme", plan)
            _, key = gateway.store.create_key("acme", gateway.peppers)
            yield Caller(gateway, session, key.text)


@contextmanager
def logging_to(path: Path, settings: LogSettings) -> Iterator[Log]:
    """Log into a file, and to where it was before when the file is closed: its number may be a socket's next."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), list(root.handlers), root.level
    with path.open("ab") as file:
        log = configure_logging(settings, tty=False, fd=file.fileno())
        try:
            yield log
        finally:
            log.flush(settings.flush_timeout)
            structlog.configure(**before)
            root.handlers[:] = handlers
            root.setLevel(level)
