"""``tokenweir tenants``: make, list, suspend and resume tenants."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.keystore import check_plan, config_options, opened, print_json, print_note, print_table, written
from gateway.identity.records import TenantRow


@click.group()
def tenants() -> None:
    """Tenants: who the gateway serves, each with a plan."""


@tenants.command()
@click.argument("name")
@click.option("--plan", default="default", show_default=True, help="Plan of the configuration.")
@config_options
def create(name: str, plan: str, config_file: Path | None, env_file: Path | None) -> None:
    """Make tenant NAME."""
    with opened(config_file, env_file) as (config, store):
        check_plan(config, plan)
        store.create_tenant(name, plan)
    click.echo(f"tenant {name} created, plan {plan}")


@tenants.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@config_options
def list_(*, as_json: bool, config_file: Path | None, env_file: Path | None) -> None:
    """List all tenants."""
    with opened(config_file, env_file) as (_config, store):
        rows = store.list_tenants()
    if as_json:
        print_json([_as_json(row) for row in rows])
    elif rows:
        print_table(("NAME", "PLAN", "STATE", "CREATED"), [_as_cells(row) for row in rows])
    else:
        print_note("there are no tenants yet; `tokenweir tenants create NAME` makes one")


@tenants.command()
@click.argument("name")
@click.option("--cut-streams", is_flag=True, help="Also stop the answers that are running.")
@config_options
def suspend(name: str, *, cut_streams: bool, config_file: Path | None, env_file: Path | None) -> None:
    """Refuse the requests of tenant NAME until it is resumed; within 5 s everywhere."""
    with opened(config_file, env_file) as (_config, store):
        store.suspend(name, cut_streams=cut_streams)
    click.echo(f"tenant {name} suspended" + (", its running streams are cut" if cut_streams else ""))


@tenants.command()
@click.argument("name")
@config_options
def resume(name: str, config_file: Path | None, env_file: Path | None) -> None:
    """Serve tenant NAME again."""
    with opened(config_file, env_file) as (_config, store):
        store.resume(name)
    click.echo(f"tenant {name} resumed")


def _as_json(row: TenantRow) -> dict[str, object]:
    return {
        "name": row.name,
        "plan": row.plan,
        "suspended": row.suspended_at is not None,
        "suspended_at": written(row.suspended_at),
        "created_at": written(row.created_at),
    }


def _as_cells(row: TenantRow) -> tuple[str, ...]:
    state = "active" if row.suspended_at is None else f"suspended {written(row.suspended_at)}"
    return row.name, row.plan, state, written(row.created_at) or ""
