"""Tables of the ledger, as migration 0002 makes them.

- ``requests`` has a row for each request. What merges rows is in ``statements``.
- ``usage_days`` has sums of the rows whose ``rolled`` is not 0. A sum of everything is both: the days, and the rows
  that are not in them yet.
- What is absent is '' where it is part of a key of ``usage_days``: a request without a key, or without an end user.
- ``counted`` is 1, or 0 for a request that was given back: the sum of it is how many there were.
- ``cost_nano_usd`` is in 1e-9 US dollars, so that sums are exact. Times are Unix seconds.
- ``day`` is the calendar day of the admission, YYYY-MM-DD, by the clock and in the time zone of the limits; its month
  is the one that its first seven characters say.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

# The price classes, in the order of ``rows.Spent``.
TOKENS = (
    "input_tokens",
    "output_tokens",
    "thinking_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_search_requests",
)

metadata = MetaData()


def _tokens() -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False) for name in TOKENS]


requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("end_user", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("day", Text, nullable=False),
    Column("worker_id", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("checkpoint_at", Double, nullable=False),
    Column("lease_until", Double, nullable=False),
    *_tokens(),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Column("priced", Text, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("upstream_request_id", Text),
    Column("model_answered", Text),
    Column("first_token_at", Double),
    Column("ended_at", Double),
    Column("kind", Text),
    Column("status", Integer),
    Column("stop_reason", Text),
    Column("error_code", Text),
    Column("counted", SmallInteger, nullable=False),
    Column("rolled", Integer, nullable=False, server_default="0"),
    Index("ix_requests_rolled", "rolled"),
    Index("ix_requests_day", "day"),
    Index("ix_requests_open", "lease_until", sqlite_where=text("state = 0"), postgresql_where=text("state = 0")),
    Index(
        "ix_requests_end_user",
        "end_user",
        sqlite_where=text("end_user <> ''"),
        postgresql_where=text("end_user <> ''"),
    ),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("end_user", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    *_tokens(),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Index(
        "ix_usage_days_end_user",
        "end_user",
        sqlite_where=text("end_user <> ''"),
        postgresql_where=text("end_user <> ''"),
    ),
    # SQLite keeps the rows in the order of their key: a span of days is read in one go, in half the space.
    sqlite_with_rowid=False,
)
