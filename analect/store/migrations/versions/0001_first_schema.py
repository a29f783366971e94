"""The first schema.

On Postgres, records and their tags are partitioned by month of the id; the partitions themselves
are made by :mod:`analect.store.partitions`. Sealed payloads do not compress, so nobody tries.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RECORD_ID = sa.LargeBinary(16).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table and index."""
    _facts()
    _journal_and_outbox()
    _documents()
    _keys_and_erasure()
    _settings()
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE records ALTER COLUMN payload SET STORAGE EXTERNAL")
        # The queue's rows live for seconds: clean up early, or claims wade through the dead.
        op.execute(
            "ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.02, "
            "autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 1, fillfactor = 80)"
        )


def _facts() -> None:
    """Records, their tags, content hashes and annotations."""
    op.create_table(
        "records",
        sa.Column("id", RECORD_ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("thread_id", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("process_id", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("span_id", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("success", sa.Boolean(), nullable=True),
        sa.Column("duration_ms", sa.Float(precision=53), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost", sa.Float(precision=53), nullable=True),
        sa.Column("rating", sa.SmallInteger(), nullable=True),
        sa.Column("confidence", sa.Float(precision=53), nullable=True),
        sa.Column("turn", sa.BigInteger(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True, comment="JSON array, or null"),
        sa.Column("dimensions", sa.Text(), nullable=True, comment="JSON object, or null"),
        sa.Column("measures", sa.Text(), nullable=True, comment="JSON object, or null"),
        sa.Column(
            "key_id",
            sa.BigInteger(),
            nullable=True,
            comment="data key of the payload; null when it was omitted",
        ),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(
        "records_evaluated",
        "records",
        ["parent_id", "id"],
        unique=False,
        sqlite_where=sa.text("kind = 'evaluation'"),
        postgresql_where=sa.text("kind = 'evaluation'"),
    )
    op.create_index("records_kind", "records", ["kind", "id"], unique=False)
    op.create_index("records_session", "records", ["session_id", "id"], unique=False)
    op.create_index("records_thread", "records", ["thread_id", "id"], unique=False)
    op.create_table(
        "record_tags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("record_id", RECORD_ID, nullable=False),
        sa.PrimaryKeyConstraint("tag", "record_id"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (record_id)",
    )
    op.create_table(
        "content_hashes",
        sa.Column("hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("record_id", RECORD_ID, nullable=False),
        sa.PrimaryKeyConstraint("hash"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "annotations",
        sa.Column("record_id", RECORD_ID, nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("processor_version", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column("text", sa.LargeBinary(), nullable=True, comment="sealed"),
        sa.Column("confidence", sa.Float(precision=53), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", "processor", "name"),
    )


def _journal_and_outbox() -> None:
    """The commits in their order, and the work they left."""
    op.create_table(
        "commits",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column(
            "txid", sa.BigInteger(), nullable=False, comment="Postgres transaction id; 0 on SQLite"
        ),
        sa.Column("operation", sa.String(length=8), nullable=False, comment="put or delete"),
        sa.Column("ids", sa.LargeBinary(), nullable=False, comment="16 bytes a record, in order"),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("commits_order", "commits", ["txid", "seq"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column(
            "commit_seq",
            sa.BigInteger(),
            nullable=True,
            comment="the commit whose ids it covers when ids is null",
        ),
        sa.Column(
            "ids",
            sa.LargeBinary(),
            nullable=True,
            comment="16 bytes a record: a part of a commit, or a reprocessing",
        ),
        sa.Column("operation", sa.String(length=8), nullable=False, comment="put or delete"),
        sa.Column(
            "state", sa.String(length=12), nullable=False, comment="pending, claimed or quarantined"
        ),
        sa.Column(
            "priority", sa.SmallInteger(), nullable=False, comment="0 interactive, 1 backlog"
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.BigInteger(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_commit", "outbox", ["commit_seq"], unique=False)
    op.create_index(
        "outbox_next",
        "outbox",
        ["processor", "state", "priority", "not_before", "seq"],
        unique=False,
    )


def _documents() -> None:
    """Documents and their versions."""
    op.create_table(
        "documents",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True, comment="pseudonym"),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "id"),
    )
    op.create_index("documents_created", "documents", ["kind", "created_at", "id"], unique=False)
    op.create_index("documents_expiry", "documents", ["expires_at"], unique=False)
    op.create_index("documents_owner", "documents", ["kind", "owner", "status"], unique=False)
    op.create_table(
        "document_versions",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "id", "version"),
    )


def _keys_and_erasure() -> None:
    """Keys, the vault, receipts of erasing and who looked."""
    op.create_table(
        "key_shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("shard"),
    )
    op.create_table(
        "data_keys",
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("scope", sa.LargeBinary(length=16), nullable=False, comment="keyed hash"),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False, comment="under the shard's key"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("scope"),
    )
    op.create_index("data_keys_shard", "data_keys", ["shard"], unique=False)
    op.create_table(
        "vault",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("token", "key_id"),
    )
    op.create_index("vault_key", "vault", ["key_id"], unique=False)
    op.create_table(
        "erasures",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False, comment="subject, session, thread or record"),
        sa.Column("target", sa.Text(), nullable=False, comment="pseudonym or record id"),
        sa.Column("state", sa.Text(), nullable=False, comment="pending or final"),
        sa.Column("receipt", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "access_log",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False, comment="pseudonym or record id"),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )


def _settings() -> None:
    """What the store knows of itself."""
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
