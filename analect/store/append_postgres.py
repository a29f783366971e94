"""The statements of a commit on Postgres.

Records go in by COPY, after a look at which of their ids are taken. Another process may take one
between the look and the COPY: then the transaction fails on the primary key and the writer tries
again, which sees it. Rows go in by the order of their keys, so that two processes wait for each
other in one order only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from sqlalchemy import Connection

from analect.model.ids import Micros, RecordId, id_bytes
from analect.model.record import TEXT_FIELDS
from analect.store.append import (
    RECORD_COLUMNS,
    KeyRow,
    SealedDraft,
    VaultRow,
    key_values,
    record_row,
)

if TYPE_CHECKING:
    import psycopg

_TYPES = {
    "id": "uuid",
    **dict.fromkeys(
        ("kind", "external_id", *TEXT_FIELDS, "tags", "dimensions", "measures"), "text"
    ),
    **dict.fromkeys(
        ("occurred_at", "received_at", "input_tokens", "output_tokens", "turn", "key_id"), "int8"
    ),
    **dict.fromkeys(("duration_ms", "cost", "confidence"), "float8"),
    "success": "bool",
    "rating": "int2",
    "payload": "bytea",
    "content_hash": "bytea",
}
_RECORD_TYPES = [_TYPES[name] for name in RECORD_COLUMNS]

# Only a key that the present generation of its shard wraps: another one could never be opened.
# The shard's row is held, so that no erasure moves it on before the commit.
_ADD_KEY = (
    "INSERT INTO data_keys (key_id, shard, scope, wrapped, created_at) SELECT %s, %s, %s, %s, %s "
    "FROM key_shards WHERE shard = %s AND generation = %s FOR SHARE ON CONFLICT DO NOTHING"
)
_STANDING = "SELECT key_id FROM data_keys WHERE key_id = ANY(%s) ORDER BY key_id FOR KEY SHARE"
_KNOWN_IDS = """
SELECT id::text, content_hash FROM records
WHERE id = ANY(string_to_array(%s, ',')::uuid[]) AND id BETWEEN %s::uuid AND %s::uuid
"""
_KNOWN_CONTENTS = "SELECT hash, record_id::text FROM content_hashes WHERE hash = ANY(%s)"
_COPY_RECORDS = f"COPY records ({', '.join(RECORD_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_COPY_TAGS = "COPY record_tags (tag, record_id) FROM STDIN (FORMAT BINARY)"
_ADD_CONTENT = "INSERT INTO content_hashes (hash, record_id) VALUES (%s, %s::uuid)"
_ADD_VAULT = "INSERT INTO vault (token, key_id, sealed) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_JOURNAL = """
WITH entry AS (
    INSERT INTO commits (txid, operation, ids, committed_at)
    VALUES (pg_current_xact_id()::text::bigint, 'put', %(ids)s, %(now)s) RETURNING seq
), work AS (
    INSERT INTO outbox (processor, commit_seq, operation, state, priority, attempts, not_before, created_at)
    SELECT name, seq, 'put', 'pending', 1, 0, %(now)s, %(now)s
    FROM entry, unnest(%(processors)s::text[]) AS name
)
SELECT seq FROM entry
"""


class PostgresAppend:
    """See :class:`analect.store.append.AppendSql`."""

    def add_keys(self, connection: Connection, rows: Sequence[KeyRow]) -> None:
        """Insert those whose id and scope are free and whose generation stands."""
        connection.exec_driver_sql(_ADD_KEY, [key_values(row) for row in rows])

    def standing_keys(self, connection: Connection, key_ids: Sequence[int]) -> set[int]:
        """Which of them exist, locked against deletion."""
        return set(connection.exec_driver_sql(_STANDING, (list(key_ids),)).scalars())

    def known_ids(self, connection: Connection, ids: Sequence[RecordId]) -> dict[RecordId, bytes]:
        """The content hashes of those that are stored."""
        # The bounds let the planner leave out the months that cannot hold any.
        found = connection.exec_driver_sql(_KNOWN_IDS, (",".join(ids), min(ids), max(ids)))
        return {RecordId(row[0]): bytes(row[1]) for row in found}

    def known_contents(
        self, connection: Connection, hashes: Sequence[bytes]
    ) -> dict[bytes, RecordId]:
        """The records of content hashes kept for dedupe."""
        found = connection.exec_driver_sql(_KNOWN_CONTENTS, (list(hashes),))
        return {bytes(row[0]): RecordId(row[1]) for row in found}

    def add_records(self, connection: Connection, items: Sequence[SealedDraft]) -> None:
        """Insert records and their tags."""
        ordered = sorted(items, key=attrgetter("draft.id"))
        ids = [UUID(bytes=id_bytes(item.draft.id or "")) for item in ordered]
        _copy(connection, _COPY_RECORDS, _RECORD_TYPES, map(record_row, ordered, ids))
        tags = [
            (tag, id_)
            for item, id_ in zip(ordered, ids, strict=True)
            if item.draft.tags
            for tag in set(item.draft.tags)
        ]
        if tags:
            _copy(connection, _COPY_TAGS, ["text", "uuid"], tags)

    def add_contents(self, connection: Connection, rows: Sequence[tuple[bytes, RecordId]]) -> None:
        """Remember content hashes."""
        connection.exec_driver_sql(_ADD_CONTENT, sorted(rows))

    def add_vault(self, connection: Connection, rows: Sequence[VaultRow]) -> None:
        """Insert those that are not there."""
        connection.exec_driver_sql(_ADD_VAULT, list(rows))

    def journal(
        self, connection: Connection, ids: bytes, processors: Sequence[str], now: Micros
    ) -> int:
        """One row of the journal, one outbox entry a processor."""
        values = {"ids": ids, "now": now, "processors": list(processors)}
        return int(connection.exec_driver_sql(_JOURNAL, values).scalar_one())


def _copy(
    connection: Connection, statement: str, types: list[str], rows: Iterable[Sequence[Any]]
) -> None:
    driver = cast("psycopg.Connection[Any]", connection.connection.dbapi_connection)
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
