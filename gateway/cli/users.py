"""``tokenweir users``: end users, whom the gateway knows by pseudonyms only."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.keystore import config_options, peppers_of, print_note
from gateway.cli.ledger import confirmed, opened_ledger, still_in_journals
from gateway.identity.pseudonym import Pseudonyms


@click.group()
def users() -> None:
    """End users: who an application says that it asks for."""


@users.command()
@click.argument("user", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_options
def erase(user: str, *, yes: bool, config_file: Path | None, env_file: Path | None) -> None:
    """Forget end user ID, as the application names it; what was used stays, under the key alone."""
    with opened_ledger(config_file, env_file) as ledger:
        peppers = peppers_of(ledger.config)
        for problem in ledger.store.pepper_problems(peppers):
            print_note(f"{problem}; end users of another pepper are not found")
        confirmed("Forget who this end user was, for good?", yes=yes)
        journals = still_in_journals(ledger)
        pseudonym = Pseudonyms(peppers)(user)
        changed = ledger.books.erase(pseudonym)
        if changed:
            # Not whom: the audit cannot be changed.
            ledger.store.record("users.erase", "", rows=changed)
        scrubbed = ledger.books.scrub(pseudonym)
    click.echo(f"{changed:,} rows of the ledger named this end user and do not any more")
    print_note("log lines and metrics hold no end users; what was backed up before holds the pseudonym")
    if journals:
        print_note(f"{journals} journals belong to running gateways: run this again when they have handed them over")
    if not scrubbed:
        print_note("the database's files are in use and may hold the pseudonym for a while: run this again")
