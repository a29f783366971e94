"""Month partitions of ``records`` and ``record_tags`` on Postgres; nothing to do on SQLite.

A partition is made as a table of its own and then attached, because ``PARTITION OF`` waits behind
every open reader. A check constraint of the same bounds lets ATTACH skip its scan. There is no
DEFAULT partition: it would forbid DETACH CONCURRENTLY.

A session that puts its list of partitions together while one is attached may hear of that one in
the very midst of it, and then keeps a list without it, for ATTACH waits for no reader (seen with
Postgres 18.6). It would miss the month in all that it reads, until the table changes again. So a
month is announced before it holds anything: see :func:`announce`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection, Engine

from analect.model.errors import StoreUnavailable
from analect.model.ids import Micros, id_floor, month_bounds, month_of
from analect.store.engine import (
    is_postgres,
    one_statement,
    read_transaction,
    write_transaction,
)

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
_ANNOUNCED = "announced: every session lists it"
"""The comment of a partition."""
_ATTACHED = f"""
SELECT CAST(inhparent::regclass AS text), CAST(inhrelid::regclass AS text), inhdetachpending,
 coalesce(description = '{_ANNOUNCED}', false)
FROM pg_inherits
LEFT JOIN pg_description ON objoid = inhrelid AND classoid = 'pg_class'::regclass AND objsubid = 0
WHERE inhparent IN (to_regclass('records'), to_regclass('record_tags'))
"""
_LISTING = """
SELECT l.pid, l.virtualtransaction, a.query_start FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
 AND l.relation IN (to_regclass('records'), to_regclass('record_tags'))
 AND NOT starts_with(coalesce(a.state, ''), 'idle')
"""
"""Statements under way that may be at a list of partitions."""
_LISTING_SECONDS = 5.0
"""A list takes a few milliseconds. What goes on for longer reads, and has had its list long since."""
_PAUSE_SECONDS = 0.005
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
            announce(self.engine)
            with read_transaction(self.engine) as connection:
                self._known = _announced_months(connection)

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
    return {
        table: losing for table, name, losing, _ in rows if name == partition_name(table, month)
    }


def announce(engine: Engine, pause: Callable[[float], None] = time.sleep) -> None:
    """Have every session list the months that were attached and not announced yet, whoever did it:
    once all that may be at a list without them is over, the tables change once more.
    """
    with read_transaction(engine) as connection:
        fresh = _unannounced(connection)
    if not fresh:
        return
    _lists_over(engine, pause)
    with write_transaction(engine) as connection:
        one_at_months(connection)
        for table, column in PARTITIONED.items():
            # Changes nothing but the table's own version, and waits for no reader.
            connection.exec_driver_sql(
                f"ALTER TABLE ONLY {table} ALTER COLUMN {column} SET STATISTICS -1"
            )
        for name in fresh & _unannounced(connection):
            connection.exec_driver_sql(f"COMMENT ON TABLE {name} IS '{_ANNOUNCED}'")


def attach(connection: Connection, table: str, month: str) -> None:
    """Let a table have a month. One that was detached is there already, and comes back whole. Once
    it is committed, :func:`announce` it.
    """
    name, column = partition_name(table, month), PARTITIONED[table]
    start, end = month_bounds(month)
    low, high = f"'{id_floor(start)}'", f"'{id_floor(end)}'"
    within = f"{column} IS NOT NULL AND {column} >= {low} AND {column} < {high}"
    statements = [
        f"CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL, CONSTRAINT {name}_month CHECK ({within}))",
        f"COMMENT ON TABLE {name} IS NULL",
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})",
    ]
    if table == "records":
        statements.insert(1, f"ALTER TABLE {name} SET (toast_tuple_target = {TOAST_TARGET})")
    for statement in statements:
        connection.exec_driver_sql(statement)


def _announced_months(connection: Connection) -> set[str]:
    """The months that every table has, for every session."""
    months: dict[str, int] = {}
    for table, name, losing, announced in connection.exec_driver_sql(_ATTACHED):
        if announced and not losing:
            month = name[len(table) + 1 :].replace("_", "-")
            months[month] = months.get(month, 0) + 1
    return {month for month, tables in months.items() if tables == len(PARTITIONED)}


def _unannounced(connection: Connection) -> set[str]:
    """Partitions that some session may not list."""
    rows = connection.exec_driver_sql(_ATTACHED)
    return {name for _, name, losing, announced in rows if not losing and not announced}


def _lists_over(engine: Engine, pause: Callable[[float], None]) -> None:
    """Wait for the statements that are under way now."""
    begun = _listing(engine)
    left = round(_LISTING_SECONDS / _PAUSE_SECONDS)
    while begun and left:
        pause(_PAUSE_SECONDS)
        begun &= _listing(engine)
        left -= 1


def _listing(engine: Engine) -> set[tuple[object, ...]]:
    with one_statement(engine) as connection:
        return {tuple(row) for row in connection.exec_driver_sql(_LISTING)}
