"""One generation of a graph: writing it, and walking through it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analect.index.graph.parts import Entry
from analect.index.graph.rows import (
    CHUNK,
    FORMAT,
    NAME,
    SCHEMA,
    Reader,
    first_number,
    marks,
    pack,
    unpack,
)
from analect.index.sqlite_file import SqliteFile
from analect.model.errors import Corrupt
from analect.model.ids import RecordId, id_bytes, id_text

_COPIED = 2000
"""Records a transaction when a generation is copied."""

_USE = (
    "INSERT INTO hubs (type, key, uses) VALUES (?, ?, ?) "
    "ON CONFLICT (type, key) DO UPDATE SET uses = uses + excluded.uses RETURNING number"
)
_PUT = (
    "INSERT INTO records (number, id, content_hash, occurred_at, turn, parent, hubs) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_JOIN = "INSERT INTO members (hub, record) VALUES (?, ?)"
_LEAVE = "DELETE FROM members WHERE hub = ? AND record = ?"
_UNUSE = "UPDATE hubs SET uses = uses - ? WHERE number = ?"
_DROP_UNUSED = "DELETE FROM hubs WHERE number = ? AND uses <= 0"
_FORGET = "INSERT OR IGNORE INTO forgotten (id) VALUES (?)"
_REMEMBER = "DELETE FROM forgotten WHERE id = ?"
_COPY = (
    "SELECT number, id, content_hash, occurred_at, turn, parent, hubs FROM records "
    "WHERE number > ? ORDER BY number LIMIT ?"
)


class GraphFile:
    """The file ``<stem>.db``. Any thread may use it."""

    def __init__(self, stem: Path, *, create: bool) -> None:
        path = stem.with_name(f"{stem.name}.db")
        self._db = SqliteFile(path, NAME, SCHEMA, FORMAT, create=create)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Read rows of one moment."""
        with self._db.reading() as connection:
            yield Reader(connection)

    def upsert(self, entries: Sequence[Entry], *, filling: bool) -> None:
        """Add or replace. ``filling``: what was deleted since the build began stays deleted."""
        latest = {entry.id: entry for entry in entries}
        with self._db.writing() as connection:
            if filling:
                for key in _forgotten(connection, list(latest)):
                    del latest[key]
            else:
                connection.executemany(_REMEMBER, [(key,) for key in latest])
            _remove(connection, list(latest))
            _put(connection, list(latest.values()))

    def delete(self, ids: Sequence[RecordId], *, building: bool) -> None:
        """Forget these records; ``building``: for good, whatever the build still brings."""
        keys = [id_bytes(record_id) for record_id in ids]
        with self._db.writing() as connection:
            _remove(connection, keys)
            if building:
                connection.executemany(_FORGET, [(key,) for key in keys])

    def count(self) -> int:
        """How many records it holds."""
        with self._db.reading() as connection:
            found: int = connection.execute("SELECT count(*) FROM records").fetchone()[0]
            return found

    def entries(self, after: RecordId | None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) in id order."""
        last = id_bytes(after) if after is not None else b""
        sql = "SELECT id, content_hash FROM records WHERE id > ? ORDER BY id LIMIT ?"
        while True:
            with self._db.reading() as connection:
                rows = connection.execute(sql, (last, CHUNK)).fetchall()
            for key, content_hash in rows:
                yield id_text(key), content_hash
            if len(rows) < CHUNK:
                return
            last = rows[-1][0]

    def copy_from(self, other: GraphFile) -> None:
        """Take every record of ``other`` that is neither here already nor deleted meanwhile."""
        place = -1
        while batch := other._batch(place):
            place = batch[-1][0]
            entries = {entry.id: entry for _, entry in batch}
            with self._db.writing() as connection:
                known = {key for _, key, _ in _rows_of(connection, list(entries))}
                known |= _forgotten(connection, list(entries))
                _put(connection, [e for key, e in entries.items() if key not in known])

    def finish(self) -> None:
        """The build is over: what was deleted during it need not be known any more."""
        with self._db.writing() as connection:
            connection.execute("DELETE FROM forgotten")

    def check(self) -> None:
        """Read every page, and compare the counts that are kept twice.

        Raises:
            Corrupt: they differ.
        """
        self._db.check()
        with self._db.reading() as connection:
            (used,) = connection.execute("SELECT coalesce(sum(uses), 0) FROM hubs").fetchone()
            (members,) = connection.execute("SELECT count(*) FROM members").fetchone()
        if used != members:
            raise Corrupt("the graph's counts disagree: run `analect rebuild graph`")

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def _batch(self, after: int) -> list[tuple[int, Entry]]:
        with self._db.reading() as connection:
            rows = connection.execute(_COPY, (after, _COPIED)).fetchall()
            numbers = {hub for row in rows for hub in unpack(row[6])}
            keys = {
                number: (kind, key)
                for number, kind, key in _chunked(
                    connection, "SELECT number, type, key FROM hubs WHERE number", list(numbers)
                )
            }
        return [
            (number, Entry(key, digest, at, turn, parent, tuple(keys[hub] for hub in unpack(hubs))))
            for number, key, digest, at, turn, parent, hubs in rows
        ]


def _put(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Insert records that are not there."""
    uses = Counter(hub for entry in entries for hub in entry.hubs)
    hubs = {
        (kind, key): connection.execute(_USE, (kind, key, count)).fetchone()[0]
        for (kind, key), count in uses.items()
    }
    numbers = _free_numbers(connection, entries)
    rows: list[tuple[object, ...]] = []
    members: list[tuple[int, int]] = []
    for number, entry in zip(numbers, entries, strict=True):
        mine = [hubs[hub] for hub in entry.hubs]
        members.extend((hub, number) for hub in mine)
        rows.append(
            (
                number,
                entry.id,
                entry.content_hash,
                entry.occurred_at,
                entry.turn,
                entry.parent,
                pack(mine),
            )
        )
    members.sort()
    connection.executemany(_PUT, rows)
    connection.executemany(_JOIN, members)


