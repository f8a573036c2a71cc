"""A gateway in front of the pretend Claude, and Claude's own SDK pointed at it: what most users of ours have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic

from gateway.simulator.server import RunningSimulator, serve_simulator
from gateway.simulator.settings import SimulatorSettings
from tests.support.gateway import Caller, configuration, serving

MODEL = "claude-sonnet-5-5"
FAST = {"tokens_per_second": 0, "time_to_first_token": 0, "jitter": 0}
WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a place",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["location", "unit"],
    },
}


def asking(text: Any, **more: Any) -> dict[str, Any]:
    """Return the arguments of a call."""
    return {"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}


@dataclass
class Behind:
    """The pretend Claude behind a gateway."""

    caller: Caller
    simulator: RunningSimulator

    @property
    def url(self) -> str:
        return self.caller.gateway.url

    @property
    def key(self) -> str:
        return self.caller.key


@asynccontextmanager
async def behind_gateway(data_dir: Path, pace: dict[str, Any] | None = None, **sections: Any) -> AsyncIterator[Behind]:
    """Serve a gateway whose upstream is a pretend Claude that is as fast as it can be, unless told otherwise."""
    async with (
        await serve_simulator(SimulatorSettings(**(FAST | (pace or {})))) as simulator,
        serving(configuration(data_dir, simulator.url, **sections)) as caller,
    ):
        yield Behind(caller, simulator)


@asynccontextmanager
async def sdk(caller: Caller, kind: type = anthropic.AsyncAnthropic, **options: Any) -> AsyncIterator[Any]:
    """Give Claude's asynchronous SDK with the caller's key; it does not try again unless told to."""
    given = {"base_url": caller.gateway.url, "max_retries": 0, "timeout": 30.0}
    if not options.keys() & {"api_key", "auth_token"}:
        given["api_key"] = caller.key
    async with kind(**(given | options)) as client:
        yield client
