"""One generation of a vector index: who is in it (SQLite), and the vectors (files of rows).

Records get row numbers in order of arrival, and a number is never used twice: what a process has
read stays right, and it catches up by reading from where it stopped. A vector is on disk before
the transaction that names it commits; a row that no transaction names means nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from analect.index import facets
from analect.index.protocols import IndexHit, VectorDocument
from analect.index.sqlite_file import SqliteFile, missing, translated
from analect.index.vectors.rows import RowFile
from analect.index.vectors.scan import BLOCK, Numbers, Scan, Scores, sign_words, signs
from analect.model.errors import ConfigurationError, Corrupt
from analect.model.ids import RecordId, id_bytes, id_text
from analect.model.query import RecordFilter

if TYPE_CHECKING:
    from analect.index.protocols import Vector

FORMAT = 1
NAME = "vectors"
_CHUNK = 500
"""Ids or numbers a statement."""
_COPIED = 2000
"""Rows a transaction when a generation is copied."""
_FILTERED = 500
"""How many of the nearest are tried against a filter, at least."""
_TIES = 1000
"""Of records exactly as good as the last one asked for, how many are put in order of id."""

_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE hidden (number INTEGER NOT NULL)",
    "CREATE TABLE forgotten (id BLOB PRIMARY KEY) WITHOUT ROWID",
    *facets.SCHEMA,
)
_NEXT = "SELECT value FROM meta WHERE name = 'next'"
_SET_NEXT = "UPDATE meta SET value = ? WHERE name = 'next'"
_HIDE = "INSERT INTO hidden (number) VALUES (?)"
_HIDDEN_AFTER = "SELECT rowid, number FROM hidden WHERE rowid > ? ORDER BY rowid"
_FORGET = "INSERT OR IGNORE INTO forgotten (id) VALUES (?)"
_REMEMBER = "DELETE FROM forgotten WHERE id = ?"


class VectorFile:
    """The files ``<stem>.db``, ``<stem>.rows`` and ``<stem>.signs``. Any thread may use it."""

    def __init__(
        self, stem: Path, model: str, dimension: int, exact_limit: int, *, create: bool
    ) -> None:
        self._model = model
        self._dimension = dimension
        quoted = model.replace("'", "''")
        described = (
            "INSERT INTO meta VALUES "
            f"('model', '{quoted}'), ('dimension', {dimension:d}), ('next', 0)"
        )
        self._db = SqliteFile(
            stem.with_name(f"{stem.name}.db"), NAME, (*_SCHEMA, described), FORMAT, create=create
        )
        self._vectors = _row_file(stem, "rows", dimension, np.float16, create=create)
        self._signs = _row_file(stem, "signs", sign_words(dimension), np.uint64, create=create)
        self._scan = Scan(self._vectors, self._signs, dimension, exact_limit)
        self._hidden_read = 0
        self._verified = False

    def upsert(
        self, documents: Sequence[VectorDocument], vectors: Vector, *, filling: bool
    ) -> None:
        """Add or replace. ``filling``: what was deleted since the build began stays deleted.

        ``vectors``: shape (len(documents), dimension), rows of length one or zero.
        """
        last = {document.facets.id: place for place, document in enumerate(documents)}
        with self._db.writing() as connection:
            self._verify(connection)
            ids = [id_bytes(record_id) for record_id in last]
            gone = _forgotten(connection, ids) if filling else set()
            kept = [place for key, place in zip(ids, last.values(), strict=True) if key not in gone]
            replaced = _drop(connection, ids)
            start = self._append(connection, vectors[kept])
            connection.executemany(
                facets.INSERT,
                [
                    (*facets.base_row(start + n, found), facets.labels(found))
                    for n, found in enumerate(documents[place].facets for place in kept)
                ],
            )
            if not filling:
                connection.executemany(_REMEMBER, [(key,) for key in ids])
        self._blank(replaced)

    def delete(self, ids: Sequence[RecordId], *, building: bool) -> None:
        """Forget these records; ``building``: for good, whatever the build still brings."""
        keys = [id_bytes(record_id) for record_id in ids]
        with self._db.writing() as connection:
            self._verify(connection)
            dropped = _drop(connection, keys)
            if building:
                connection.executemany(_FORGET, [(key,) for key in keys])
        self._blank(dropped)

    def search(self, vector: Vector, where: RecordFilter, limit: int) -> list[IndexHit]:
        """Nearest first by (score descending, id descending). ``vector`` has length one."""
        with self._db.reading() as connection:
            self._refresh(connection)
            if where == RecordFilter():
                return _hits(connection, *self._scan.nearest(vector, limit), limit)
            # Mostly enough of the nearest pass the filter, whatever it asks for ...
            wanted = max(_FILTERED, 4 * limit)
            numbers, scores = self._scan.nearest(vector, wanted)
            passed = np.isin(numbers, _passing(connection, where, numbers))
            if passed.sum() < limit and len(numbers) >= wanted:
                # ... and if not, the few that pass are looked at.
                allowed = _all_passing(connection, where)
                numbers, scores = self._scan.nearest(vector, limit, allowed)
                passed = np.ones(len(numbers), np.bool_)
            return _hits(connection, numbers[passed], scores[passed], limit)

    def count(self) -> int:
        """How many records it holds."""
        with self._db.reading() as connection:
            self._verify(connection)
            found: int = connection.execute("SELECT count(*) FROM facets").fetchone()[0]
            return found

    def entries(self, after: RecordId | None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) in id order."""
        last = id_bytes(after) if after is not None else b""
        while True:
            with self._db.reading() as connection:
                self._verify(connection)
                rows = connection.execute(
                    "SELECT id, content_hash FROM facets WHERE id > ? ORDER BY id LIMIT ?",
                    (last, _CHUNK),
                ).fetchall()
            for key, content_hash in rows:
                yield id_text(key), content_hash
            if len(rows) < _CHUNK:
                return
            last = rows[-1][0]

    def copy_from(self, other: VectorFile) -> None:
        """Take every record of ``other`` that is neither here already nor deleted meanwhile."""
        place = -1
        while True:
            with other._db.reading() as connection:
                other._verify(connection)
                rows = connection.execute(
                    "SELECT * FROM facets WHERE seq > ? ORDER BY seq LIMIT ?", (place, _COPIED)
                ).fetchall()
            if not rows:
                return
            place = rows[-1][0]
            vectors = other._vectors.gather(np.array([row[0] for row in rows], np.int64))
            self._take_in(rows, vectors)

    def finish(self) -> None:
        """The build is over: what was deleted during it need not be known any more."""
        with self._db.writing() as connection:
            connection.execute("DELETE FROM forgotten")

    def check(self) -> None:
        """Read everything: pages, vectors, and whether vectors and signs agree.

        Raises:
            Corrupt: they do not.
        """
        self._db.check()
        with self._db.reading() as connection:
            self._verify(connection)
            (count,) = connection.execute(_NEXT).fetchone()
            hidden = np.zeros(count, np.bool_)
            hidden[[number for _, number in connection.execute(_HIDDEN_AFTER, (0,))]] = True
            with translated(NAME):
                for start in range(0, count, BLOCK):
                    stop = min(count, start + BLOCK)
                    live = ~hidden[start:stop]
                    rows = self._vectors.read(start, stop)[live].astype(np.float32)
                    lengths = np.linalg.norm(rows, axis=1)
                    if np.any(np.abs(lengths - 1.0) > 0.01) or np.any(
                        self._signs.read(start, stop)[live] != signs(rows)
                    ):
                        raise Corrupt(
                            "vectors of the index are damaged: run `analect rebuild vectors`"
                        )

    def close(self) -> None:
        """Release the files."""
        self._db.close()
        self._vectors.close()
        self._signs.close()

    def _verify(self, connection: sqlite3.Connection) -> None:
        if self._verified:
            return
        meta = dict(connection.execute("SELECT name, value FROM meta"))
        if (meta["model"], meta["dimension"]) != (self._model, self._dimension):
            raise ConfigurationError(
                f"the vectors index was made with the model {meta['model']} "
                f"({meta['dimension']} dimensions), the settings name {self._model} "
                f"({self._dimension}): run `analect rebuild vectors`, or set the model back",
                field="embeddings.model",
            )
        self._verified = True

    def _refresh(self, connection: sqlite3.Connection) -> None:
        self._verify(connection)
        (count,) = connection.execute(_NEXT).fetchone()
        hidden = connection.execute(_HIDDEN_AFTER, (self._hidden_read,)).fetchall()
        self._scan.refresh(count, [number for _, number in hidden])
        if hidden:
            self._hidden_read = max(self._hidden_read, hidden[-1][0])

    def _append(self, connection: sqlite3.Connection, vectors: NDArray[Any]) -> int:
        """Write rows behind the last and reserve their numbers; returns the first."""
        (start,) = connection.execute(_NEXT).fetchone()
        if len(vectors):
            self._vectors.write(start, vectors)
            self._signs.write(start, signs(vectors.astype(np.float16)))
        # A vector of zeros points nowhere: it is kept, and never found.
        empty = np.flatnonzero(~vectors.any(axis=1))
        connection.executemany(_HIDE, [(start + n,) for n in empty.tolist()])
        connection.execute(_SET_NEXT, (start + len(vectors),))
        return int(start)

    def _take_in(self, rows: list[tuple[Any, ...]], vectors: NDArray[Any]) -> None:
        with self._db.writing() as connection:
            keys = [row[1] for row in rows]
            known = {key for key, _ in _numbers_of(connection, keys)}
            known |= _forgotten(connection, keys)
            kept = [place for place, key in enumerate(keys) if key not in known]
            start = self._append(connection, vectors[kept])
            connection.executemany(
                facets.INSERT, [(start + n, *rows[place][1:]) for n, place in enumerate(kept)]
            )

    def _blank(self, numbers: Sequence[int]) -> None:
        """After the commit, so that nothing is lost if there is none."""
        with translated(NAME):
            self._vectors.blank(numbers)
            self._signs.blank(numbers)


