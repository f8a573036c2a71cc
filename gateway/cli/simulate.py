"""``tokenweir simulate``: the pretend Claude on its own, for building and testing frontends without a key."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from gateway.cli.errors import OperatorError
from gateway.simulator.server import RunningSimulator, serve_simulator
from gateway.simulator.settings import SimulatorSettings

DEFAULT_LISTEN = "127.0.0.1:8090"
_DEFAULTS = SimulatorSettings()
_MAX_PORT = 65_535
_CURL = """\
Try it:
  curl -N {url}/v1/messages \\
    -H 'x-api-key: any' -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \\
    -d '{{"model":"claude-sonnet-5-5","max_tokens":1024,"stream":true,
         "messages":[{{"role":"user","content":"What are your opening hours?"}}]}}'
Faults and paces on request: -H 'x-sim-fault: status=529; retry-after=2', or [[sim: ...]] in the message.
Ctrl-C stops it."""


def _help(name: str) -> str:
    return str(SimulatorSettings.model_fields[name].description)


@click.command("simulate")
@click.option(
    "--listen", default=DEFAULT_LISTEN, show_default=True, metavar="HOST:PORT", help="Port 0 takes a free one."
)
@click.option("--tokens-per-second", default=_DEFAULTS.tokens_per_second, show_default=True, metavar="N",
              help=_help("tokens_per_second"))  # fmt: skip
@click.option("--time-to-first-token", default=f"{_DEFAULTS.time_to_first_token:g}", show_default=True, metavar="S",
              help=_help("time_to_first_token"))  # fmt: skip
@click.option("--jitter", default=f"{_DEFAULTS.jitter:g}", show_default=True, metavar="S", help=_help("jitter"))
@click.option("--seed", default=_DEFAULTS.seed, show_default=True, metavar="N", help=_help("seed"))
@click.option("--replay", type=click.Path(path_type=Path), metavar="FILE", help=_help("replay"))
@click.option("--replay-dir", type=click.Path(path_type=Path), metavar="DIR", help=_help("replay_dir"))
@click.option("--chunk-size", default=str(_DEFAULTS.chunk_size), show_default=True, metavar="N",
              help=_help("chunk_size") + " 'whole' says the same.")  # fmt: skip
@click.option("--fault", default=_DEFAULTS.fault, metavar="TEXT", help=_help("fault"))
@click.option("--ping-interval", default=f"{_DEFAULTS.ping_interval:g}", show_default=True, metavar="S",
              help=_help("ping_interval"))  # fmt: skip
@click.option("--record", is_flag=True, help=_help("record"))
def simulate(listen: str, chunk_size: str, **options: Any) -> None:
    """Serve a pretend Claude: Claude's own wire, readable answers, faults on request. It needs no key and no network.

    Durations are seconds, or a text such as 300ms. docs/simulator.md describes every directive and fault.
    """
    host, port = _address(listen)
    options["chunk_size"] = "-1" if chunk_size == "whole" else chunk_size
    try:
        settings = SimulatorSettings.model_validate(options)
    except ValidationError as exc:
        raise OperatorError(_sentence(exc)) from None
    asyncio.run(_serve(settings, host, port))


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > _MAX_PORT:
        raise OperatorError(f"--listen {listen}: give HOST:PORT, as in {DEFAULT_LISTEN} or [::1]:8090")
    return host, int(port)


def _sentence(exc: ValidationError) -> str:
    first = exc.errors(include_url=False)[0]
    option = "--" + str(first["loc"][0]).replace("_", "-")
    return f"{option} {first['input']}: {first['msg'].removeprefix('Value error, ')}"


async def _serve(settings: SimulatorSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await _listening(settings, host, port) as simulator:
        click.echo(f"The pretend Claude listens on {simulator.url}\n{_CURL.format(url=simulator.url)}")
        await stop.wait()


async def _listening(settings: SimulatorSettings, host: str, port: int) -> RunningSimulator:
    try:
        return await serve_simulator(settings, host, port)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise OperatorError(f"cannot listen on {host}:{port}: {reason}; choose another with --listen") from None
