"""What the commands on the database share: the configuration options, the store they open, how they print.

A command ends in one of three ways: what it did on stdout, one ``error:`` line per problem and exit code 2, or click's
own usage message. Notes go to stderr, so that stdout can be piped.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from sqlalchemy import Engine

from gateway.cli.errors import OperatorError
from gateway.config import Config, ConfigError, load_config
from gateway.core.keys import PREFIX, Peppers, parse_key
from gateway.core.units import parse_duration
from gateway.database.errors import Refused, StoreError
from gateway.database.opening import open_database
from gateway.identity.pepper import load_peppers
from gateway.identity.store import Store

_LONGEST = 36_500 * 86_400.0  # 100 years: a typo becomes an error instead of a year without a name

Command = TypeVar("Command", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """A length of time as in the configuration: 90s, 1h, 30d."""

    name = "duration"

    def __init__(self, *, zero: bool) -> None:
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds > _LONGEST or (not seconds and not self._zero):
            self.fail("from 1s to 36500d" if not self._zero else "at most 36500d", param, ctx)
        return seconds


def config_options(command: Command) -> Command:
    """Add ``--config`` and ``--env-file``, as every command has them."""
    path = click.Path(path_type=Path, dir_okay=False)
    command = click.option("--env-file", type=path, help="Environment file instead of ./.env.")(command)
    return click.option("--config", "config_file", type=path, help="TOML file instead of ./config/gateway.toml.")(
        command
    )


@contextmanager
def opened(config_file: Path | None, env_file: Path | None) -> Iterator[tuple[Config, Store]]:
    """Open the configured store in the name of the OS user; all that goes wrong inside ends the command."""
    with opened_database(config_file, env_file) as (config, engine):
        yield config, store_in(engine)


@contextmanager
def opened_database(config_file: Path | None, env_file: Path | None) -> Iterator[tuple[Config, Engine]]:
    """Open the configured database; all that goes wrong inside ends the command."""
    try:
        config = load_config(config_file, env_file, environ=os.environ)
        engine = open_database(config.database_url, busy_timeout=config.keys.busy_timeout)
        try:
            yield config, engine
        finally:
            engine.dispose()
    except (ConfigError, StoreError) as error:
        raise OperatorError(str(error)) from error


def store_in(engine: Engine) -> Store:
    """Return the store of a database, in the name of the OS user."""
    return Store(engine, actor=f"cli:{_user()}")


def peppers_of(config: Config) -> Peppers:
    """Return the configured peppers, or those of the file in the data directory, made if it is missing."""
    override = config.key_pepper
    return load_peppers(config.data_dir, None if override is None else override.get_secret_value())


def check_plan(config: Config, plan: str | None) -> None:
    """Refuse a plan that the configuration does not have."""
    if plan is not None and plan not in config.plans:
        raise Refused(f"there is no plan {plan!r} in the configuration; there are {', '.join(sorted(config.plans))}")


def key_id_in(text: str) -> str:
    """Take an id as it is shown in lists and logs, or the whole key when it is all that is at hand."""
    key = parse_key(text)
    return key.id if key else text.removeprefix(PREFIX).removesuffix("_…")


def print_json(value: object) -> None:
    """Print for programs."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int | None = None) -> None:
    """Print for people: aligned columns, wide enough for the longest value; after ``texts`` come numbers."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)][:texts]
        padded += [cell.rjust(width) for cell, width in zip(row, widths, strict=True)][len(padded) :]
        click.echo("  ".join(padded).rstrip())


def print_note(text: str) -> None:
    """Print what belongs to no pipe."""
    click.echo(f"note: {text}", err=True)


def written(moment: float | None) -> str | None:
    """Return a time as RFC 3339 in UTC, as JSON answers hold it."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name; Python 3.13 changed which one is raised
        return str(os.getuid())
