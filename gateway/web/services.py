"""What the request pipeline works with; made once by the application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from gateway.core.addresses import TrustedProxies
from gateway.core.dialects.settings import ChatSettings
from gateway.core.origins import Origins
from gateway.core.pricing import PriceBook
from gateway.core.quota.calendar import Calendar
from gateway.core.quota.holds import HoldStore
from gateway.identity.directory import Directory
from gateway.identity.throttle import FailureThrottle
from gateway.ledger.writer import Writer
from gateway.metrics import Metrics
from gateway.relay import RelayLimits
from gateway.traces import Traces
from gateway.upstream.routing import Upstreams
from gateway.upstream.settings import TransportSettings
from gateway.web.accounts import Accounts
from gateway.web.body import BodyBudget
from gateway.web.entitlements import Entitlements
from gateway.web.nearly_full import NearlyFull
from gateway.web.settings import ServerSettings
from gateway.web.streams import Streams
from gateway.web.telling import Telling


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a request may need."""

    server: ServerSettings
    chat: ChatSettings
    transport: TransportSettings
    relay: RelayLimits
    upstreams: Upstreams
    directory: Directory
    throttle: FailureThrottle
    entitlements: Entitlements
    accounts: Accounts
    origins: Origins
    proxies: TrustedProxies
    holds: HoldStore
    rate_hold: int
    nearly_full: NearlyFull
    calendar: Calendar
    ledger: Writer
    ledger_id: str
    serve_unbooked: bool
    prices: PriceBook
    metrics: Metrics
    telling: Telling
    traces: Traces | None
    log_fault: Callable[[BaseException, str], None]
    pseudonym: Callable[[str], str]
    streams: Streams
    bodies: BodyBudget
    pings: Mapping[str, Callable[[], str | None]]


SERVICES = web.AppKey("services", Services)
