"""Rows of ``records`` as columns, put together by the database.

A fetched row is an object for each of its values, made under the interpreter's lock. Here the
database writes the values of a column into one JSON array, and bytes one behind the other: less
work in all, and little of it under the lock.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, event

from analect.model.errors import StoreUnavailable
from analect.model.ids import RecordId, id_text
from analect.store.choosing import Ownership
from analect.store.engine import is_postgres
from analect.store.rows import COLUMNS

MOST_BYTES = 16 * 1024 * 1024
"""Of payloads that are read at once, but for one that is larger."""
ID_BYTES = 16
"""Of an id, and of a content hash."""

_FLOATS = ("duration_ms", "cost", "confidence")
"""They come as they are: SQLite writes only fifteen of their digits into JSON."""
_BYTES = ("id", "payload", "content_hash")
_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True)
class Columns:
    """Some rows. ``values`` has every column by its name but ids, payloads and content hashes,
    which are bytes one behind the other; ``sizes`` says how many of these are a payload's, None
    where there is none.
    """

    count: int = 0
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    ids: bytes = b""
    payloads: bytes = b""
    sizes: Sequence[int | None] = ()
    content_hashes: bytes = b""

    @property
    def last(self) -> RecordId:
        """The id of the last row."""
        return id_text(self.ids[-ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Heads:
    """What is asked first of some rows: how many they are, the last one's id, how large their
    payloads are, and the columns that come as they are.
    """

    count: int = 0
    last: RecordId | None = None
    sizes: Sequence[int | None] = ()
    floats: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def snapshot(engine: Engine) -> Engine:
    """The same engine, of which every transaction sees one state of the database throughout."""
    if is_postgres(engine):
        return engine.execution_options(isolation_level="REPEATABLE READ")
    return engine


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows that a ``connection`` is asked for: the first ``limit`` of ``source`` (what follows FROM,
    in its order); ``light``: without payloads. It takes two questions, so the connection is one of
    a :func:`snapshot`, and both are asked in one transaction.
    """

    connection: Connection
    ownership: Ownership
    source: str
    values: Mapping[str, Any]
    limit: int
    light: bool = False

    def heads(self) -> Heads:
        """How many of them are read at once: of no more than :data:`MOST_BYTES`."""
        size = "NULL" if self.light else "length(r.payload)"
        last = "uuid_send(r.id)" if is_postgres(self.connection) else "r.id"
        own = ", ".join(f"r.{name}" for name in _FLOATS)
        rows = self._ask(f"SELECT {size}, {last}, {own} {self.source} LIMIT :limit", self.limit)
        rows = rows[: _fitting([row[0] or 0 for row in rows])]
        if not rows:
            return Heads()
        sizes, ids, *floats = zip(*rows, strict=True)
        return Heads(len(rows), id_text(ids[-1]), sizes, dict(zip(_FLOATS, floats, strict=True)))

    def columns(self, heads: Heads) -> Columns:
        """All of these rows."""
        if not heads.count:
            return Columns()
        left_out = {*_FLOATS, *(["payload"] if self.light else [])}
        names = [name for name in COLUMNS if name not in left_out]
        joined = ", ".join(_joined(self.connection, name) for name in names)
        rows = f"SELECT {', '.join(f'r.{name}' for name in names)} {self.source} LIMIT :limit"
        (row,) = self._ask(f"SELECT {joined} FROM ({rows}) AS r", heads.count)
        found = dict(zip(names, row, strict=True))
        return _checked(
            Columns(
                count=heads.count,
                ids=found.pop("id"),
                payloads=found.pop("payload", None) or b"",
                sizes=heads.sizes,
                content_hashes=found.pop("content_hash"),
                values=dict(heads.floats) | {name: _decode(text) for name, text in found.items()},
            )
        )

    def _ask(self, statement: str, limit: int) -> Sequence[Any]:
        bound = {**self.ownership.used(statement), **self.values, "limit": limit}
        with _in_binary(self.connection):
            result: Any = self.connection.execute(self.ownership.bind(statement), bound)
        with _uncollected():
            # The driver's own rows: SQLAlchemy's are one more object each.
            rows: Sequence[Any] = result.cursor.fetchall()
        result.close()
        return rows


def read_columns(selection: Selection) -> Columns:
    """The first rows of a selection, all of them at once."""
    return selection.columns(selection.heads())


def _fitting(sizes: Sequence[int]) -> int:
    """How many of the first fit, one at least."""
    return max(1, sum(upto <= MOST_BYTES for upto in accumulate(sizes)))


def _checked(columns: Columns) -> Columns:
    """As many of everything as there are rows: what is built of them looks at bytes by their place.

    Raises:
        StoreUnavailable: it is not so.
    """
    bytes_of_rows = ID_BYTES * columns.count
    if (
        len(columns.ids) != bytes_of_rows
        or len(columns.content_hashes) != bytes_of_rows
        or len(columns.payloads) != sum(size or 0 for size in columns.sizes)
        or any(len(values) != columns.count for values in columns.values.values())
    ):
        raise StoreUnavailable("the database did not answer with whole rows; run it again")
    return columns


def _joined(connection: Connection, name: str) -> str:
    """The expression of a whole column."""
    if is_postgres(connection):
        if name in _BYTES:
            raw = "uuid_send(r.id)" if name == "id" else f"r.{name}"
            return f"string_agg({raw}, CAST('' AS bytea))"
        return f"CAST(json_agg(r.{name}) AS text)"
    if name in _BYTES:
        return f"CAST(group_concat(r.{name}, '') AS BLOB)"
    return f"json_group_array(r.{name})"


@contextmanager
def _in_binary(connection: Connection) -> Iterator[None]:
    """Postgres sends bytes as they are instead of spelled in hexadecimal, numbers unwritten."""
    if not is_postgres(connection):
        yield
        return
    event.listen(connection, "before_cursor_execute", _ask_for_binary)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", _ask_for_binary)


def _ask_for_binary(_connection: Connection, cursor: Any, *_: Any) -> None:
    cursor.format = 1  # psycopg.pq.Format.BINARY


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles within the block: thousands of rows are none, and would have Python go
    through all that it knows again and again.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
