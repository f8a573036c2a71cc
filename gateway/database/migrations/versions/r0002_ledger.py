"""The ledger: one row per request, and sums by day."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TOKENS = (
    "input_tokens",
    "output_tokens",
    "thinking_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_search_requests",
)


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "requests",
        sa.Column("request_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("tenant", "key_id", "end_user", "model")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("dialect", "route")),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("worker_id", sa.Text, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("checkpoint_at", sa.Double, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _TOKENS),
        sa.Column("cost_nano_usd", sa.BigInteger, nullable=False),
        sa.Column("priced", sa.Text, nullable=False),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("upstream", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("upstream_request_id", sa.Text),
        sa.Column("model_answered", sa.Text),
        sa.Column("first_token_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("kind", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("stop_reason", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("counted", sa.SmallInteger, nullable=False),
        sa.Column("rolled", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_index("ix_requests_rolled", "requests", ["rolled"])
    op.create_index("ix_requests_day", "requests", ["day"])
    op.create_index("ix_requests_open", "requests", ["lease_until"], **_only("state = 0"))
    op.create_index("ix_requests_end_user", "requests", ["end_user"], **_only("end_user <> ''"))
    op.create_table(
        "usage_days",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("day", "tenant", "key_id", "end_user", "model")),
        sa.Column("requests", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _TOKENS),
        sa.Column("cost_nano_usd", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_usage_days_end_user", "usage_days", ["end_user"], **_only("end_user <> ''"))


def _only(condition: str) -> dict[str, Any]:
    """Return what makes an index one of some rows."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
