"""The statements of a commit on SQLite. The transaction holds the write lock, so what was read
stays true until the commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from analect.model.ids import Micros, RecordId, id_bytes, id_text
from analect.store.append import (
    RECORD_COLUMNS,
    KeyRow,
    SealedDraft,
    VaultRow,
    key_values,
    record_row,
)

_MOST = 500
"""Parameters of one look-up; few shapes of statement keep the driver's statement cache warm."""
_ROWS = (100, 10, 1)
"""Rows of one insert, for the same reason."""

# Only a key that the present generation of its shard wraps: another one could never be opened.
_ADD_KEY = (
    "INSERT INTO data_keys (key_id, shard, scope, wrapped, created_at) SELECT ?, ?, ?, ?, ? "
    "FROM key_shards WHERE shard = ? AND generation = ? ON CONFLICT DO NOTHING"
)
_ADD_TAGS = "INSERT OR IGNORE INTO record_tags (tag, record_id)"
_ADD_CONTENT = "INSERT OR IGNORE INTO content_hashes (hash, record_id) VALUES (?, ?)"
_ADD_VAULT = "INSERT OR IGNORE INTO vault (token, key_id, sealed) VALUES (?, ?, ?)"
_ADD_COMMIT = "INSERT INTO commits (txid, operation, ids, committed_at) VALUES (0, 'put', ?, ?)"
_ADD_ENTRY = (
    "INSERT INTO outbox (processor, commit_seq, operation, state, priority, attempts, not_before, created_at) "
    "VALUES (?, ?, 'put', 'pending', 1, 0, ?, ?)"
)


class SqliteAppend:
    """See :class:`analect.store.append.AppendSql`."""

    def __init__(self) -> None:
        self._named = {"id"}

    def add_keys(self, connection: Connection, rows: Sequence[KeyRow]) -> None:
        """Insert those whose id and scope are free and whose generation stands."""
        connection.exec_driver_sql(_ADD_KEY, [key_values(row) for row in rows])

    def standing_keys(self, connection: Connection, key_ids: Sequence[int]) -> set[int]:
        """Which of them exist."""
        rows = _find(connection, "SELECT key_id FROM data_keys WHERE key_id", key_ids)
        return {row[0] for row in rows}

    def known_ids(self, connection: Connection, ids: Sequence[RecordId]) -> dict[RecordId, bytes]:
        """The content hashes of those that are stored."""
        raw = [id_bytes(record_id) for record_id in ids]
        rows = _find(connection, "SELECT id, content_hash FROM records WHERE id", raw)
        return {id_text(row[0]): row[1] for row in rows}

    def known_contents(
        self, connection: Connection, hashes: Sequence[bytes]
    ) -> dict[bytes, RecordId]:
        """The records of content hashes kept for dedupe."""
        rows = _find(connection, "SELECT hash, record_id FROM content_hashes WHERE hash", hashes)
        return {row[0]: id_text(row[1]) for row in rows}

    def add_records(self, connection: Connection, items: Sequence[SealedDraft]) -> None:
        """Insert records and their tags."""
        raw = [id_bytes(item.draft.id or "") for item in items]
        rows = list(map(record_row, items, raw))
        places = self._places(rows)
        names = ", ".join(RECORD_COLUMNS[place] for place in places)
        _insert(connection, f"INSERT INTO records ({names})", list(map(itemgetter(*places), rows)))
        tags = [(tag, id_) for item, id_ in zip(items, raw, strict=True) for tag in item.draft.tags]
        if tags:
            _insert(connection, _ADD_TAGS, sorted(tags))

    def _places(self, rows: Sequence[tuple[object, ...]]) -> list[int]:
        """The columns that some record had so far. The driver looks for an adapter of every None,
        which takes it longer than a value; a column once named stays, so that statements repeat.
        """
        empty = (None,) * len(rows)
        by_name = zip(RECORD_COLUMNS, zip(*rows, strict=True), strict=True)
        self._named.update(name for name, values in by_name if values != empty)
        return [place for place, name in enumerate(RECORD_COLUMNS) if name in self._named]

    def add_contents(self, connection: Connection, rows: Sequence[tuple[bytes, RecordId]]) -> None:
        """Remember content hashes."""
        connection.exec_driver_sql(_ADD_CONTENT, [(hash_, id_bytes(id_)) for hash_, id_ in rows])

    def add_vault(self, connection: Connection, rows: Sequence[VaultRow]) -> None:
        """Insert those that are not there."""
        connection.exec_driver_sql(_ADD_VAULT, list(rows))

    def journal(
        self, connection: Connection, ids: bytes, processors: Sequence[str], now: Micros
    ) -> int:
        """One row of the journal, one outbox entry a processor."""
        seq = connection.exec_driver_sql(_ADD_COMMIT, (ids, now)).lastrowid
        if processors:
            connection.exec_driver_sql(_ADD_ENTRY, [(name, seq, now, now) for name in processors])
        return int(seq)


def _insert(connection: Connection, insert: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Many rows a statement: the driver lets go of the interpreter's lock at every row of an
    ``executemany``, and taking it back from a busy thread costs more than the row.
    """
    start = 0
    for size in _ROWS:
        while start + size <= len(rows):
            chunk = rows[start : start + size]
            start += size
            one = f"({', '.join('?' * len(chunk[0]))})"
            connection.exec_driver_sql(
                f"{insert} VALUES {', '.join([one] * size)}", tuple(chain.from_iterable(chunk))
            )


def _find(connection: Connection, select: str, values: Sequence[object]) -> Iterator[Any]:
    """Rows of ``select ... IN (values)``, in statements of a few sizes."""
    for start in range(0, len(values), _MOST):
        part = values[start : start + _MOST]
        marks = ", ".join("?" * len(part))
        yield from connection.exec_driver_sql(f"{select} IN ({marks})", tuple(part))
