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
SELECT c.relname FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.oid = to_regclass('record_tags')
"""


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
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if month in _attached_months(connection):
                return
            for table, column in PARTITIONED.items():
                for statement in _statements(table, column, month):
                    connection.exec_driver_sql(statement)
        log.info("partition made", month=month)


def _statements(table: str, column: str, month: str) -> list[str]:
    name = partition_name(table, month)
    start, end = month_bounds(month)
    low, high = f"'{id_floor(start)}'", f"'{id_floor(end)}'"
    within = f"{column} IS NOT NULL AND {column} >= {low} AND {column} < {high}"
    # A month whose removal broke off after it was detached is there already, and comes back whole.
    statements = [
        f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL, CONSTRAINT {name}_month CHECK ({within}))",
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})",
    ]
    if table == "records":
        statements.insert(1, f"ALTER TABLE {name} SET (toast_tuple_target = {TOAST_TARGET})")
    return statements


def _attached_months(connection: Connection) -> set[str]:
    """The months whose both tables are attached (they are made in one transaction)."""
    prefix = len("record_tags_")
    rows = connection.exec_driver_sql(_ATTACHED).scalars()
    return {name[prefix:].replace("_", "-") for name in rows}
