"""``tokenweir demo``: everything that a first look needs, in one process."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
from pydantic import HttpUrl, SecretStr

from gateway.cli.demo_key import TENANT, ready_made_key
from gateway.cli.errors import OperatorError
from gateway.cli.keystore import config_options, print_note
from gateway.cli.process import run
from gateway.config import Config, ConfigError, read_config
from gateway.config.checks import needs_credential, problems
from gateway.core.addresses import is_loopback
from gateway.generation import Gateway
from gateway.identity.settings import AnonymousSettings
from gateway.simulator.server import serve_simulator
from gateway.simulator.settings import SimulatorSettings

_QUESTION = "What are your opening hours?"


@click.command("demo", short_help="Run the gateway with a pretend Claude and a ready-made key.")
@config_options
@click.option("--listen", metavar="HOST:PORT", help="Address for everyone, instead of server.listen.")
@click.option("--ops-listen", metavar="HOST:PORT", help="Address for operators, instead of server.ops_listen.")
def demo(config_file: Path | None, env_file: Path | None, listen: str | None, ops_listen: str | None) -> None:
    """Run the gateway with a ready-made key, and a pretend Claude unless ANTHROPIC_API_KEY is set."""
    overrides = {"server.listen": listen, "server.ops_listen": ops_listen, "server.workers": 1}
    try:
        loaded = read_config(config_file, env_file, environ=os.environ, overrides=overrides)
    except ConfigError as error:
        raise OperatorError(str(error)) from error
    config = loaded.config
    if not is_loopback(config.server.listen) and not config.server.allow_insecure:
        raise OperatorError(
            f"the demo has a ready-made key and lets browsers in without one, and server.listen is "
            f"{config.server.listen}: choose a loopback address with --listen, or set server.allow_insecure."
        )
    if found := problems(config):
        raise OperatorError("\n".join(found))
    pretend = needs_credential(config.upstreams[0])
    config = _open_to_loopback(config)
    for note in loaded.notes:
        print_note(note)
    run(config, lambda gateway: _announcement(gateway, config, pretend=pretend), _pretend_claude if pretend else _real)


def _open_to_loopback(config: Config) -> Config:
    """Let frontends of this machine in without a key, from any port."""
    if config.anonymous:
        return config
    mapping = AnonymousSettings(origins=("loopback", "same-origin"), tenant=TENANT, plan="default")
    return config.model_copy(update={"anonymous": (mapping,)})


@asynccontextmanager
async def _real(config: Config) -> AsyncIterator[Config]:
    yield config


@asynccontextmanager
async def _pretend_claude(config: Config) -> AsyncIterator[Config]:
    async with await serve_simulator(SimulatorSettings()) as simulator:
        pretend = config.upstreams[0].model_copy(
            update={
                "name": "pretend",
                "base_url": HttpUrl(simulator.url),
                "api_key": SecretStr("pretend"),
                "pretend": True,
            }
        )
        # Its failures are asked for by name, and say nothing about the next request.
        upstream = config.upstream.model_copy(update={"breaker_failures": 0, "max_throttle": 0.0})
        yield config.model_copy(update={"upstreams": (pretend,), "upstream": upstream})


def _announcement(gateway: Gateway, config: Config, *, pretend: bool) -> str:
    key = ready_made_key(gateway.store, gateway.peppers, config.data_dir)
    body = json.dumps({"message": _QUESTION})
    claude = (
        "the built-in PRETEND Claude (set ANTHROPIC_API_KEY to talk to the real one)"
        if pretend
        else f"the REAL Claude at {config.upstreams[0].base_url} (answers cost money)"
    )
    return f"""
  Tokenweir is running and talks to {claude}.

  Demo page    {gateway.url}/streaming-demo
  API          {gateway.url}
  Reference    {gateway.url}/docs
  Operators    {gateway.ops_url}/metrics
  Your key     {key}

  Try it:

  curl -N {gateway.url}/api/chat/stream \\
    -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/json' \\
    -d '{body}'

  Any Claude SDK or tool: ANTHROPIC_BASE_URL={gateway.url} ANTHROPIC_API_KEY={key}
  Stop with Ctrl-C.
"""