def _free_numbers(connection: sqlite3.Connection, entries: Sequence[Entry]) -> list[int]:
    """A number for each, its own or the next one that nobody has."""
    wanted = [first_number(id_text(entry.id)) for entry in entries]
    taken = {
        number
        for (number,) in _chunked(
            connection, "SELECT number FROM records WHERE number", list(wanted)
        )
    }
    ask = "SELECT 1 FROM records WHERE number = ?"
    given = []
    for number in wanted:
        free = number
        while free in taken or (
            free != number and connection.execute(ask, (free,)).fetchone() is not None
        ):
            free += 1
        taken.add(free)
        given.append(free)
    return given


def _remove(connection: sqlite3.Connection, keys: Sequence[bytes]) -> None:
    """Records, their memberships, and the hubs that nothing else is related to."""
    found = list(_rows_of(connection, keys))
    if not found:
        return
    members = [(hub, number) for number, _, hubs in found for hub in unpack(hubs)]
    connection.executemany(_LEAVE, members)
    uses = Counter(hub for hub, _ in members)
    connection.executemany(_UNUSE, [(count, hub) for hub, count in uses.items()])
    connection.executemany(_DROP_UNUSED, [(hub,) for hub in uses])
    connection.executemany(
        "DELETE FROM records WHERE number = ?", [(number,) for number, _, _ in found]
    )


def _rows_of(
    connection: sqlite3.Connection, keys: Sequence[bytes]
) -> Iterator[tuple[int, bytes, bytes]]:
    """(number, id, packed hubs) of these records."""
    yield from _chunked(connection, "SELECT number, id, hubs FROM records WHERE id", keys)


def _chunked(
    connection: sqlite3.Connection, select: str, values: Sequence[object]
) -> Iterator[Any]:
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        yield from connection.execute(f"{select} IN ({marks(chunk)})", chunk)


def _forgotten(connection: sqlite3.Connection, keys: Sequence[bytes]) -> set[bytes]:
    if not connection.execute("SELECT 1 FROM forgotten LIMIT 1").fetchone():
        return set()
    return {key for (key,) in _chunked(connection, "SELECT id FROM forgotten WHERE id", keys)}
