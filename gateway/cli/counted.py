"""How commands ask what limits have counted: Redis itself, or the gateway in whose memory it is."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, build_opener

import structlog

from gateway.app import entitlements_of
from gateway.cli.errors import OperatorError
from gateway.cli.keystore import peppers_of, print_note
from gateway.cli.ledger import Ledger
from gateway.core.errors import StoreUnavailable
from gateway.core.quota.calendar import Calendar
from gateway.core.units import zone_of
from gateway.hold_stores import shared_store
from gateway.identity.pseudonym import Pseudonyms
from gateway.tasks import TaskOwner
from gateway.web.accounts import Accounts

_PATIENCE = 10.0  # seconds
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}

T = TypeVar("T")
Answer = dict[str, Any]


def counted(
    ledger: Ledger, ask: Callable[[Accounts], Awaitable[Answer]], path: str, ops_listen: str | None, **query: str | None
) -> Answer:
    """Return what the limits say.

    Args:
        ledger: The configuration and the database.
        ask: The question, where Redis is asked.
        path: The question, where a gateway is asked on its operators' address.
        ops_listen: That address, unless it is as configured.
        query: What belongs to the path.

    Raises:
        OperatorError: Neither answers, or the answer is a refusal.
    """
    if ledger.config.redis_url is not None:
        return asyncio.run(_from_redis(ledger, ask))
    address = ops_listen or ledger.config.server.ops_listen
    if ops_listen is None and ledger.config.server.workers > 1:
        raise OperatorError(
            f"server.workers is {ledger.config.server.workers} without redis_url: each worker counts its share for "
            "itself, and nobody knows all of it. `tokenweir usage` says what was used."
        )
    given = {name: value for name, value in query.items() if value is not None}
    return _from_gateway(address, f"{quote(path)}?{urlencode(given)}")


async def _from_redis(ledger: Ledger, ask: Callable[[Accounts], Awaitable[Answer]]) -> Answer:
    config = ledger.config
    # What a gateway would log is not for standard output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    calendar = Calendar(zone_of(config.limits.time_zone))
    async with AsyncExitStack() as stack:
        tasks = TaskOwner(lambda error: print_note(f"Redis was not asked to the end: {error!r}"))
        holds = shared_store(config, ledger.books, tasks, stack)
        stack.push_async_callback(tasks.close)
        pseudonyms = Pseudonyms(peppers_of(config))
        accounts = Accounts(ledger.store, ledger.books, entitlements_of(config), holds, calendar, pseudonyms)
        return await _patiently(lambda: ask(accounts))


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until what was used is loaded into a store that did not have it."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + _PATIENCE):
                return await ask()
        except (StoreUnavailable, TimeoutError) as error:
            if time.monotonic() > end or not _loading(error):
                detail = error.detail if isinstance(error, StoreUnavailable) else "no answer in time"
                raise OperatorError(f"the store of limits at redis_url cannot be asked: {detail or error}") from error


def _loading(error: Exception) -> bool:
    from gateway.quota.failure import StoreIncomplete  # noqa: PLC0415 - only with Redis

    return isinstance(error, StoreIncomplete)


def _from_gateway(address: str, path: str) -> Answer:
    host, _, port = address.rpartition(":")
    url = f"http://{_EVERYWHERE.get(host, host)}:{port}/{path}"
    try:
        # Whatever HTTP_PROXY says: it is on this machine, or on one that the operator named.
        with build_opener(ProxyHandler({})).open(url, timeout=_PATIENCE) as response:
            answer: Answer = json.load(response)
            return answer
    except HTTPError as refusal:
        raise OperatorError(_said(refusal)) from refusal
    except (URLError, OSError, ValueError) as error:
        raise OperatorError(
            f"no gateway answers at {address}: what limits have counted is in its memory. Start it, or name its "
            "operators' address with --ops-listen."
        ) from error


def _said(refusal: HTTPError) -> str:
    try:
        return str(json.load(refusal)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered {refusal.code}"