def _row_file(stem: Path, suffix: str, width: int, dtype: DTypeLike, *, create: bool) -> RowFile:
    path = stem.with_name(f"{stem.name}.{suffix}")
    if not create and not path.exists():
        raise missing(NAME)
    with translated(NAME):
        return RowFile(path, width, dtype, create=create)


def _numbers_of(
    connection: sqlite3.Connection, keys: Sequence[bytes]
) -> Iterator[tuple[bytes, int]]:
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        yield from connection.execute(f"SELECT id, seq FROM facets WHERE id IN ({marks})", chunk)


def _drop(connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[int]:
    """Remove these records; returns the numbers of their rows."""
    found = list(_numbers_of(connection, keys))
    connection.executemany(facets.DELETE, [(key,) for key, _ in found])
    numbers = [number for _, number in found]
    connection.executemany(_HIDE, [(number,) for number in numbers])
    return numbers


def _forgotten(connection: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    if not connection.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone():
        return set()
    ask = "SELECT id FROM forgotten WHERE id = ?"
    return {key for key in keys if connection.execute(ask, (key,)).fetchone()}


def _passing(
    connection: sqlite3.Connection, where: RecordFilter, numbers: Numbers
) -> NDArray[np.int64]:
    """Which of these rows pass: read by number, for a filter's own list may be very long."""
    condition, parameters = facets.range_clause(where)
    wanted = facets.wanted_labels(where)
    passing: list[int] = []
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK].tolist()
        sql = f"SELECT seq, labels FROM facets WHERE seq IN ({', '.join('?' * len(chunk))})"
        if condition:
            sql += f" AND {condition}"
        for number, labels in connection.execute(sql, (*chunk, *parameters)):
            if all(label in labels for label in wanted):
                passing.append(number)
    return np.array(passing, np.int64)


def _all_passing(connection: sqlite3.Connection, where: RecordFilter) -> NDArray[np.int64]:
    condition, parameters = facets.where_clause(where)
    rows = connection.execute(f"SELECT seq FROM facets WHERE {condition}", parameters)
    return np.fromiter((number for (number,) in rows), np.int64)


def _hits(
    connection: sqlite3.Connection, numbers: Numbers, scores: Scores, limit: int
) -> list[IndexHit]:
    """The ids of the best rows, which come best first, and of equal ones in order of id."""
    rows = numbers[: limit + _TIES].tolist()
    ids: dict[int, bytes] = {}
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        marks = ", ".join("?" * len(chunk))
        ids.update(connection.execute(f"SELECT seq, id FROM facets WHERE seq IN ({marks})", chunk))
    found = [
        (score, ids[number])
        for number, score in zip(rows, scores.tolist(), strict=False)
        if number in ids
    ]
    found.sort(reverse=True)
    return [IndexHit(id_text(key), score) for score, key in found[:limit]]
