"""``tokenweir usage``: what was used and what it cost; one request; and the end of old ones."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from gateway.cli.counted import counted
from gateway.cli.errors import OperatorError
from gateway.cli.keystore import config_options, key_id_in, peppers_of, print_json, print_note, print_table
from gateway.cli.ledger import Day, Ledger, confirmed, dollars, exact_dollars, opened_ledger, shown, still_in_journals
from gateway.cli.quotas import ops_option
from gateway.cli.usage_show import as_json, as_lines
from gateway.config import Config
from gateway.core.quota.calendar import Calendar
from gateway.core.units import zone_of
from gateway.identity.pseudonym import Pseudonyms
from gateway.ledger.books import By, Sum

# How a table writes what is absent, and how a filter asks for it: a caller without a key, a request without a user.
_NONE = "-"

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")

_HEADS = ("REQUESTS", "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE", "SEARCHES", "USD")


@click.group(invoke_without_command=True)
@click.option("--tenant", help="Only this tenant's.")
@click.option("--key", help="Only this key's, by its id; - for callers without one.")
@click.option("--user", help="Only this end user's, by the application's own name; - for requests without one.")
@click.option("--model", help="Only this model's, as Claude names it.")
@click.option("--from", "first", type=Day(), help="First day, YYYY-MM-DD.  [default: the first of the month]")
@click.option("--to", "last", type=Day(), help="Last day, included.  [default: today]")
@click.option("--by", type=click.Choice(get_args(By)), default="day", show_default=True, help="What is summed up.")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets.")
@click.option("--json", "for_programs", is_flag=True, help="For programs.")
@config_options
@click.pass_context
def usage(context: click.Context, /, *, config_file: Path | None, env_file: Path | None, **given: Any) -> None:
    """Show what was used and what it cost, in days of [limits] time_zone."""
    if context.invoked_subcommand is not None:
        return
    if given["as_csv"] and given["for_programs"]:
        raise click.UsageError("--csv or --json, not both")
    with opened_ledger(config_file, env_file) as ledger:
        first, last = _span(ledger.config, given["first"], given["last"])
        sums = ledger.books.usage(first, last, given["by"], _filters(ledger, given))
    if given["as_csv"]:
        _print_csv(given["by"], sums)
    elif given["for_programs"]:
        described = {"from": first, "to": last, "time_zone": ledger.config.limits.time_zone, "by": given["by"]}
        print_json({**described, "sums": [_as_json(given["by"], one) for one in sums], "total": _figures(_total(sums))})
    elif sums:
        rows = [_as_cells(one) for one in (*sums, _total(sums))]
        print_table((given["by"].upper(), *_HEADS), rows, texts=1)
    else:
        print_note(f"no request of these ended from {first} to {last}")


@usage.command()
@click.argument("request_id")
@click.option("--json", "for_programs", is_flag=True, help="For programs.")
@config_options
def show(request_id: str, *, for_programs: bool, config_file: Path | None, env_file: Path | None) -> None:
    """Show all that is kept of one request.

    REQUEST_ID is the answer's X-Request-Id, and request_id in the log.
    """
    with opened_ledger(config_file, env_file) as ledger:
        row = ledger.books.request(request_id)
    if row is None:
        raise OperatorError(
            f"there is no request {request_id} in the ledger: it was refused before it was admitted, its day was "
            "pruned, or its row waits in the journal of a gateway whose database is away"
        )
    if for_programs:
        print_json(as_json(row))
    else:
        for line in as_lines(row):
            click.echo(line)


@usage.command()
@click.option("--tenant", help="Only this tenant's limits.")
@click.option("--json", "for_programs", is_flag=True, help="For programs.")
@ops_option
@config_options
def reconcile(
    tenant: str | None, ops_listen: str | None, *, for_programs: bool, config_file: Path | None, env_file: Path | None
) -> None:
    """Compare what limits per day and month have counted with the ledger; exit code 1 if they differ.

    Requests that run, and that end meanwhile, are no difference.
    """
    with opened_ledger(config_file, env_file) as ledger:
        if tenant is not None:
            ledger.store.fetch_tenant(tenant)
        answer = counted(ledger, lambda accounts: accounts.differences(tenant), "reconcile", ops_listen, tenant=tenant)
    found = answer["differences"]
    if for_programs:
        print_json(answer)
    elif found:
        heads = ("TENANT", "LIMIT", "OF", "LEDGER", "LIMITS", "DIFFERENCE")
        print_table(heads, [_difference(one) for one in found], texts=3)
    else:
        click.echo("the limits have counted what the ledger says")
    sys.exit(bool(found))


def _difference(one: dict[str, Any]) -> tuple[str, ...]:
    digits = 9 if one["unit"] == "usd" else 0
    ledger, limits = one["ledger"], one["store"]
    numbers = (f"{number:,.{digits}f}" for number in (ledger, limits, limits - ledger))
    return one["tenant"], one["name"], shown(one["owner"]), *numbers


@usage.command()
@click.option("--before", type=Day(), required=True, help="The first day that is kept, YYYY-MM-DD; today at most.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_options
def prune(*, before: str, yes: bool, config_file: Path | None, env_file: Path | None) -> None:
    """Delete the requests of earlier days; their sums stay, for good."""
    with opened_ledger(config_file, env_file) as ledger:
        if before > (today := _today(ledger.config)):
            raise OperatorError(f"--before {before} is after today, {today}: requests that still run would be deleted")
        confirmed(f"Delete all requests before {before}, and keep their sums?", yes=yes)
        if journals := still_in_journals(ledger):
            # What they hold may be in the ledger already. Pruned before it comes again, it would count twice.
            raise OperatorError(f"{journals} journals wait for running gateways to hand them over: try again then")
        rolled, pruned = _rolled_up(ledger), _pruned(ledger, before)
        if pruned:
            ledger.store.record("usage.prune", before, requests=pruned)
    click.echo(f"{rolled:,} requests were added to the sums of their days, {pruned:,} from before {before} deleted")


def _rolled_up(ledger: Ledger) -> int:
    total = 0
    while some := ledger.books.roll_up(time.time()):
        total += some
    return total


def _pruned(ledger: Ledger, before: str) -> int:
    total = 0
    while some := ledger.books.prune(before):
        total += some
    return total


def _today(config: Config) -> str:
    return Calendar(zone_of(config.limits.time_zone)).at("day", time.time()).name


def _span(config: Config, first: str | None, last: str | None) -> tuple[str, str]:
    last = last or _today(config)
    first = first or last[:8] + "01"
    if first > last:
        raise OperatorError(f"--from {first} is after --to {last}")
    return first, last


def _filters(ledger: Ledger, given: dict[str, Any]) -> dict[str, str]:
    """Return what the ledger is to look for; names that nobody has are refused, and not just found nowhere."""
    filters: dict[str, str] = {}
    if given["tenant"] is not None:
        filters["tenant"] = ledger.store.fetch_tenant(given["tenant"]).name
    if given["key"] is not None:
        filters["key_id"] = "" if given["key"] == _NONE else ledger.store.fetch_key(key_id_in(given["key"])).id
    if given["user"] is not None:
        pseudonym = Pseudonyms(peppers_of(ledger.config))
        filters["end_user"] = "" if given["user"] == _NONE else pseudonym(given["user"])
    if given["model"] is not None:
        filters["model"] = given["model"]
    return filters


def _total(sums: Sequence[Sum]) -> Sum:
    columns = zip(*(one[1:] for one in sums), strict=True)
    return Sum(("TOTAL",), *([sum(column) for column in columns] or [0] * (len(Sum._fields) - 1)))


def _as_cells(one: Sum) -> tuple[str, ...]:
    numbers = (
        one.requests,
        one.input_tokens,
        one.output_tokens,
        one.cache_read_tokens,
        one.cache_write_5m_tokens + one.cache_write_1h_tokens,
        one.web_search_requests,
    )
    return (shown(one.of[0]) or _NONE, *(f"{number:,}" for number in numbers), dollars(one.cost_nano_usd))


def _figures(one: Sum) -> dict[str, object]:
    figures: dict[str, object] = dict(zip(Sum._fields[1:], one[1:], strict=True))
    return {**figures, "cost_usd": exact_dollars(one.cost_nano_usd)}


def _as_json(by: By, one: Sum) -> dict[str, object]:
    return {by: one.of[0] or None, **_figures(one)}


def _print_csv(by: By, sums: Sequence[Sum]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((by, *Sum._fields[1:], "cost_usd"))
    writer.writerows((_cell(one.of[0]), *_figures(one).values()) for one in sums)


def _cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula; a model's name is the caller's to choose."""
    return f"'{text}" if text.startswith(_FORMULAS) else text
