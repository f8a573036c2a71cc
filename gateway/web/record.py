"""What is known of a request so far; at its end, the one Outcome that everything else is made from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from gateway.core.claude import Fold
from gateway.core.errors import GatewayError, GatewayFault, Overloaded, RateLimited
from gateway.core.flow import Flow
from gateway.core.outcome import Kind, Outcome, Phase, Usage
from gateway.core.pricing import PriceBook
from gateway.core.principal import Principal
from gateway.core.quota.amounts import settled, used
from gateway.core.quota.holds import LimitState, Reservation
from gateway.core.quota.limits import NANO
from gateway.core.trace import NO_TRACE, Trace
from gateway.identity.records import KeyRecord
from gateway.ledger.rows import Admitted
from gateway.relay import Timing
from gateway.traces import Ended, Step
from gateway.traces.attributes import of_call
from gateway.upstream.attempts import Try

_CLIENT_GONE = 499
Bill = tuple[Usage | None, float | None]


@dataclass(slots=True)
class Record:
    """Collects one request's facts. Times are on the monotonic clock."""

    request_id: str
    method: str
    address: str
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    client_request_id: str | None = None
    trace: Trace = NO_TRACE
    steps: list[Step] | None = None  # of a request that is traced
    route: str = "other"
    dialect: str = "none"
    status: int = 0
    error: GatewayError | None = None
    disconnected: bool = False
    key: KeyRecord | None = None
    principal: Principal | None = None
    states: tuple[LimitState, ...] = ()
    held: Reservation | None = None
    entry: Admitted | None = None
    booking: asyncio.Future[None] | None = None  # of the entry
    model: str = ""
    stream: bool = False
    upstream: str = ""
    upstream_request_id: str | None = None
    attempts: int = 0
    asked: bool = False  # whether anything went out to an upstream
    upstream_started: float | None = None
    last_attempt_started: float = 0.0
    fold: Fold | None = None
    timing: Timing = field(default_factory=Timing)
    client_bytes: int = 0
    flow: Flow | None = None
    _bill: Bill | None = None
    _presumed: tuple[int, int] | None = None

    def fail(self, error: GatewayError) -> None:
        """Note why the request did not succeed; the first reason counts."""
        if self.error is None:
            self.error = error

    def bill(self, prices: PriceBook) -> Bill:
        """Return the tokens and their price. Worked out once: ask when nothing more will be generated."""
        if self._bill is None:
            usage, charges = self.fold.bill() if self.fold else (None, [])
            cost = sum([prices.cost(model or self.model, tokens) for model, tokens in charges]) if charges else None
            self._bill = (usage, cost) if usage is not None or not self._unseen() else self.presumed()
        return self._bill

    def presumed(self) -> Bill:
        """Return what it costs to have asked."""
        if self._presumed is None:
            return None, None
        input_tokens, input_usd_nano = self._presumed
        return Usage(input_tokens=input_tokens, estimated=True), input_usd_nano / NANO

    def presume(self, input_tokens: int, input_usd_nano: int) -> None:
        """Say what it costs to have asked, for an answer of which Claude tells no tokens."""
        self._presumed = input_tokens, input_usd_nano

    def _unseen(self) -> bool:
        """Whether Claude had the request, and was not heard: not where it failed or refused before it said anything."""
        return self.asked and (self.error is None or self.error.origin != "upstream")

    def standing(self, prices: PriceBook) -> tuple[LimitState, ...]:
        """Return where the limits stand when this request holds nothing more. Ask as for the bill."""
        return self.states if self.held is None else settled(self.states, self.held, used(*self.bill(prices)))

    def end(self) -> None:
        """Note that it ended now, unless it has."""
        if self.ended is None:
            self.ended = time.monotonic()

    def stepped(self, name: str, started: float, error: str = "") -> None:
        """Note that a part of it ends now, if it is traced."""
        if self.steps is not None:
            self.steps.append(Step(name, started, time.monotonic(), error))

    def tried(self, tries: Sequence[Try]) -> None:
        """Note the calls to upstreams, and what there was of an answer, if it is traced."""
        if self.steps is None:
            return
        now, timing = time.monotonic(), self.timing
        for one in tries:
            last = one is tries[-1]
            error = one.error or (self.error.code if last and self.error is not None else "")
            told = of_call(self.model, one.upstream)
            self.steps.append(Step(f"chat {self.model}", one.started, one.ended or now, error, told, upstream=True))
        if tries and timing.first_token is not None:
            self.steps.append(Step("first_token", tries[-1].started, timing.first_token))
            self.steps.append(Step("relay", timing.first_token, now))

    def since_start(self, moment: float | None) -> float | None:
        """Return seconds from the request's arrival."""
        return None if moment is None else moment - self.started

    def outcome(self, prices: PriceBook) -> Outcome:
        """Return how it ended, and now unless it has."""
        now = time.monotonic() if self.ended is None else self.ended
        fold, timing, error = self.fold, self.timing, self.error
        usage, cost = self.bill(prices)
        first = timing.first_token
        waited = None if first is None or self.upstream_started is None else first - self.upstream_started
        return Outcome(
            request_id=self.request_id,
            upstream_request_id=self.upstream_request_id,
            trace_id=self.trace.trace_id,
            traced=self.steps is not None,
            route=self.route,
            method=self.method,
            dialect=self.dialect,
            status=self.status or _CLIENT_GONE,
            kind=self._kind(),
            phase=self._phase(),
            error_code=error.code if error else None,
            error_origin=error.origin if error else None,
            limit=error.limit if isinstance(error, (RateLimited, Overloaded)) else None,
            tenant=self.principal.tenant if self.principal else "",
            key_id=self.principal.key_id if self.principal else None,
            model=self.model,
            model_answered=fold.model if fold else None,
            stream=self.stream,
            upstream=self.upstream,
            attempts=self.attempts,
            usage=usage,
            cost_usd=cost,
            stop_reason=fold.stop_reason if fold else None,
            first_token=self.since_start(first),
            first_text=self.since_start(timing.first_text),
            upstream_first_token=None if first is None else first - self.last_attempt_started,
            overhead=None if waited is None or first is None else first - self.started - waited,
            duration=now - self.started,
            output_seconds=None if first is None or timing.last_token is None else timing.last_token - first,
            longest_gap=timing.longest_gap,
            client_bytes=self.client_bytes,
            client_request_id=self.client_request_id,
            flow=self.flow,
        )

    def traced(self, outcome: Outcome) -> Ended:
        """Return what its spans are made of: the last step may end after the client had everything."""
        steps = self.steps or []
        ended = max(self.started + outcome.duration, *[step.ended for step in steps], 0.0)
        return Ended(outcome, self.trace, self.started, ended, steps)

    def _kind(self) -> Kind:
        if self.disconnected:
            return "disconnected"
        if self.error is None:
            return "done"
        # A fault of ours refuses nobody: it is an error wherever it happens.
        asked = self.attempts or self.error.origin == "upstream"
        return "error" if asked or self.error.code == GatewayFault.code else "refused"

    def _phase(self) -> Phase:
        if self.timing.first_token is not None:
            return "streaming" if self.disconnected or self.error else "finished"
        if self.disconnected or self.error:
            return "before_first_token" if self.upstream_request_id or self.status else "upstream_wait"
        return "finished"


RECORD = web.RequestKey("record", Record)
