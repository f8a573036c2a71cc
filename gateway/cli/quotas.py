"""``tokenweir quotas``: where a tenant's limits stand, and more of them for a while."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import click

from gateway.cli.counted import counted
from gateway.cli.errors import OperatorError
from gateway.cli.keystore import config_options, opened, print_json, print_note, print_table, written
from gateway.cli.ledger import opened_ledger
from gateway.config import Config
from gateway.core.plans import Limits
from gateway.core.quota.limits import Unit
from gateway.core.units import zone_of

_UNITS = tuple(unit for unit in get_args(Unit) if unit != "concurrent")
_SPANS = ("minute", "hour", "day", "month")
_STREAMS = "concurrent_streams"
_LONGEST_OWNER = 16
ops_option = click.option(
    "--ops-listen", metavar="HOST:PORT", help="The gateway's operators' address, unless it is as configured."
)


@click.group()
def quotas() -> None:
    """Limits of tenants: where they stand, and more of them for a while."""


@quotas.command()
@click.argument("tenant")
@click.option("--user", help="Also the limits of this end user, by the application's own name.")
@click.option("--json", "for_programs", is_flag=True, help="For programs.")
@ops_option
@config_options
def show(
    tenant: str,
    user: str | None,
    ops_listen: str | None,
    *,
    for_programs: bool,
    config_file: Path | None,
    env_file: Path | None,
) -> None:
    """Show each limit of TENANT and of its keys: what is used, what running requests hold, and when it begins anew."""
    with opened_ledger(config_file, env_file) as ledger:
        ledger.store.fetch_tenant(tenant)
        path = f"quotas/{tenant}"
        answer = counted(ledger, lambda accounts: accounts.quotas(tenant, user), path, ops_listen, user=user)
    if for_programs:
        print_json(answer)
    elif answer["limits"]:
        heads = ("LIMIT", "OF", "USED", "HELD", "AT MOST", "RESET IN")
        print_table(heads, [_as_cells(limit) for limit in answer["limits"]], texts=2)
    else:
        print_note(f"the plan {answer['plan']} of tenant {tenant} sets no limit")


@quotas.command()
@click.argument("tenant")
@click.option("--usd", type=click.FloatRange(0, 1_000_000), help="Dollars.")
@click.option("--requests", type=click.IntRange(0), help="Requests.")
@click.option("--tokens", type=click.IntRange(0), help="Input and output tokens together.")
@click.option("--input-tokens", type=click.IntRange(0), help="Input tokens.")
@click.option("--output-tokens", type=click.IntRange(0), help="Output tokens.")
@click.option("--concurrent-streams", type=click.IntRange(0), help="Requests in flight at the same time.")
@click.option("--per", type=click.Choice(_SPANS), help="Only of the limit of this span.  [default: all of the unit]")
@click.option("--until", help="Last day, YYYY-MM-DD in [limits] time_zone, or a moment, 2026-11-23T18:00.")
@config_options
def grant(
    tenant: str, per: str | None, until: str | None, config_file: Path | None, env_file: Path | None, **given: Any
) -> None:
    """Add to limits of TENANT for a while, in place of an earlier grant; 0 ends it.

    It is the tenant's own limits that are raised, not those of each key, user or address.
    """
    amounts = {name: amount for name, amount in given.items() if amount is not None}
    if not amounts:
        raise click.UsageError("say what to add: --usd, --requests, --tokens, ... AMOUNT")
    if until is None and any(amounts.values()):
        raise click.UsageError("--until is missing: the last day of the grant, YYYY-MM-DD")
    with opened(config_file, env_file) as (config, store):
        row = store.fetch_tenant(tenant)
        limits = _limits(config, row.plan, amounts, per)
        end = 0.0 if until is None else _end(until, config)
        store.grant(tenant, limits, end)
    for limit, amount in limits.items():
        more = f"{amount:,} more until {written(end)}" if amount else "as its plan says again"
        click.echo(f"tenant {tenant}: {limit} is {more}")


def _limits(config: Config, plan_name: str, amounts: dict[str, float], per: str | None) -> dict[str, float]:
    """Return what is added to which limits; one that the plan does not set cannot be raised."""
    plan = config.plans.get(plan_name)
    if plan is None:
        raise OperatorError(f"the tenant's plan {plan_name!r} is not in the configuration")
    found: dict[str, float] = {}
    for unit, amount in amounts.items():
        spans = _SPANS if per is None else (per,)
        names = [_STREAMS] if unit == _STREAMS else [f"{unit}_per_{span}" for span in spans]
        there = [name for name in names if getattr(plan, name) is not None]
        if not there:
            has = ", ".join(name for name in Limits.model_fields if getattr(plan, name) is not None) or "none at all"
            raise OperatorError(f"plan {plan_name} has no {' or '.join(names)} to add to; its own limits: {has}")
        found |= dict.fromkeys(there, amount)
    return found


def _end(until: str, config: Config) -> float:
    zone = zone_of(config.limits.time_zone)
    try:
        if len(until) == len("2026-11-23"):
            day = date.fromisoformat(until) + timedelta(days=1)
            end = datetime(day.year, day.month, day.day, tzinfo=zone)
        else:
            end = datetime.fromisoformat(until)
            end = end if end.tzinfo else end.replace(tzinfo=zone)
    except (ValueError, OverflowError):
        raise OperatorError(
            f"--until {until!r} is neither a day, as in 2026-11-30, nor a moment, as in 2026-11-30T18:00"
        ) from None
    if end.timestamp() <= time.time():
        raise OperatorError(f"--until {until} is over already")
    return end.timestamp()


def _as_cells(limit: dict[str, Any]) -> tuple[str, ...]:
    known = "used" in limit
    numbers = [
        _number(limit["unit"], limit[name]) if known or name == "limit" else "?" for name in ("used", "held", "limit")
    ]
    reset = limit.get("resetSeconds")
    return limit["name"], limit["owner"][:_LONGEST_OWNER], *numbers, "-" if reset is None else _duration(reset)


def _number(unit: str, amount: float) -> str:
    return f"{amount:,.6f}" if unit == "usd" else f"{amount:,}"


def _duration(seconds: float) -> str:
    """Return the two largest units that count."""
    left, parts = round(seconds), list[str]()
    for name, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or name == "s":
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])
