"""A page of one conversation.

The index orders a thread by id, that is by millisecond; within a millisecond the order is
``occurred_at``, ``turn`` (unnumbered first), id. A page therefore reads whole milliseconds: those
that the next ``limit`` ids reach into, and what is left of the cursor's own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from analect.model.ids import Micros, RecordId, id_bytes, id_floor, id_millis, id_text
from analect.store.engine import is_postgres
from analect.store.rows import SELECT_LIST, StoredRecord, bound_id, driver_id, stored_record

_PLACE = struct.Struct(">qq16s")
_ORDER = ("r.occurred_at", "coalesce(r.turn, -1)", "r.id")


@dataclass(frozen=True, slots=True, order=True)
class ThreadPlace:
    """Where a row stands in its thread; a turn of -1 is none."""

    occurred_at: Micros
    turn: int
    id: RecordId

    @classmethod
    def of(cls, stored: StoredRecord) -> ThreadPlace:
        """Of a record."""
        record = stored.record
        return cls(record.occurred_at, -1 if record.turn is None else record.turn, record.id)

    @classmethod
    def unpack(cls, raw: bytes) -> ThreadPlace:
        """What :meth:`pack` made."""
        occurred_at, turn, raw_id = _PLACE.unpack(raw)
        return cls(occurred_at, turn, id_text(raw_id))

    def pack(self) -> bytes:
        """The position of a cursor."""
        return _PLACE.pack(self.occurred_at, self.turn, id_bytes(self.id))


def thread_page(
    connection: Connection,
    thread_id: str,
    position: bytes | None,
    limit: int,
    *,
    descending: bool,
) -> tuple[tuple[StoredRecord, ...], bytes | None]:
    """At most ``limit`` rows behind ``position``, and the position to go on from, if any."""
    after = None if position is None else ThreadPlace.unpack(position)
    values: dict[str, Any] = {"thread": thread_id, "limit": limit + 1}
    where = ["r.thread_id = :thread"]
    if after is not None:
        comparison, edge = ("<", "high") if descending else (">", "low")
        where.append(f"({', '.join(_ORDER)}) {comparison} (:occurred_at, :turn, :id)")
        values |= {"occurred_at": after.occurred_at, "turn": after.turn}
        values["id"] = bound_id(connection, after.id)
        own = id_millis(after.id)
        values[edge] = bound_id(connection, _edge(own + 1 if descending else own))
    reach = _reach(connection, thread_id, after, limit, descending=descending)
    if reach is not None:
        last = id_millis(reach)
        values["low" if descending else "high"] = bound_id(
            connection, _edge(last if descending else last + 1)
        )
    if "low" in values:
        where.append("r.id >= :low")
    if "high" in values:
        where.append("r.id < :high")
    order = ", ".join(f"{key} {'DESC' if descending else 'ASC'}" for key in _ORDER)
    statement = (
        f"SELECT {SELECT_LIST} FROM {_source(connection)} WHERE {' AND '.join(where)}"
        f" ORDER BY {order} LIMIT :limit"
    )
    rows = connection.execute(text(statement), values).fetchall()
    items = tuple(map(stored_record, rows[:limit]))
    return items, ThreadPlace.of(items[-1]).pack() if len(rows) > limit else None


def _source(connection: Connection) -> str:
    return "records AS r" if is_postgres(connection) else "records AS r INDEXED BY records_thread"


def _edge(millis: int) -> RecordId:
    """The smallest id of a millisecond."""
    return id_floor(millis * 1000)


def _reach(
    connection: Connection,
    thread_id: str,
    after: ThreadPlace | None,
    limit: int,
    *,
    descending: bool,
) -> RecordId | None:
    """The id that ends a page of ``limit`` (and one more) beyond the cursor's own millisecond;
    ``None`` when the thread ends before. Answered by the index alone.
    """
    values: dict[str, Any] = {"thread": thread_id, "skip": limit}
    beyond = ""
    if after is not None:
        own = id_millis(after.id)
        beyond = f"AND r.id {'<' if descending else '>='} :edge"
        values["edge"] = bound_id(connection, _edge(own if descending else own + 1))
    statement = (
        f"SELECT r.id FROM {_source(connection)} WHERE r.thread_id = :thread {beyond}"
        f" ORDER BY r.id {'DESC' if descending else 'ASC'} LIMIT 1 OFFSET :skip"
    )
    found = connection.execute(text(statement), values).scalar()
    return None if found is None else driver_id(found)
