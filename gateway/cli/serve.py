"""``tokenweir serve``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateway.cli.demo_key import TENANT, has_live_key
from gateway.cli.errors import OperatorError
from gateway.cli.keystore import config_options, opened, print_note
from gateway.cli.process import run
from gateway.cli.workers import hand_over as write_handover
from gateway.cli.workers import supervise
from gateway.config import Config, ConfigError
from gateway.config.checks import missing_credentials, problems
from gateway.config.load import Loaded, read_config
from gateway.core.addresses import is_loopback


@dataclass(frozen=True, slots=True)
class _Options:
    """What the command line says."""

    config_file: Path | None
    env_file: Path | None
    overrides: dict[str, Any]

    def read(self) -> Loaded:
        """Return the configuration, if it may be served with.

        Raises:
            OperatorError: It may not.
        """
        try:
            loaded = read_config(self.config_file, self.env_file, environ=os.environ, overrides=self.overrides)
        except ConfigError as error:
            raise OperatorError(str(error)) from error
        found = [*problems(loaded.config), *missing_credentials(loaded.config), *self._demo_key(loaded.config)]
        if found:
            raise OperatorError("\n".join(found))
        return loaded

    def _demo_key(self, config: Config) -> list[str]:
        if is_loopback(config.server.listen) or config.server.allow_insecure:
            return []
        with opened(self.config_file, self.env_file) as (_, store):
            if not has_live_key(store):
                return []
        found = (
            f"server.listen is {config.server.listen}, and tenant {TENANT!r} has a key that `tokenweir demo` "
            f"made: suspend it (tokenweir tenants suspend {TENANT}), or set server.allow_insecure."
        )
        return [found]

    def arguments(self) -> list[str]:
        """Return the command line that says the same."""
        files = {"--config": self.config_file, "--env-file": self.env_file}
        named = files | {
            "--" + key.rpartition(".")[2].replace("_", "-"): value for key, value in self.overrides.items()
        }
        return ["serve", *(str(part) for name, value in named.items() if value is not None for part in (name, value))]


@click.command("serve", short_help="Run the gateway.")
@config_options
@click.option("--listen", metavar="HOST:PORT", help="Address for everyone, instead of server.listen.")
@click.option("--ops-listen", metavar="HOST:PORT", help="Address for operators, instead of server.ops_listen.")
@click.option("--workers", type=int, metavar="N", help="Processes, instead of server.workers.")
@click.option("--hand-over", type=int, hidden=True, help="For a supervisor: the file to write the configuration to.")
def serve(
    config_file: Path | None,
    env_file: Path | None,
    listen: str | None,
    ops_listen: str | None,
    workers: int | None,
    hand_over: int | None,
) -> None:
    """Run the gateway until a signal: SIGTERM drains, Ctrl-C twice stops at once, SIGHUP reloads the configuration."""
    overrides = {"server.listen": listen, "server.ops_listen": ops_listen, "server.workers": workers}
    options = _Options(config_file, env_file, overrides)
    loaded = options.read()
    if hand_over is None:
        for note in loaded.notes:
            print_note(note)
    greeting = _greeting(loaded.config)
    if hand_over is not None:
        write_handover(loaded.config, loaded.merged.data, options.arguments(), greeting, hand_over)
    elif loaded.config.server.workers > 1:
        supervise(loaded.config, loaded.merged.data, options.arguments(), greeting)
    else:
        run(
            loaded.config,
            lambda gateway: greeting.replace("{address}", gateway.address).replace(
                "{ops_address}", gateway.ops_address
            ),
            reread=lambda: options.read().config,
        )


def _greeting(config: Config) -> str:
    upstreams = ", ".join(f"{upstream.name} ({upstream.base_url})" for upstream in config.upstreams)
    workers = f", with {config.server.workers} workers" if config.server.workers > 1 else ""
    url, ops_url = f"{config.server.scheme}://{{address}}", "http://{ops_address}"
    return f"Tokenweir serves on {url}, for operators on {ops_url}{workers}. It talks to: {upstreams}"
