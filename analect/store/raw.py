"""Whole tables as plain rows, the same for both dialects: for copies of the truth.

A row is a tuple of whole numbers, floats, texts, bytes and None in the order of the table's
columns. Record ids are their 16 bytes, booleans 0 and 1. It goes past SQLAlchemy's results, which
cost more than all the rest of a copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import UUID

from sqlalchemy import Connection

from analect.model.ids import id_floor, month_bounds
from analect.store.engine import is_postgres
from analect.store.failures import translating

if TYPE_CHECKING:
    import psycopg

Row = tuple[Any, ...]

_AT_ONCE = 500
"""Keys of one question."""
_COLUMNS = """
SELECT n.name, a.attname, t.typname, coalesce(array_position(i.indkey::int2[], a.attnum), -1)
FROM unnest(%s::text[]) AS n(name) JOIN pg_attribute a ON a.attrelid = to_regclass(n.name)
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_SENT = {"uuid": ("uuid_send({})", "bytea"), "bool": ("{}::int4", "int4")}
"""How a column of Postgres is asked for, and the type of the answer."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as its database describes it: columns in order, their types there, and which of
    them are the primary key.
    """

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[int, ...]

    def key_of(self, row: Row) -> Row:
        """The primary key of a row."""
        return tuple(row[place] for place in self.key)


def raw_table(connection: Connection, name: str) -> RawTable | None:
    """What the database says of a table; None when it is not there."""
    return raw_tables(connection, [name]).get(name)


def has_table(connection: Connection, name: str) -> bool:
    """Whether it is there; which asks less than what it is like."""
    if is_postgres(connection):
        found = connection.exec_driver_sql("SELECT to_regclass(%s)", (name,))
    else:
        question = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?"
        found = connection.exec_driver_sql(question, (name,))
    return found.scalar() is not None


def raw_tables(connection: Connection, names: Sequence[str]) -> dict[str, RawTable]:
    """What the database says of those of these tables that are there, by name; asked at once."""
    described: dict[str, list[tuple[str, str, int]]] = {name: [] for name in names}
    if is_postgres(connection):
        for row in connection.exec_driver_sql(_COLUMNS, (list(names),)):
            described[row[0]].append((row[1], row[2], row[3]))
    else:
        for name in names:
            found = connection.exec_driver_sql(f"PRAGMA table_info({name})").fetchall()
            described[name] = [(row[1], row[2].lower(), row[5] - 1) for row in found]
    return {name: _described(name, columns) for name, columns in described.items() if columns}


def _described(name: str, columns: Sequence[tuple[str, str, int]]) -> RawTable:
    keyed = sorted((order, place) for place, (_, _, order) in enumerate(columns) if order >= 0)
    return RawTable(
        name,
        tuple(one[0] for one in columns),
        tuple(one[1] for one in columns),
        tuple(place for _, place in keyed),
    )


def read_rows(
    connection: Connection, table: RawTable, where: str = "", *, ordered: bool = True
) -> Iterator[Row]:
    """Rows of the table (those that pass ``where``, SQL of constants), by primary key when
    ``ordered``; streamed.
    """
    order = ", ".join(table.columns[place] for place in table.key) if ordered else ""
    question = f"SELECT {_asked(connection, table)} FROM {table.name}"
    question += f" WHERE {where}" if where else ""
    question += f" ORDER BY {order}" if order else ""
    return _streamed(connection, table, question)


def with_rows(connection: Connection, tables: Sequence[RawTable]) -> set[str]:
    """The names of those of these tables, one at least, that hold anything."""
    asked = (f"SELECT '{one.name}' WHERE EXISTS (SELECT 1 FROM {one.name})" for one in tables)
    return {*connection.exec_driver_sql(" UNION ALL ".join(asked)).scalars()}


def _streamed(
    connection: Connection, table: RawTable, question: str, values: Sequence[Any] = ()
) -> Iterator[Row]:
    """What a question for all columns of a table gives, a few rows at a time."""
    with translating():
        driver = _driver(connection)
        if not is_postgres(connection):
            yield from driver.execute(question, values)
            return
        with driver.cursor() as cursor:
            if values:
                question = _spelled(driver, question, values)
            with cursor.copy(f"COPY ({question}) TO STDOUT (FORMAT BINARY)") as copy:
                copy.set_types([_SENT.get(type_, ("", type_))[1] for type_ in table.types])
                yield from copy.rows()


def _spelled(driver: psycopg.Connection[Any], question: str, values: Sequence[Any]) -> str:
    """A question with its values in it, for a COPY takes none beside it."""
    import psycopg

    return psycopg.ClientCursor(driver).mogrify(question, values)


def of_month(connection: Connection, column: str, month: str) -> str:
    """The condition that a record id is of a month (``YYYY-MM``), for :func:`read_rows`."""
    low, high = (id_floor(at) for at in month_bounds(month))
    if not is_postgres(connection):
        first, behind = low.replace("-", ""), high.replace("-", "")
        return f"{column} >= X'{first}' AND {column} < X'{behind}'"
    return f"{column} >= '{low}' AND {column} < '{high}'"


