"""``/v1/messages`` and ``/v1/messages/count_tokens``: from the request's bytes to the frames of its answer.

The order of checks is Claude's: credential, version, JSON, fields; only then comes a fault that was asked for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import orjson
from aiohttp import hdrs, web

from gateway.core.claude import load_json
from gateway.simulator import faults, replay, wire
from gateway.simulator.ask import Ask, read_ask
from gateway.simulator.cache import InputUsage, PromptCache, count_input
from gateway.simulator.directives import BadDirectives, Directives, merge, parse
from gateway.simulator.frames import Frame, chunked, with_pings
from gateway.simulator.headers import STREAM_TYPE, claude_headers, rate_limits
from gateway.simulator.ids import Ids
from gateway.simulator.observed import Stats, masked
from gateway.simulator.player import Player
from gateway.simulator.refusals import Refused, invalid
from gateway.simulator.script import write_script
from gateway.simulator.settings import SimulatorSettings

Number = TypeVar("Number", int, float)

_LARGE = 1 << 20  # bodies above it are parsed off the loop: 30 MB block it for 40 ms
FAULT_HEADER = "x-sim-fault"
REPLAY_HEADER = "x-sim-replay"


class Simulator:
    """The state behind the routes.

    Attributes:
        settings: How it answers by default.
        stats: What it has seen.
        ids: Where identifiers come from.
        last: The last request, when it is kept.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.stats = Stats()
        self.ids = Ids(settings.seed)
        self.last: dict[str, Any] | None = None
        self._cache = PromptCache()
        self._counter = faults.FaultCounter(settings.seed)
        self._default = parse(settings.fault)
        self._recording = replay.load(settings.replay) if settings.replay else None

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer ``POST /v1/messages``."""
        started = asyncio.get_running_loop().time()
        raw, body = await self._body(request)
        ask = read_ask(body)
        asked = self._directives(request, ask)
        started += await _hold(asked)
        _raise(faults.refusal(asked))
        events = await self._events(request, asked)
        self.stats.messages += 1
        self.stats.streams += ask.stream
        seeded = random.Random(f"{self.settings.seed}\0{ask.model}\0{ask.talk.question}")  # noqa: S311 - reproducible
        pace = self._pace(asked, seeded)
        usage = self._cache.account(body, credential(request), time.monotonic(), marked=b'"cache_control"' in raw)
        headers = self._headers(usage.plain)
        player = Player(request, started, self.stats)
        if ask.stream:
            headers |= {"cache-control": "no-cache", "content-type": asked.content_type or STREAM_TYPE}
            frames = (
                self._recorded(events, pace, asked) if events is not None else self._stream(ask, asked, pace, usage)
            )
            return await player.play(frames, headers, asked)
        await _late(asked, pace, started)
        frames = self._whole(ask, asked, pace, usage, events)
        headers["content-type"] = asked.content_type or "application/json"
        return await player.play(frames, headers, asked)

    async def count_tokens(self, request: web.Request) -> web.Response:
        """Answer ``POST /v1/messages/count_tokens``."""
        _, body = await self._body(request)
        asked = self._directives(request, read_ask(body, counting=True))
        await _hold(asked)
        _raise(faults.refusal(asked))
        return self.json({"input_tokens": count_input(body)})

    def json(self, value: Any) -> web.Response:
        """A JSON answer with Claude's headers."""
        return web.Response(
            body=orjson.dumps(value),
            content_type="application/json",
            headers=claude_headers(self.ids.request(), self.ids.trace()),
        )

    async def _body(self, request: web.Request) -> tuple[bytes, Any]:
        check_credential(request)
        raw = await request.read()
        try:
            body = await asyncio.to_thread(load_json, raw) if len(raw) > _LARGE else load_json(raw)
        except ValueError as exc:
            raise invalid(f"The request body is not valid JSON: {exc}") from None
        if self.settings.record:
            self.last = {"path": request.path_qs, "headers": masked(request.headers), "body": body}
        return raw, body

    def _directives(self, request: web.Request, ask: Ask) -> Directives:
        try:
            header = parse(request.headers.get(FAULT_HEADER, ""))
            marker = parse(ask.talk.directives)
        except BadDirectives as exc:
            raise invalid(f"x-sim-fault: {exc}") from None
        return self._counter.admit(merge(self._default, marker, header))

    async def _events(self, request: web.Request, asked: Directives) -> list[bytes] | None:
        name = request.headers.get(REPLAY_HEADER) or asked.replay
        if name is None:
            return self._recording
        if self.settings.replay_dir is None:
            raise invalid("x-sim-replay: the simulator was started without --replay-dir")
        return await asyncio.to_thread(replay.load, replay.find(self.settings.replay_dir, name))

    def _pace(self, asked: Directives, source: random.Random) -> wire.Pace:
        settings = self.settings
        speed = _or(asked.tokens_per_second, settings.tokens_per_second)
        first = _or(asked.time_to_first_token, settings.time_to_first_token) + _or(asked.thinking_silence, 0.0)
        opening = _or(asked.time_to_first_token, settings.time_to_first_token) / 2
        return wire.Pace(opening, first, 1 / speed if speed else 0.0, _or(asked.jitter, settings.jitter), source)

    def _headers(self, input_tokens: int) -> dict[str, str]:
        limits = rate_limits(time.time(), used_tokens=input_tokens)
        return {**claude_headers(self.ids.request(), self.ids.trace()), **limits}

    def _stream(self, ask: Ask, asked: Directives, pace: wire.Pace, usage: InputUsage) -> Iterator[Frame]:
        script = write_script(ask, asked, self.ids, self.settings.seed)
        head = wire.Head(self.ids.message(), ask.model, usage)
        interval = _or(asked.ping_interval, self.settings.ping_interval)
        return self._chunked(faults.inflict(with_pings(wire.stream(script, head, pace), interval), asked), asked)

    def _recorded(self, events: list[bytes], pace: wire.Pace, asked: Directives) -> Iterator[Frame]:
        return self._chunked(faults.inflict(replay.frames(events, pace), asked), asked)

    def _whole(
        self, ask: Ask, asked: Directives, pace: wire.Pace, usage: InputUsage, events: list[bytes] | None
    ) -> Iterator[Frame]:
        """The answer as one body, after the time that the stream would have taken."""
        if events is not None:
            body, count = replay.message(events), len(events)
        else:
            script = write_script(ask, asked, self.ids, self.settings.seed)
            body, count = wire.message(script, wire.Head(self.ids.message(), ask.model, usage)), script.output_tokens
        at = pace.first + count * pace.spacing
        return self._chunked(faults.damage(body, at, asked), asked)

    def _chunked(self, frames: Iterator[Frame], asked: Directives) -> Iterator[Frame]:
        size = _or(asked.chunk_size, self.settings.chunk_size)
        return chunked(frames, size) if size else frames


