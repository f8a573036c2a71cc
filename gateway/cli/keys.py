"""``tokenweir keys``: make, list, revoke and rotate keys. A key is shown once, when it is made."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gateway.cli.keystore import (
    Duration,
    check_plan,
    config_options,
    key_id_in,
    opened,
    peppers_of,
    print_json,
    print_note,
    print_table,
    written,
)
from gateway.core.keys import Key
from gateway.identity.records import KeyRow


@click.group()
def keys() -> None:
    """Keys: what programs authenticate with, each of one tenant."""


@keys.command()
@click.option("--tenant", required=True, help="Whose key it is.")
@click.option("--plan", help="A narrower plan for this key, on top of the tenant's.")
@click.option("--expires", type=Duration(zero=False), help="Lifetime, as in 30d; without it the key does not expire.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@config_options
def create(
    *,
    tenant: str,
    plan: str | None,
    expires: float | None,
    as_json: bool,
    config_file: Path | None,
    env_file: Path | None,
) -> None:
    """Make a key and show it, this once."""
    with opened(config_file, env_file) as (config, store):
        check_plan(config, plan)
        expires_at = None if expires is None else time.time() + expires
        row, key = store.create_key(tenant, peppers_of(config), plan=plan, expires_at=expires_at)
    _show(row, key, as_json=as_json)


@keys.command("list")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@config_options
def list_(*, tenant: str | None, as_json: bool, config_file: Path | None, env_file: Path | None) -> None:
    """List keys, without their secrets."""
    with opened(config_file, env_file) as (_config, store):
        rows = store.list_keys(tenant)
    if as_json:
        print_json([_as_json(row) for row in rows])
    elif rows:
        heads = ("ID", "TENANT", "PLAN", "STATE", "CREATED", "EXPIRES")
        print_table(heads, [_as_cells(row) for row in rows])
    else:
        print_note("there are no keys yet; `tokenweir keys create --tenant NAME` makes one")


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--cut-streams", is_flag=True, help="Also stop the answers that are running.")
@config_options
def revoke(key_id: str, *, cut_streams: bool, config_file: Path | None, env_file: Path | None) -> None:
    """End key ID for good; within 5 s everywhere."""
    with opened(config_file, env_file) as (_config, store):
        row = store.revoke(key_id_in(key_id), cut_streams=cut_streams)
    click.echo(f"key {row.id} revoked" + (", its running streams are cut" if cut_streams else ""))


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap", type=Duration(zero=True), default="1h", show_default=True, help="How long the old key still works."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@config_options
def rotate(key_id: str, *, overlap: float, as_json: bool, config_file: Path | None, env_file: Path | None) -> None:
    """Make a successor for key ID, of the same tenant, plan and lifetime, and let the old one expire."""
    with opened(config_file, env_file) as (config, store):
        row, key = store.rotate(key_id_in(key_id), peppers_of(config), overlap=overlap)
        old = store.fetch_key(key_id_in(key_id))
    _show(row, key, as_json=as_json)
    print_note(f"the old key {old.id} works until {written(old.expires_at)}")


def _show(row: KeyRow, key: Key, *, as_json: bool) -> None:
    shown = {
        "id": row.id,
        "key": key.text,
        "tenant": row.tenant,
        "plan": row.plan,
        "expires_at": written(row.expires_at),
    }
    if row.rotated_from is not None:
        shown["rotated_from"] = row.rotated_from
    if as_json:
        print_json(shown)
    else:
        for name, value in shown.items():
            click.echo(f"{name:<12}  {value or '-'}")
    print_note("the key is shown this once and cannot be read again; store it now")


def _as_json(row: KeyRow) -> dict[str, object]:
    return {
        "id": row.id,
        "tenant": row.tenant,
        "plan": row.plan,
        "state": _state(row),
        "created_at": written(row.created_at),
        "expires_at": written(row.expires_at),
        "revoked_at": written(row.revoked_at),
        "rotated_from": row.rotated_from,
        "replaced_by": row.replaced_by,
        "pepper_version": row.pepper_version,
    }


def _as_cells(row: KeyRow) -> tuple[str, ...]:
    return (
        row.id,
        row.tenant,
        row.plan or "-",
        _state(row),
        written(row.created_at) or "",
        written(row.expires_at) or "never",
    )


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.ended(time.time()):
        return "expired"
    return "replaced" if row.replaced_by else "active"
