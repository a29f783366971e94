"""Every table of the truth, for both dialects.

Times are BIGINT microseconds UTC. Record ids are 16-byte blobs on SQLite and ``uuid`` on
Postgres; both sort by time. On Postgres ``records`` and ``record_tags`` are partitioned by month
of the id (see :mod:`analect.store.partitions`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
    types,
)
from sqlalchemy.dialects import postgresql

from analect.model.ids import RecordId, id_bytes, id_text
from analect.model.record import TEXT_FIELDS

metadata = MetaData()


class RecordIdType(types.TypeDecorator[RecordId]):
    """A record id: 16 bytes on SQLite, ``uuid`` on Postgres, canonical text in Python."""

    impl = LargeBinary(16)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Pick the column type of the dialect."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=False))
        return dialect.type_descriptor(LargeBinary(16))

    def process_bind_param(self, value: RecordId | None, dialect: Dialect) -> Any:
        """Python to driver."""
        if value is None or dialect.name == "postgresql":
            return value
        return id_bytes(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> RecordId | None:  # noqa: ARG002  (the decorator's signature)
        """Driver to Python."""
        if value is None:
            return None
        if isinstance(value, bytes):
            return id_text(value)
        return RecordId(str(value) if isinstance(value, UUID) else value)


Serial = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit number that SQLite can make a rowid of."""

