"""Month partitions of ``records`` and ``record_tags`` on Postgres; nothing to do on SQLite.

A partition is made as a table of its own and then attached, because ``PARTITION OF`` waits behind
every open reader. A check constraint of the same bounds lets ATTACH skip its scan. There is no
DEFAULT partition: it would forbid DETACH CONCURRENTLY.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection, Engine

from analect.model.errors import StoreUnavailable
from analect.model.ids import Micros, id_floor, month_bounds, month_of
from analect.store.engine import is_postgres, read_transaction, write_transaction

log = structlog.get_logger(__name__)

PARTITIONED = {"records": "id", "record_tags": "record_id"}
"""Table to the column of its range."""
AHEAD = 2
"""Months made before they are needed, besides the present one."""

TOAST_TARGET = 2_704
"""Bytes of a row beyond which its payload moves out of line: three rows to a page stay together.

Measured with rows of 2.1, 2.5 and 2.9 KB: the default is as small but 20% slower for the first
two, keeping the third in line wastes 13%."""

_LOCK = 0x616E616C0002
_ATTACHED = """
SELECT p.relname, c.relname, i.inhdetachpending FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.oid IN (to_regclass('records'), to_regclass('record_tags'))
"""
_RETRY_SECONDS = 1.0


def partition_name(table: str, month: str) -> str:
    """``records_2026_11`` of ``records`` and ``2026-11``."""
    return f"{table}_{month.replace('-', '_')}"


@dataclass(slots=True)
class Partitions:
    """Makes months before rows need them; thread-safe, and safe beside other processes."""

    engine: Engine
    _known: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ensure_ids(self, ids: Iterable[str]) -> None:
        """Have the months of these record ids.

        Raises:
            StoreUnavailable: the database cannot be reached or written.
        """
        ordered = sorted(ids)
        if not ordered or not is_postgres(self.engine):
            return
        first, last = month_of(ordered[0]), month_of(ordered[-1])
        # Nearly every batch lies within one month; only the others are looked at one by one.
        self.ensure({first} if first == last else {month_of(one) for one in ordered})

    def ensure_ahead(self, now: Micros) -> None:
        """Have this month and the next ones (call it at start and once a day)."""
        if is_postgres(self.engine):
            months = [month_of(id_floor(now))]
            for _ in range(AHEAD):
                months.append(month_of(id_floor(month_bounds(months[-1])[1])))
            self.ensure(months)

    def ensure(self, months: Iterable[str]) -> None:
        """Have these months (``YYYY-MM``)."""
        missing = sorted(set(months) - self._known)
        if not missing:
            return
        with self._lock:
            for month in missing:
                self._make(month)
            with read_transaction(self.engine) as connection:
                self._known = _attached_months(connection)

    def forget(self) -> None:
        """Another process may have dropped months: look again next time."""
        self._known = set()

    def _make(self, month: str) -> None:
        with write_transaction(self.engine) as connection:
            one_at_months(connection)
            there = attached_tables(connection, month)
            if any(there.values()):
                raise StoreUnavailable(
                    f"the records of {month} are being removed; send those that came late again",
                    retry_after=_RETRY_SECONDS,
                )
            for table in PARTITIONED:
                if table not in there:
                    attach(connection, table, month)
        log.info("partition made", month=month)


def one_at_months(connection: Connection) -> None:
    """Until its transaction ends, nobody else makes, puts back or drops months."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def attached_tables(connection: Connection, month: str) -> dict[str, bool]:
    """Those tables that have a month, and whether they are about to lose it."""
    rows = connection.exec_driver_sql(_ATTACHED)
    return {table: losing for table, name, losing in rows if name == partition_name(table, month)}


def attach(connection: Connection, table: str, month: str) -> None:
    """Let a table have a month. One that was detached is there already, and comes back whole."""
    name, column = partition_name(table, month), PARTITIONED[table]
    start, end = month_bounds(month)
    low, high = f"'{id_floor(start)}'", f"'{id_floor(end)}'"
    within = f"{column} IS NOT NULL AND {column} >= {low} AND {column} < {high}"
    statements = [
        f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL, CONSTRAINT {name}_month CHECK ({within}))",
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})",
    ]
    if table == "records":
        statements.insert(1, f"ALTER TABLE {name} SET (toast_tuple_target = {TOAST_TARGET})")
    for statement in statements:
        connection.exec_driver_sql(statement)


def _attached_months(connection: Connection) -> set[str]:
    """The months that every table has."""
    months: dict[str, int] = {}
    for table, name, losing in connection.exec_driver_sql(_ATTACHED):
        if not losing:
            month = name[len(table) + 1 :].replace("_", "-")
            months[month] = months.get(month, 0) + 1
    return {month for month, tables in months.items() if tables == len(PARTITIONED)}
