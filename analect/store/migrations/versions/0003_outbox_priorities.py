"""The outbox has three priorities; what was backlog (1) is so still (2)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rows first, then what the column says of itself, which only Postgres keeps."""
    op.execute("UPDATE outbox SET priority = 2 WHERE priority = 1")
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column(
            "outbox",
            "priority",
            existing_type=sa.SmallInteger(),
            existing_nullable=False,
            comment="0 interactive, 1 committed, 2 backlog",
            existing_comment="0 interactive, 1 backlog",
        )
