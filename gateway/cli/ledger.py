"""What the commands for the ledger share: how it is opened, what is handed over to it first, days and dollars."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import click

from gateway.cli.errors import OperatorError
from gateway.cli.keystore import opened_database, store_in
from gateway.config import Config
from gateway.identity.store import Store
from gateway.ledger.books import Books
from gateway.ledger.journal import DIRECTORY, Journal, files_in, read_rows
from gateway.ledger.writer import GATHER

_NANO = 10**9
# Seconds after which a living gateway whose database works has long handed over what it has in its journal.
_HANDED_OVER_WITHIN = 2.0
_LONGEST = 100  # a model's name is the caller's to choose


class Ledger(NamedTuple):
    """What is open while a command runs. The store is for the audit, and for names of tenants and keys."""

    config: Config
    store: Store
    books: Books


class Day(click.ParamType[str]):
    """A calendar day, YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the day as the ledger has it."""
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            self.fail(f"{value!r} is not a day: YYYY-MM-DD, as in 2026-11-23", param, ctx)


@contextmanager
def opened_ledger(config_file: Path | None, env_file: Path | None) -> Iterator[Ledger]:
    """Open the configured ledger with what processes that are gone left; what goes wrong inside ends the command."""
    with opened_database(config_file, env_file) as (config, engine):
        ledger = Ledger(config, store_in(engine), Books(engine))
        with _reading(ledger) as directory:
            Journal(directory, "cli").hand_over_of_the_dead(ledger.books.take)
        yield ledger


def still_in_journals(ledger: Ledger) -> int:
    """Wait a moment until living processes have handed over what they have now; return how many journals have not."""
    with _reading(ledger) as directory:
        waiting, end = _with_rows(directory), time.monotonic() + _HANDED_OVER_WITHIN
        while waiting and time.monotonic() < end:
            time.sleep(GATHER)
            waiting &= _with_rows(directory)
        return len(waiting)


@contextmanager
def _reading(ledger: Ledger) -> Iterator[Path]:
    directory = ledger.config.data_dir / DIRECTORY
    try:
        yield directory
    except OSError as error:
        raise OperatorError(f"the journals in {directory} cannot be read: {error.strerror}") from error


def _with_rows(directory: Path) -> set[Path]:
    """Return the journals that are not empty; each has a name of its own, for good."""
    return {path for path in files_in(directory) if next(read_rows(path), None) is not None}


def confirmed(question: str, *, yes: bool) -> None:
    """Go on if the operator says so; else the command ends."""
    if not yes:
        click.confirm(question, abort=True, err=True)


def shown(text: str) -> str:
    """Return what callers chose as a terminal may be given it: one short line without escape sequences."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:_LONGEST])


def exact_dollars(nano: int) -> str:
    """Return all digits that there are."""
    return f"{nano // _NANO}.{nano % _NANO:09}"


def dollars(nano: int) -> str:
    """Return six digits, for people: a token of the cheapest model costs a tenth of the last one."""
    micro = (nano + 500) // 1000
    return f"{micro // 10**6:,}.{micro % 10**6:06}"
