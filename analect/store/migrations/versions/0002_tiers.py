"""Files of the warm and cold tiers, legal holds, monthly aggregates, reports of lifecycle jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RECORD_ID = sa.LargeBinary(16).with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Make the tables; files of a tier are few, so one index will do."""
    op.create_table(
        "tier_files",
        sa.Column("name", sa.Text(), nullable=False, comment="path below the place of the tiers"),
        sa.Column("tier", sa.String(8), nullable=False, comment="warm or cold"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("state", sa.String(12), nullable=False, comment="removing, live or retired"),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("first_id", RECORD_ID, nullable=False),
        sa.Column("last_id", RECORD_ID, nullable=False),
        sa.Column(
            "indexed", sa.Boolean(), nullable=False, comment="whether the indexes keep its records"
        ),
        sa.Column(
            "locator",
            sa.LargeBinary(),
            nullable=False,
            comment="which values it holds, and where",
        ),
        sa.Column("written_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("tier_files_place", "tier_files", ["tier", "month", "kind"])
    op.create_table(
        "legal_holds",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "monthly_aggregates",
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("grouped_by", sa.Text(), nullable=False, comment="JSON: names and values"),
        sa.Column("figures", sa.Text(), nullable=False, comment="JSON: names and numbers"),
        sa.Column("computed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("family", "month", "grouped_by"),
    )
    op.create_table(
        "lifecycle_reports",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False, comment="retention, archive or purge"),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("lifecycle_reports_newest", "lifecycle_reports", ["job", "started_at"])
