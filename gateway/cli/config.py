"""``tokenweir config``: what holds, where it came from, and whether it works."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.cli.errors import OperatorError
from gateway.cli.keystore import config_options, print_note
from gateway.cli.live import run
from gateway.config import ConfigError, read_config
from gateway.config.checks import missing_credentials, problems
from gateway.config.render import effective


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@config_options
@click.option("--live", is_flag=True, help="Make one call of 10 tokens to each upstream.")
def check(config_file: Path | None, env_file: Path | None, *, live: bool) -> None:
    """Print the effective configuration; secrets are masked.

    Exit status: 0, 1 if an upstream failed --live, 2 if the gateway would not start with this configuration.
    """
    try:
        loaded = read_config(config_file, env_file, environ=os.environ)
    except ConfigError as error:
        raise OperatorError(str(error)) from error
    click.echo(effective(loaded), nl=False)
    refusals = problems(loaded.config)
    notes = [] if live else missing_credentials(loaded.config)
    for note in (*loaded.notes, *notes):
        print_note(note)
    verdicts = run(loaded.config) if live else []
    for verdict in verdicts:
        click.echo(verdict)
    if refusals:
        raise OperatorError("\n".join(refusals))
    if not all(verdict.ok for verdict in verdicts):
        raise click.exceptions.Exit(1)
