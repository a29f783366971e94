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


def snapshot(engine: Engine) -> Engine:
    """The same engine, of which every transaction sees one state of the database throughout."""
    if is_postgres(engine):
        return engine.execution_options(isolation_level="REPEATABLE READ")
    return engine


def read_columns(
    connection: Connection,
    ownership: Ownership,
    source: str,
    values: Mapping[str, Any],
    limit: int,
    *,
    light: bool = False,
) -> Columns:
    """The first rows of ``source`` (what follows FROM, in its order): at most ``limit``, and of no
    more than :data:`MOST_BYTES`; ``light``: without payloads.

    It takes two questions, so the connection is one of a :func:`snapshot`.
    """

    def ask(statement: str, limit: int) -> Sequence[Any]:
        bound = {**ownership.used(statement), **values, "limit": limit}
        with _in_binary(connection):
            result: Any = connection.execute(ownership.bind(statement), bound)
        with _uncollected():
            # The driver's own rows: SQLAlchemy's are one more object each.
            rows: Sequence[Any] = result.cursor.fetchall()
        result.close()
        return rows

    size = "NULL" if light else "length(r.payload)"
    own = ", ".join(f"r.{name}" for name in _FLOATS)
    heads = ask(f"SELECT {size}, {own} {source} LIMIT :limit", limit)
    heads = heads[: _fitting([head[0] or 0 for head in heads])]
    if not heads:
        return Columns()
    sizes, *floats = zip(*heads, strict=True)
    names = [one for one in COLUMNS if one not in _FLOATS and not (light and one == "payload")]
    joined = ", ".join(_joined(connection, name) for name in names)
    rows = f"SELECT {', '.join(f'r.{name}' for name in names)} {source} LIMIT :limit"
    (row,) = ask(f"SELECT {joined} FROM ({rows}) AS r", len(heads))
    found = dict(zip(names, row, strict=True))
    return _checked(
        Columns(
            count=len(heads),
            ids=found.pop("id"),
            payloads=found.pop("payload", None) or b"",
            sizes=sizes,
            content_hashes=found.pop("content_hash"),
            values=dict(zip(_FLOATS, floats, strict=True))
            | {name: _decode(text) for name, text in found.items()},
        )
    )


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
