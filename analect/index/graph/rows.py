"""The tables of a graph, and reading them.

A record's number begins with its millisecond, so the order
of numbers is the order of time, and a hub's newest records are the end of a range of
``members``. A record's hubs stand packed in its own row; nothing is indexed twice.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence

from analect.index.graph.parts import (
    CHILDREN,
    HUB_TYPES,
    ORDERED,
    TYPE_NUMBERS,
    Beside,
    HubRow,
    RecordRow,
)
from analect.model.ids import EARLIEST, RecordId, id_bytes, id_millis, id_text

NAME = "graph"
FORMAT = 1

SCHEMA = (
    (
        "CREATE TABLE hubs (number INTEGER PRIMARY KEY, type INTEGER NOT NULL, key TEXT NOT NULL, "
        "uses INTEGER NOT NULL, UNIQUE (type, key))"
    ),
    (
        "CREATE TABLE records (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, "
        "content_hash BLOB NOT NULL, occurred_at INTEGER NOT NULL, turn REAL, parent BLOB, "
        "hubs BLOB NOT NULL)"
    ),
    "CREATE INDEX records_parent ON records (parent) WHERE parent IS NOT NULL",
    (
        "CREATE TABLE members (hub INTEGER NOT NULL, record INTEGER NOT NULL, "
        "PRIMARY KEY (hub, record)) WITHOUT ROWID"
    ),
    "CREATE TABLE forgotten (id BLOB PRIMARY KEY) WITHOUT ROWID",
)

CHUNK = 500
"""Values a statement."""
_LOW_BITS = 20
"""Bits of a record's number below its millisecond: they begin as the id's own."""


def first_number(record_id: RecordId) -> int:
    """The number a record gets unless another has it already (then the next free one)."""
    low = int(record_id[15:18] + record_id[19:21], 16) & ((1 << _LOW_BITS) - 1)
    return floor_number(record_id) | low


def floor_number(record_id: RecordId) -> int:
    """The smallest number of the record's millisecond."""
    return (id_millis(record_id) - EARLIEST // 1000) << _LOW_BITS


def pack(hubs: Sequence[int]) -> bytes:
    """Hub numbers as they stand in a record's row: 4 bytes each, little-endian."""
    return struct.pack(f"<{len(hubs)}I", *hubs)


def unpack(data: bytes) -> tuple[int, ...]:
    """The numbers of :func:`pack`."""
    return struct.unpack(f"<{len(data) // 4}I", data)


def marks(values: Sequence[object]) -> str:
    """A placeholder for each."""
    return ", ".join("?" * len(values))


_BEFORE = "SELECT record FROM members WHERE hub = ? AND record < ? ORDER BY record DESC LIMIT 1"
_AFTER = "SELECT record FROM members WHERE hub = ? AND record >= ? ORDER BY record LIMIT 1"
_WITHIN = (
    "SELECT record FROM members WHERE hub = ? AND record >= ? AND record < ? "
    f"ORDER BY record LIMIT {CHUNK}"
)
_COLUMNS = "number, id, occurred_at, turn, parent, hubs"


class Reader:
    """A :class:`~analect.index.graph.parts.GraphReader` of one moment: ``connection`` is in a read
    transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def record(self, record_id: RecordId) -> RecordRow | None:
        """The record of this id."""
        found = self._records("id = ?", (id_bytes(record_id),))
        return found[0] if found else None

    def records(self, numbers: Iterable[int]) -> list[RecordRow]:
        """The records of these numbers, in the same order."""
        asked = list(numbers)
        found: dict[int, RecordRow] = {}
        for start in range(0, len(asked), CHUNK):
            chunk = asked[start : start + CHUNK]
            rows = self._records(f"number IN ({marks(chunk)})", tuple(chunk))
            found.update((row.number, row) for row in rows)
        return [found[number] for number in asked if number in found]

    def hubs(self, numbers: Iterable[int]) -> list[HubRow]:
        """The hubs of these numbers, closest relations first, small ones before large ones."""
        asked = list(numbers)
        found: list[HubRow] = []
        for start in range(0, len(asked), CHUNK):
            chunk = asked[start : start + CHUNK]
            sql = f"SELECT number, type, key, uses FROM hubs WHERE number IN ({marks(chunk)})"
            found.extend(
                HubRow(number, HUB_TYPES[kind], key, uses)
                for number, kind, key, uses in self._connection.execute(sql, chunk)
            )
        found.sort(key=lambda hub: (TYPE_NUMBERS[hub.type.name], hub.uses, hub.key))
        return found

    def hub(self, type_name: str, key: str) -> HubRow | None:
        """The hub of this type and key."""
        sql = "SELECT number FROM hubs WHERE type = ? AND key = ?"
        found = self._connection.execute(sql, (TYPE_NUMBERS[type_name], key)).fetchone()
        return self.hubs(found)[0] if found else None

    def members(
        self, hubs: Iterable[HubRow], limit: int | None = None, *, oldest: bool = False
    ) -> Iterator[tuple[HubRow, list[int]]]:
        """The numbers of each hub's records, newest first, or oldest first; one hub is looked up
        after the other, as they are asked for.
        """
        order = "" if oldest else "DESC"
        sql = f"SELECT record FROM members WHERE hub = ? ORDER BY record {order} LIMIT ?"
        for hub in hubs:
            yield hub, self._numbers(sql, (hub.number, limit or hub.type.fanout))

    def beside(self, rows: Iterable[RecordRow]) -> Iterator[Beside]:
        """The records one step from each: its parent, its neighbours, its children."""
        for row in rows:
            parent = None if row.parent is None else self.record(id_text(row.parent))
            near = [parent] if parent is not None else []
            following = set()
            for hub in self.hubs(row.hubs):
                if TYPE_NUMBERS[hub.type.name] in ORDERED and hub.uses > 1:
                    before, after = self._neighbours(row, hub.number)
                    if before is not None:
                        near.append(before)
                        following.add((before.number, row.number))
                    if after is not None:
                        near.append(after)
                        following.add((row.number, after.number))
            children = "parent = ? ORDER BY number DESC LIMIT ?"
            near += self._records(children, (id_bytes(row.id), CHILDREN))
            yield Beside(row, near, following)

    def _neighbours(self, row: RecordRow, hub: int) -> tuple[RecordRow | None, RecordRow | None]:
        """The records just before and just after it within a thread or a process."""
        # A number knows the millisecond only: the records that share one are put in order here.
        floor = floor_number(row.id)
        ceiling = floor + (1 << _LOW_BITS)
        numbers = self._numbers(_WITHIN, (hub, floor, ceiling))
        for sql, bound in ((_BEFORE, floor), (_AFTER, ceiling)):
            for edge in self._numbers(sql, (hub, bound)):
                low = edge >> _LOW_BITS << _LOW_BITS
                numbers += self._numbers(_WITHIN, (hub, low, low + (1 << _LOW_BITS)))
        rows = sorted(self.records(numbers), key=lambda each: each.order)
        place = next((n for n, each in enumerate(rows) if each.number == row.number), None)
        if place is None:
            return None, None
        before = rows[place - 1] if place else None
        return before, rows[place + 1] if place + 1 < len(rows) else None

    def top(self, type_name: str, limit: int) -> list[HubRow]:
        """The hubs of a type with the most records."""
        sql = "SELECT number FROM hubs WHERE type = ? ORDER BY uses DESC, key LIMIT ?"
        found = self._numbers(sql, (TYPE_NUMBERS[type_name], limit))
        return sorted(self.hubs(found), key=lambda hub: (-hub.uses, hub.key))

    def _numbers(self, sql: str, parameters: tuple[int, ...]) -> list[int]:
        return [number for (number,) in self._connection.execute(sql, parameters)]

    def _records(self, condition: str, parameters: tuple[object, ...]) -> list[RecordRow]:
        sql = f"SELECT {_COLUMNS} FROM records WHERE {condition}"
        return [
            RecordRow(number, id_text(key), occurred_at, turn, parent, unpack(hubs))
            for number, key, occurred_at, turn, parent, hubs in self._connection.execute(
                sql, parameters
            )
        ]