def credential(request: web.Request) -> str:
    """The caller's key, as ``x-api-key`` or as Bearer; empty without one."""
    bearer = request.headers.get(hdrs.AUTHORIZATION, "")
    return request.headers.get("x-api-key") or (bearer[7:].strip() if bearer[:7].lower() == "bearer " else "")


def check_credential(request: web.Request) -> None:
    """Refuse as Claude does; keys whose text says so fail in the way that it says."""
    key = credential(request)
    if not key:
        raise Refused(401, message="x-api-key header is required")
    if "invalid" in key:
        raise Refused(401)
    if "no-credit" in key:
        raise Refused(400, message=_NO_CREDIT)
    if "forbidden" in key:
        raise Refused(403)
    if not request.headers.get("anthropic-version"):
        raise invalid("anthropic-version: header is required")


_NO_CREDIT = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)


async def _late(asked: Directives, pace: wire.Pace, started: float) -> None:
    """For an answer that is no stream, ``error-after`` is an error status at that moment."""
    if asked.error_after is not None:
        due = started + pace.first + asked.error_after * pace.spacing
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        raise faults.refused(asked)


async def _hold(asked: Directives) -> float:
    """Wait before the status line; returns how long."""
    seconds = asked.slow_headers or 0.0
    if seconds:
        await asyncio.sleep(seconds)
    return seconds


def _raise(refused: Refused | None) -> None:
    if refused is not None:
        raise refused


def _or(value: Number | None, default: Number) -> Number:
    return default if value is None else value
