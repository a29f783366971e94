"""Putting records into a file of the text index and taking them out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from itertools import chain

from analect.index.facets import INSERT_BASE, base_row, labels
from analect.index.protocols import TextDocument
from analect.index.text.tokens import searchable
from analect.model.ids import id_bytes

LIVE_BASE = 1 << 40
"""While a file is being rebuilt, records that arrive meanwhile are numbered from here, behind all
that are copied: order of ``seq`` stays order of arrival."""

_INSERT_FACETS = INSERT_BASE.split(") VALUES")[0] + ", digest)"
_INSERT_WORDS = "INSERT INTO words (rowid, body, labels)"
_NEXT = """
SELECT 1 + max(
    coalesce((SELECT max(seq) FROM facets WHERE seq < :below), 0),
    coalesce((SELECT max(seq) FROM dead WHERE seq < :below), 0))
"""
_BURY = "INSERT INTO dead (seq) SELECT seq FROM facets WHERE id = ?"
_REMOVE = "DELETE FROM facets WHERE id = ?"
_CHUNK = 500
_ROWS_A_STATEMENT = 250


class Purpose(Enum):
    """Why rows are written."""

    NORMAL = "the file in use"
    COPY = "filling a fresh file from the truth: what is there already is newer"
    MEANWHILE = "what happens to the records while a fresh file is being filled"


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """A document as it will be written. ``digest`` (8 bytes) tells whether it is there already."""

    document: TextDocument
    id: bytes
    body: str
    labels: str
    digest: bytes


def prepare(document: TextDocument) -> PreparedRow:
    """Normalise the text and hash the whole; done before any lock is taken."""
    facets = document.facets
    body, marks = searchable(document.text), labels(facets)
    numbers = repr((facets.occurred_at, facets.content_hash, sorted(facets.numbers.items())))
    whole = f"{numbers}\0{marks}\0{body}".encode("utf-8", "surrogatepass")
    return PreparedRow(
        document, id_bytes(facets.id), body, marks, blake2b(whole, digest_size=8).digest()
    )


def put(connection: sqlite3.Connection, rows: Iterable[PreparedRow], purpose: Purpose) -> None:
    """Add or replace; of rows with the same id the last counts. Runs in the caller's transaction."""
    wanted = {row.id: row for row in rows}
    standing = _digests(connection, list(wanted))
    if purpose is Purpose.COPY:
        gone = _forgotten(connection, list(wanted))
        fresh = [row for row in wanted.values() if row.id not in standing and row.id not in gone]
    else:
        fresh = [row for row in wanted.values() if standing.get(row.id) != row.digest]
        remove(connection, [row.id for row in fresh if row.id in standing])
    if purpose is Purpose.MEANWHILE:
        connection.executemany("DELETE FROM forgotten WHERE id = ?", ((id_,) for id_ in wanted))
    first = _next_seq(connection, purpose)
    _insert(
        connection,
        _INSERT_FACETS,
        [(*base_row(seq, row.document.facets), row.digest) for seq, row in enumerate(fresh, first)],
    )
    _insert(
        connection,
        _INSERT_WORDS,
        [(seq, row.body, row.labels) for seq, row in enumerate(fresh, first)],
    )


def remove(connection: sqlite3.Connection, ids: Sequence[bytes]) -> None:
    """Hide records for good; :mod:`analect.index.text.purging` takes their words away."""
    connection.executemany(_BURY, ((id_,) for id_ in ids))
    connection.executemany(_REMOVE, ((id_,) for id_ in ids))


def forget(connection: sqlite3.Connection, ids: Sequence[bytes]) -> None:
    """Remove from a file that is being filled, and keep the copy from bringing them back."""
    remove(connection, ids)
    connection.executemany(
        "INSERT OR IGNORE INTO forgotten (id) VALUES (?)", ((id_,) for id_ in ids)
    )


def _insert(
    connection: sqlite3.Connection, insert: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Many rows a statement: the GIL is given up once a statement, and taking it back from a busy
    thread costs milliseconds.
    """
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        chunk = rows[start : start + _ROWS_A_STATEMENT]
        one = f"({', '.join('?' * len(chunk[0]))})"
        connection.execute(
            f"{insert} VALUES {', '.join([one] * len(chunk))}", list(chain.from_iterable(chunk))
        )


def _next_seq(connection: sqlite3.Connection, purpose: Purpose) -> int:
    below = LIVE_BASE if purpose is Purpose.COPY else (1 << 62)
    (number,) = connection.execute(_NEXT, {"below": below}).fetchone()
    return max(int(number), LIVE_BASE) if purpose is Purpose.MEANWHILE else int(number)


def _digests(connection: sqlite3.Connection, ids: Sequence[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for chunk in _chunks(ids):
        marks = ", ".join("?" * len(chunk))
        found.update(
            connection.execute(f"SELECT id, digest FROM facets WHERE id IN ({marks})", chunk)
        )
    return found


def _forgotten(connection: sqlite3.Connection, ids: Sequence[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for chunk in _chunks(ids):
        marks = ", ".join("?" * len(chunk))
        rows = connection.execute(f"SELECT id FROM forgotten WHERE id IN ({marks})", chunk)
        found.update(id_ for (id_,) in rows)
    return found


def _chunks(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
