"""The schema's own guarantees."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, exc, insert, update

from gateway.database.transactions import transaction
from gateway.identity import tables


@pytest.mark.parametrize("statement", [update(tables.audit).values(actor="nobody"), delete(tables.audit)])
def test_the_audit_can_be_added_to_and_nothing_else(store, engine, statement):
    store.create_tenant("shop")
    with pytest.raises(exc.IntegrityError, match="append-only"), transaction(engine, "change") as connection:
        connection.execute(statement)
    assert [row.actor for row in store.audit()] == ["cli:ada"]


def test_there_is_one_revision_only(engine):
    with pytest.raises(exc.IntegrityError), transaction(engine, "change") as connection:
        connection.execute(insert(tables.revision).values(single=2, number=0))


def test_a_key_needs_its_tenant_and_pepper(engine):
    row = {"id": "k" * 12, "tenant_id": 1, "hash": b"", "pepper_version": 1, "created_at": 0, "changed_at": 0}
    with pytest.raises(exc.IntegrityError, match=r"(?i)foreign key"), transaction(engine, "change") as connection:
        connection.execute(insert(tables.keys).values(row))


def test_nothing_has_changed_yet_in_a_new_database(store):
    assert store.revision() == 0


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_the_audit_cannot_be_emptied_either(store, engine):
    with pytest.raises(exc.IntegrityError, match="append-only"), transaction(engine, "change") as connection:
        connection.exec_driver_sql("TRUNCATE audit")
