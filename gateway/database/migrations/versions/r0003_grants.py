"""What operators add to tenants' limits for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Nobody has any."""
    op.add_column("tenants", sa.Column("grants", sa.JSON, nullable=False, server_default="[]"))