records = Table(
    "records",
    metadata,
    Column("id", RecordIdType, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("external_id", Text),
    *(Column(name, Text) for name in TEXT_FIELDS),
    Column("success", Boolean),
    Column("duration_ms", Float(53)),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cost", Float(53)),
    Column("rating", SmallInteger),
    Column("confidence", Float(53)),
    Column("turn", BigInteger),
    Column("tags", Text, comment="JSON array, or null"),
    Column("dimensions", Text, comment="JSON object, or null"),
    Column("measures", Text, comment="JSON object, or null"),
    Column("key_id", BigInteger, comment="data key of the payload; null when it was omitted"),
    Column("payload", LargeBinary),
    Column("content_hash", LargeBinary(16), nullable=False),
    Index("records_thread", "thread_id", "id"),
    Index("records_session", "session_id", "id"),
    Index("records_kind", "kind", "id"),
    Index(
        "records_evaluated",
        "parent_id",
        "id",
        sqlite_where=text("kind = 'evaluation'"),
        postgresql_where=text("kind = 'evaluation'"),
    ),
)

record_tags = Table(
    "record_tags",
    metadata,
    Column("tag", Text, primary_key=True),
    Column("record_id", RecordIdType, primary_key=True),
    sqlite_with_rowid=False,
)

commits = Table(
    "commits",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("txid", BigInteger, nullable=False, comment="Postgres transaction id; 0 on SQLite"),
    Column("operation", String(8), nullable=False, comment="put or delete"),
    Column("ids", LargeBinary, nullable=False, comment="16 bytes a record, in order"),
    Column("committed_at", BigInteger, nullable=False),
    Index("commits_order", "txid", "seq"),
    sqlite_autoincrement=True,
)
"""The journal: one row a commit, from which everything is read exactly once in commit order."""

outbox = Table(
    "outbox",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("processor", Text, nullable=False),
    Column("commit_seq", BigInteger, comment="the commit whose ids it covers when ids is null"),
    Column("ids", LargeBinary, comment="16 bytes a record: a part of a commit, or a reprocessing"),
    Column("operation", String(8), nullable=False, comment="put or delete"),
    Column("state", String(12), nullable=False, comment="pending, claimed or quarantined"),
    Column(
        "priority", SmallInteger, nullable=False, comment="0 interactive, 1 committed, 2 backlog"
    ),
    Column("attempts", Integer, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_at", BigInteger),
    Column("error_code", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("outbox_next", "processor", "state", "priority", "not_before", "seq"),
    Index("outbox_commit", "commit_seq"),
    sqlite_autoincrement=True,
)
"""Work to do, one row a commit and processor; a finished entry is deleted."""

content_hashes = Table(
    "content_hashes",
    metadata,
    Column("hash", LargeBinary(16), primary_key=True),
    Column("record_id", RecordIdType, nullable=False),
    sqlite_with_rowid=False,
)
"""Keyed content hashes of records stored with content dedupe asked for."""

documents = Table(
    "documents",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("owner", Text, comment="pseudonym"),
    Column("status", Text),
    Column("key_id", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index("documents_owner", "kind", "owner", "status"),
    Index("documents_expiry", "expires_at"),
    Index("documents_created", "kind", "created_at", "id"),
)

document_versions = Table(
    "document_versions",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("owner", Text),
    Column("status", Text),
    Column("key_id", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)
"""Every version that was saved, the present one included."""

annotation_rows = Table(
    "annotations",
    metadata,
    Column("record_id", RecordIdType, primary_key=True),
    Column("processor", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("processor_version", Integer, nullable=False),
    Column("value", Text),
    Column("key_id", BigInteger),
    Column("text", LargeBinary, comment="sealed"),
    Column("confidence", Float(53)),
    Column("created_at", BigInteger, nullable=False),
)

key_shards = Table(
    "key_shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
)

data_keys = Table(
    "data_keys",
    metadata,
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", SmallInteger, nullable=False),
    Column("scope", LargeBinary(16), nullable=False, unique=True, comment="keyed hash"),
    Column("wrapped", LargeBinary, nullable=False, comment="under the shard's key"),
    Column("created_at", BigInteger, nullable=False),
    Index("data_keys_shard", "shard"),
)

vault = Table(
    "vault",
    metadata,
    Column("token", Text, primary_key=True),
    Column("key_id", BigInteger, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Index("vault_key", "key_id"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False, comment="subject, session, thread or record"),
    Column("target", Text, nullable=False, comment="pseudonym or record id"),
    Column("state", Text, nullable=False, comment="pending or final"),
    Column("receipt", Text, nullable=False, comment="JSON"),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
)

access_log = Table(
    "access_log",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False, comment="pseudonym or record id"),
    sqlite_autoincrement=True,
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

tier_files = Table(
    "tier_files",
    metadata,
    Column("name", Text, primary_key=True, comment="path below the place of the tiers"),
    Column("tier", String(8), nullable=False, comment="warm or cold"),
    Column("kind", Text, nullable=False),
    Column("month", String(7), nullable=False),
    Column("state", String(12), nullable=False, comment="removing, live or retired"),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("first_id", RecordIdType, nullable=False),
    Column("last_id", RecordIdType, nullable=False),
    Column("indexed", Boolean, nullable=False, comment="whether the indexes keep its records"),
    Column("locator", LargeBinary, nullable=False, comment="which values it holds, and where"),
    Column("written_at", BigInteger, nullable=False),
    Index("tier_files_place", "tier", "month", "kind"),
)
"""Files of the warm and cold tiers. ``removing``: copied, their hot rows are being removed;
``retired``: another file took its place, and it is being deleted."""

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("name", Text, primary_key=True),
    Column("selector", Text, nullable=False, comment="JSON"),
    Column("created_at", BigInteger, nullable=False),
)
"""Holds that were laid by hand; those of policies are in the policies."""

monthly_aggregates = Table(
    "monthly_aggregates",
    metadata,
    Column("family", Text, primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("grouped_by", Text, primary_key=True, comment="JSON: names and values"),
    Column("figures", Text, nullable=False, comment="JSON: names and numbers"),
    Column("computed_at", BigInteger, nullable=False),
)

lifecycle_reports = Table(
    "lifecycle_reports",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job", Text, nullable=False, comment="retention, archive or purge"),
    Column("outcome", Text, nullable=False),
    Column("report", Text, nullable=False, comment="JSON"),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, nullable=False),
    Index("lifecycle_reports_newest", "job", "started_at"),
)
