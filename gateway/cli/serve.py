"""``tokenweir serve``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.app import Gateway
from gateway.cli.demo_key import TENANT, has_live_key
from gateway.cli.keystore import OperatorError, config_options, opened, print_note
from gateway.cli.process import run
from gateway.config import Config, ConfigError, read_config
from gateway.config.checks import missing_credentials, problems
from gateway.core.addresses import is_loopback


@click.command("serve", short_help="Run the gateway.")
@config_options
@click.option("--listen", metavar="HOST:PORT", help="Address for everyone, instead of server.listen.")
@click.option("--ops-listen", metavar="HOST:PORT", help="Address for operators, instead of server.ops_listen.")
@click.option("--workers", type=int, metavar="N", help="Processes, instead of server.workers.")
def serve(
    config_file: Path | None, env_file: Path | None, listen: str | None, ops_listen: str | None, workers: int | None
) -> None:
    """Run the gateway until a signal: SIGTERM drains, Ctrl-C twice stops at once."""
    overrides = {"server.listen": listen, "server.ops_listen": ops_listen, "server.workers": workers}
    try:
        loaded = read_config(config_file, env_file, environ=os.environ, overrides=overrides)
    except ConfigError as error:
        raise OperatorError(str(error)) from error
    config = loaded.config
    found = [*problems(config), *missing_credentials(config)]
    if not found and not is_loopback(config.server.listen) and not config.server.allow_insecure:
        with opened(config_file, env_file) as (_, store):
            if has_live_key(store):
                found.append(
                    f"server.listen is {config.server.listen}, and tenant {TENANT!r} has a key that `tokenweir demo` "
                    f"made: suspend it (tokenweir tenants suspend {TENANT}), or set server.allow_insecure."
                )
    if found:
        raise OperatorError("\n".join(found))
    for note in loaded.notes:
        print_note(note)
    run(config, lambda gateway: _announcement(gateway, config))


def _announcement(gateway: Gateway, config: Config) -> str:
    upstreams = ", ".join(f"{upstream.name} ({upstream.base_url})" for upstream in config.upstreams)
    return f"Tokenweir serves on {gateway.url}, for operators on {gateway.ops_url}. It talks to: {upstreams}"
