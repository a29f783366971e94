"""Rows of links into a database, within one transaction, counted and hashed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection

from analect.lifecycle.backup.format import Row, RowHash, Tally, pack_row, widened
from analect.lifecycle.backup.manifest import TableContent
from analect.lifecycle.backup.write import DERIVED, settled, tables_of
from analect.model.errors import ConfigurationError, Conflict
from analect.store.engine import is_postgres, translating
from analect.store.raw import (
    Adding,
    RawTable,
    delete_keys,
    insert_rows,
    of_month,
    read_rows,
    rows_of_keys,
)

_INDEXES = """
SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%s) AND NOT i.indisunique
"""
_TAGS_SQLITE = (
    # DISTINCT would keep all of them in a tree of its own, which takes as long again.
    """
INSERT OR IGNORE INTO record_tags (tag, record_id) SELECT t.value, r.id
FROM records r, json_each(r.tags) AS t WHERE r.tags IS NOT NULL ORDER BY 1, 2
""",
)
_TAGS_POSTGRES = (
    # Row by row into the key takes half again as long as to make it when all of them are there.
    "ALTER TABLE record_tags DROP CONSTRAINT record_tags_pkey",
    """
INSERT INTO record_tags (tag, record_id) SELECT t.value, r.id
FROM records r, json_array_elements_text(r.tags::json) AS t WHERE r.tags IS NOT NULL
""",
)
_TAGS_KEY = "ALTER TABLE record_tags ADD PRIMARY KEY (tag, record_id)"
_TAGS_ONCE = """
DELETE FROM record_tags a USING record_tags b
WHERE (a.tag, a.record_id) = (b.tag, b.record_id) AND a.ctid > b.ctid
"""


Summed = Callable[[Iterable[Row]], tuple[int, str]]
"""How many rows there are, and the sum of their hashes."""


@dataclass(slots=True)
class Loader:
    """The tables of one database, and what each should hold, by ``hashing``."""

    connection: Connection
    hashing: RowHash
    tables: dict[str, RawTable] = field(init=False)
    tallies: dict[str, Tally] = field(init=False)

    def __post_init__(self) -> None:
        self.tables = {table.name: table for table in tables_of(self.connection)}
        self.tallies = {name: Tally(self.hashing) for name in self.tables}

    @property
    def rows(self) -> int:
        """How many rows there should be."""
        return sum(tally.rows for tally in self.tallies.values())

    def need_empty(self) -> None:
        """Raises:
        Conflict: there is a store in the database.
        """
        for name in self.tables:
            if self.connection.exec_driver_sql(f"SELECT 1 FROM {name} LIMIT 1").first() is not None:
                raise Conflict(
                    "there is a store in this database already: restore into an empty database or "
                    "another home, or say --replace"
                )

    def empty(self) -> None:
        """Remove every row."""
        for name in (*self.tables, *DERIVED):
            self._clear(name)

    @contextmanager
    def without_indexes(self) -> Iterator[None]:
        """Drop the indexes for the block and make them at its end, which is quicker for many rows."""
        made: list[str] = []
        for name in (*self.tables, *DERIVED):
            for index, statement in self._indexes(name):
                self.connection.exec_driver_sql(f"DROP INDEX {index}")
                made.append(statement)
        yield
        for statement in made:
            self.connection.exec_driver_sql(statement)

    def begin(self, content: TableContent) -> None:
        """The rows of a link's table come next; they are all of them if it is told whole. That they
        are what its manifest says is known in the end, when they are read back.
        """
        table = self._table(content)
        if content.whole and self.tallies[table.name].rows:
            self._clear(table.name)
            self.tallies[table.name] = Tally(self.hashing)
        if content.columns == table.columns:
            self.tallies[table.name].add_summed(content.rows, int(content.hash, 16))

    def add(
        self, adding: Adding, content: TableContent, held: Sequence[int], rows: list[Row]
    ) -> None:
        """Add rows of the table that was begun, none of which is there; they have the columns
        ``held``.
        """
        table = self._table(content)
        adding.add(table, [content.columns[place] for place in held], rows)
        if content.columns != table.columns:
            self._count(content, table, widened(held, rows, len(content.columns)))

    def settle(self, content: TableContent, before: Row, row: Row | None) -> None:
        """Of the table that was begun, ``row`` (or none) is to be added in place of ``before``."""
        if content.columns != self._table(content).columns:
            return
        tally = self.tallies[content.name]
        tally.take(pack_row(before))
        if row is not None:
            tally.add([pack_row(row)])

    def add_other(self, content: TableContent, rows: list[Row]) -> None:
        """Add rows that no manifest counts, none of which is there."""
        table = self._table(content)
        insert_rows(self.connection, table, content.columns, rows)
        self._count(content, table, rows)

    def _count(self, content: TableContent, table: RawTable, rows: list[Row]) -> None:
        ordered = (self._ordered(content, table, row) for row in rows)
        self.tallies[table.name].add(map(pack_row, ordered))

    def present(self, name: str, keys: Sequence[Row]) -> set[Row]:
        """Those of these primary keys that are there."""
        table = self.tables[name]
        return {table.key_of(row) for row in rows_of_keys(self.connection, table, keys)}

    def remove(self, name: str, keys: Iterable[Row]) -> int:
        """Remove rows by primary key; how many were there."""
        table = self.tables[name]
        wanted = list(keys)
        there = list(rows_of_keys(self.connection, table, wanted))
        tally = self.tallies[name]
        for row in there:
            tally.take(pack_row(row))
        delete_keys(self.connection, table, map(table.key_of, there))
        return len(there)

    def remove_month(self, month: str) -> None:
        """Remove the records of a month."""
        table = self.tables["records"]
        where = of_month(self.connection, "id", month)
        self.remove(table.name, [table.key_of(r) for r in read_rows(self.connection, table, where)])

    def derive_tags(self) -> None:
        """Make the tags' own rows from the records."""
        self._clear("record_tags")
        for statement in _TAGS_POSTGRES if is_postgres(self.connection) else _TAGS_SQLITE:
            self.connection.exec_driver_sql(statement)
        if not is_postgres(self.connection):
            return
        try:
            with translating(), self.connection.begin_nested():
                self.connection.exec_driver_sql(_TAGS_KEY)
        except Conflict:  # a record with the same tag twice, which to look for in all takes longer
            self.connection.exec_driver_sql(_TAGS_ONCE)
            self.connection.exec_driver_sql(_TAGS_KEY)

    def differing(self, summed: Summed) -> str | None:
        """Read everything back: a table that holds other rows than it should, if there is one."""
        for name, table in self.tables.items():
            rows = settled(table, read_rows(self.connection, table, ordered=False))
            if summed(rows) != self.tallies[name].sum:
                return name
        return None

    def advance_sequences(self) -> None:
        """Numbers that Postgres gives from now on come behind those that are there."""
        if not is_postgres(self.connection):
            return
        for name in ("commits", "outbox", "access_log"):
            self.connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'seq'), max(seq)) FROM {name}"
                " HAVING max(seq) IS NOT NULL"
            )

    def _table(self, content: TableContent) -> RawTable:
        table = self.tables.get(content.name)
        if table is None or not set(content.columns) <= set(table.columns):
            raise ConfigurationError(
                f"the database has no table {content.name} as the backup has it: restore with the "
                "release that wrote it"
            )
        return table

    @staticmethod
    def _ordered(content: TableContent, table: RawTable, row: Row) -> Row:
        values = dict(zip(content.columns, row, strict=True))
        return tuple(values.get(name) for name in table.columns)

    def _clear(self, name: str) -> None:
        self.connection.exec_driver_sql(f"DELETE FROM {name}")

    def _indexes(self, name: str) -> list[tuple[str, str]]:
        if is_postgres(self.connection):
            found = self.connection.exec_driver_sql(_INDEXES, (name,)).fetchall()
            return [(row[0], row[1].replace(" ON ONLY ", " ON ")) for row in found]
        found = self.connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            f" AND tbl_name = '{name}'"
        ).fetchall()
        return [(row[0], row[1]) for row in found]
