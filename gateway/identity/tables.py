"""Tables of tenants and keys, as migrations 0001 and 0003 make them.

- Every change takes the next number of ``revision`` in its own transaction and stamps the rows that it touches
  (``changed_at``), so that a worker finds what is new by one indexed read.
- ``audit`` is append-only: triggers refuse UPDATE and DELETE, whoever asks.
- Nothing is ever deleted: keys are revoked, tenants suspended, and the audit's targets stay resolvable.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()

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
    Column("name", Text, nullable=False, unique=True),
    Column("plan", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("suspended_at", Double),
    Column("cut_at", Integer, nullable=False, default=0),
    Column("changed_at", Integer, nullable=False, index=True),
    Column("grants", JSON, nullable=False, server_default="[]"),  # [[limit, amount, until], ...]
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False, index=True),
    Column("plan", Text),
    Column("hash", LargeBinary, nullable=False),
    Column("pepper_version", ForeignKey("peppers.version"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
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
    Column("fingerprint", LargeBinary, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("details", JSON, nullable=False),
    sqlite_autoincrement=True,
)