def rows_of_keys(connection: Connection, table: RawTable, keys: Iterable[Row]) -> Iterator[Row]:
    """Those of ``keys`` that are there, streamed: nothing else can be asked before all were taken."""
    asked = _asked(connection, table)
    for part in _parts(keys):
        question = f"SELECT {asked} FROM {table.name} WHERE {_among(connection, table, part)}"
        yield from _streamed(connection, table, question, _flat(connection, table, part))


def delete_keys(connection: Connection, table: RawTable, keys: Iterable[Row]) -> None:
    """Remove rows by primary key; absent ones are fine."""
    for part in _parts(keys):
        statement = f"DELETE FROM {table.name} WHERE {_among(connection, table, part)}"
        connection.exec_driver_sql(statement, _flat(connection, table, part))


def insert_rows(
    connection: Connection, table: RawTable, columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Add rows whose values stand in the order of ``columns``; none of them may be there."""
    with Adding(connection) as adding:
        adding.add(table, columns, rows)


class Adding:
    """Adds rows, batch after batch. On Postgres by one statement for as long as they are of the same
    columns of the same table, so that the server works while the next batch is made; nothing else
    can be asked on the connection before the block ends.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver = _driver(connection)
        self._of: tuple[str, tuple[str, ...]] | None = None
        self._open = ExitStack()
        self._write: Callable[[Row], None] = _nowhere

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Have all of them there."""
        self._open.__exit__(*cast("Any", error))

    def add(self, table: RawTable, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Add rows whose values stand in the order of ``columns``; none of them may be there.

        On SQLite columns that are empty in all of the rows had better not be named: its driver looks
        for an adapter of every None, which takes it longer than all the values of a record (none of
        our columns has a default).
        """
        if not rows:
            return
        if not is_postgres(self._connection):
            names, marks = ", ".join(columns), ", ".join("?" * len(columns))
            with translating():
                self._driver.executemany(
                    f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows
                )
            return
        if self._of != (table.name, (*columns,)):
            self._begin(table, columns)
        write = self._write
        for row in rows:
            write(row)

    def _begin(self, table: RawTable, columns: Sequence[str]) -> None:
        self._open.close()
        self._of = (table.name, (*columns,))
        types = [table.types[table.columns.index(name)] for name in columns]
        truths = [place for place, type_ in enumerate(types) if type_ == "bool"]
        # In the binary form an id is its bytes, so it need not become an object on the way.
        types = ["bytea" if type_ == "uuid" else type_ for type_ in types]
        statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        self._open.enter_context(translating())
        driver = cast("psycopg.Connection[Any]", self._driver)
        copy = self._open.enter_context(self._open.enter_context(driver.cursor()).copy(statement))
        copy.set_types(types)
        write = copy.write_row
        self._write = (lambda row: write(_turned(row, truths))) if truths else write


def _nowhere(_row: Row) -> None:
    raise AssertionError  # there is no statement yet


def key_from_text(table: RawTable, text: str) -> Row:
    """A primary key as the log of changes holds it: JSON, bytes in hex, ids as the database writes them."""
    parts = json.loads(text)
    return tuple(
        bytes.fromhex(part.replace("-", "")) if _is_binary(table.types[place]) else part
        for place, part in zip(table.key, parts, strict=True)
    )


def _is_binary(type_: str) -> bool:
    return type_ in {"uuid", "bytea"} or type_.startswith("blob")


def _asked(connection: Connection, table: RawTable) -> str:
    if not is_postgres(connection):
        return ", ".join(table.columns)
    return ", ".join(
        _SENT[type_][0].format(name) if type_ in _SENT else name
        for name, type_ in zip(table.columns, table.types, strict=True)
    )


def _among(connection: Connection, table: RawTable, part: Sequence[Row]) -> str:
    """The condition that a row's key is among ``part``, with marks for :func:`_flat`."""
    names = [table.columns[place] for place in table.key]
    if is_postgres(connection):
        marks = [f"%s::{table.types[place]}" for place in table.key]
        if len(names) == 1:
            return f"{names[0]} = ANY(%s::{table.types[table.key[0]]}[])"
        one = f"({', '.join(marks)})"
        return f"({', '.join(names)}) IN (VALUES {', '.join([one] * len(part))})"
    if len(names) == 1:
        return f"{names[0]} IN ({', '.join('?' * len(part))})"
    one = f"({', '.join('?' * len(names))})"
    return f"({', '.join(names)}) IN (VALUES {', '.join([one] * len(part))})"


def _flat(connection: Connection, table: RawTable, part: Sequence[Row]) -> tuple[Any, ...]:
    if not is_postgres(connection):
        return tuple(chain.from_iterable(part))
    uuids = [table.types[place] == "uuid" for place in table.key]
    if uuids == [True]:
        # As one text: a list of ids takes the driver longer than the rows take Postgres.
        return (f"{{{','.join(key[0].hex() for key in part)}}}",)
    sent = [
        tuple(UUID(bytes=v) if uuid else v for v, uuid in zip(key, uuids, strict=True))
        for key in part
    ]
    return ([key[0] for key in sent],) if len(uuids) == 1 else tuple(chain.from_iterable(sent))


def _turned(row: Row, truths: Sequence[int]) -> list[Any]:
    values = list(row)
    for place in truths:
        if values[place] is not None:
            values[place] = bool(values[place])
    return values


def _parts(keys: Iterable[Row]) -> Iterator[list[Row]]:
    part: list[Row] = []
    for key in keys:
        part.append(key)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
