"""``tokenweir db``: whether the database is in order, its schema, a copy of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import Engine

from gateway.cli.errors import OperatorError
from gateway.cli.keystore import config_options, peppers_of, print_note, store_in
from gateway.config import Config, ConfigError, load_config
from gateway.database.address import SqliteFile, parse_address
from gateway.database.errors import Refused, StoreError, database_errors
from gateway.database.opening import look_at_database, open_database
from gateway.database.schema import REVISIONS, Schema, read_schema
from gateway.database.sqlite import back_up, damage
from gateway.identity.pepper import FILE_NAME

_SENTENCES = {
    "missing": "it has no schema yet: `tokenweir db upgrade`, or the gateway at its next start, makes it",
    "old": "this version upgrades it to {known} at its next start, or `tokenweir db upgrade` does now",
    "current": "which is what this version knows",
    "newer": "newer than this version, which knows {known}; it is served all the same",
    "too new": "this version knows {known} and refuses to use it: run the version that made it, or a newer one",
}


@click.group()
def db() -> None:
    """The database of tenants, keys and the ledger."""


@db.command()
@config_options
def check(config_file: Path | None, env_file: Path | None) -> None:
    """Say whether the database is in order; changes nothing. Exit code 1 if it is not."""
    with _looking(config_file, env_file) as (config, engine):
        schema = read_schema(engine)
        click.echo(f"database {parse_address(config.database_url)}")
        click.echo(f"schema {schema.revision or 'none'}: {_SENTENCES[schema.state].format(known=REVISIONS[-1])}")
        problems = damage(engine) if engine.dialect.name == "sqlite" else []
        if schema.state in {"current", "newer"}:
            problems += _peppers(config, engine)
    for problem in problems:
        click.echo(f"problem: {problem}")
    if problems or schema.state not in {"current", "newer"}:
        raise SystemExit(1)
    click.echo("in order")


@db.command()
@config_options
def upgrade(config_file: Path | None, env_file: Path | None) -> None:
    """Make the schema, or bring it up to date. Gateways do so at their start by themselves."""
    with _configured(config_file, env_file) as config:
        before = _schema_before(config)
        engine = open_database(config.database_url, busy_timeout=config.keys.busy_timeout)
        after = read_schema(engine)
        engine.dispose()
    if before == after:
        click.echo(f"schema {after.revision}: nothing to do")
    else:
        click.echo(f"schema {before.revision or 'none'} -> {after.revision}")


@db.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@config_options
def backup(file: Path, config_file: Path | None, env_file: Path | None) -> None:
    """Copy a SQLite database into FILE, which must not exist, while the gateway runs. PostgreSQL has pg_dump."""
    with _looking(config_file, env_file) as (config, engine):
        if not isinstance(parse_address(config.database_url), SqliteFile):
            raise Refused("this is a PostgreSQL database: use pg_dump, docs/deployment.md says how")
        try:
            back_up(engine, file)
        except FileExistsError:
            raise Refused(f"{file} exists already; a backup overwrites nothing") from None
    click.echo(f"backed up into {file}")
    print_note("the pepper is not in it; keep that apart, and once")


def _peppers(config: Config, engine: Engine) -> list[str]:
    """Print how many keys are under which pepper; return what is wrong with that."""
    store = store_in(engine)
    used = store.live_keys_by_pepper()
    if config.key_pepper is None and not (config.data_dir / FILE_NAME).is_file():
        live = sum(used.values())
        return [f"there is no pepper, and {live} live key(s) need theirs: restore the pepper file"] if live else []
    peppers = peppers_of(config)
    for version, live in sorted(used.items()):
        current = ", the current one" if version == peppers.current else ""
        click.echo(f"pepper {version}{current}: {live} live key(s)")
    return store.pepper_problems(peppers)


def _schema_before(config: Config) -> Schema:
    try:
        engine = look_at_database(config.database_url)
    except Refused:
        return Schema(None, "missing")
    try:
        with database_errors(parse_address(config.database_url)):
            return read_schema(engine)
    finally:
        engine.dispose()


@contextmanager
def _configured(config_file: Path | None, env_file: Path | None) -> Iterator[Config]:
    """Read the configuration; what goes wrong inside ends the command."""
    try:
        yield load_config(config_file, env_file, environ=os.environ)
    except (ConfigError, StoreError) as error:
        raise OperatorError(str(error)) from error


@contextmanager
def _looking(config_file: Path | None, env_file: Path | None) -> Iterator[tuple[Config, Engine]]:
    """Open the configured database as it is."""
    with _configured(config_file, env_file) as config:
        engine = look_at_database(config.database_url)
        try:
            with database_errors(parse_address(config.database_url)):
                yield config, engine
        finally:
            engine.dispose()
