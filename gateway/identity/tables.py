"""Tables of tenants and keys.

- Every change takes the next number of ``revision`` in its own transaction and stamps the rows that it touches
  (``changed_at``), so that a worker finds what is new by one indexed read.
- ``audit`` is append-only: triggers refuse UPDATE and DELETE, whoever asks.
- Nothing is ever deleted: keys are revoked, tenants suspended, and the audit's targets stay resolvable.
- ``schema_version`` is 1; migrations start from it.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    event,
)

SCHEMA_VERSION = 1

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

revision = Table(
    "revision",
    metadata,
    Column("single", Integer, CheckConstraint("single = 1"), primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("plan", String(63), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("suspended_at", Float),
    Column("cut_at", Integer, nullable=False, default=0),
    Column("changed_at", Integer, nullable=False, index=True),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False, index=True),
    Column("plan", String(63)),
    Column("hash", LargeBinary(32), nullable=False),
    Column("pepper_version", ForeignKey("peppers.version"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("rotated_from", ForeignKey("keys.id")),
    Column("replaced_by", ForeignKey("keys.id")),
    Column("cut_at", Integer, nullable=False, default=0),
    Column("changed_at", Integer, nullable=False, index=True),
)

# Tells a lost or mistaken pepper from a wrong key: without it every key would just stop working, without a reason.
peppers = Table(
    "peppers",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("fingerprint", LargeBinary(16), nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(40), nullable=False),
    Column("target", String(63), nullable=False),
    Column("details", JSON, nullable=False),
    sqlite_autoincrement=True,
)


@event.listens_for(audit, "after_create")
def _make_append_only(_table: Table, connection: Connection, **_: object) -> None:
    for operation in ("UPDATE", "DELETE"):
        connection.exec_driver_sql(
            f"CREATE TRIGGER audit_refuses_{operation.lower()} BEFORE {operation} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        )
