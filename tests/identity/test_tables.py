"""The schema's own guarantees."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, exc, func, insert, select, update

from gateway.identity import tables
from gateway.identity.database import transaction


@pytest.mark.parametrize("statement", [update(tables.audit).values(actor="nobody"), delete(tables.audit)])
def test_the_audit_can_be_added_to_and_nothing_else(store, engine, statement):
    store.create_tenant("shop")
    with pytest.raises(exc.IntegrityError, match="append-only"), transaction(engine, write=True) as connection:
        connection.execute(statement)
    assert [row.actor for row in store.audit()] == ["cli:ada"]


def test_there_is_one_revision_only(engine):
    with pytest.raises(exc.IntegrityError), transaction(engine, write=True) as connection:
        connection.execute(insert(tables.revision).values(single=2, number=0))


def test_a_key_needs_its_tenant_and_pepper(engine):
    row = {"id": "k" * 12, "tenant_id": 1, "hash": b"", "pepper_version": 1, "created_at": 0, "changed_at": 0}
    with pytest.raises(exc.IntegrityError, match="FOREIGN KEY"), transaction(engine, write=True) as connection:
        connection.execute(insert(tables.keys).values(row))


def test_the_schema_has_a_version_from_which_migrations_start(engine):
    with transaction(engine, write=False) as connection:
        assert connection.scalars(select(tables.schema_version.c.version)).all() == [tables.SCHEMA_VERSION]
        assert connection.scalar(select(func.max(tables.revision.c.number))) == 0
