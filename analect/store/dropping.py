"""Months that leave Postgres whole: detached while others read and write on, looked at, dropped.

DETACH CONCURRENTLY keeps nobody waiting. A detached month is seen by nobody; one whose removal
broke off there is put back by :func:`reattach`, or by whoever writes a record of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Engine

from analect.model.ids import RecordId
from analect.store.changes import note_month
from analect.store.engine import is_postgres, read_transaction, translating, write_transaction
from analect.store.journal import journal_place, months_since
from analect.store.partitions import (
    PARTITIONED,
    announce,
    attach,
    attached_tables,
    one_at_months,
    partition_name,
)

log = structlog.get_logger(__name__)

_SUM = "coalesce(sum(('x' || substr(CAST(id AS text), 25, 12))::bit(48)::bigint), 0)"
_PENDING = "SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass('{}') AND inhdetachpending"
_DETACHED = """
SELECT c.relname FROM pg_class c
WHERE c.relkind = 'r' AND c.relname ~ '^(records|record_tags)_[0-9]{4}_[0-9]{2}$'
 AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('records'))
 AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid AND NOT i.inhdetachpending)
"""
"""Months that are detached, or half so."""


@dataclass(frozen=True, slots=True)
class IdSum:
    """How many ids, and the sum of their last 48 bits, which are random: what tells one set of
    records from another without comparing them one by one.
    """

    count: int = 0
    total: int = 0

    def plus(self, ids: Sequence[RecordId]) -> IdSum:
        """With more ids."""
        import numpy as np

        raw = bytes.fromhex("".join([one[24:] for one in ids]))
        columns = np.frombuffer(raw, np.uint8).reshape(-1, 6).sum(axis=0, dtype=np.int64)
        total = sum(int(one) << 8 * (5 - place) for place, one in enumerate(columns))
        return IdSum(self.count + len(ids), self.total + total)


def month_rows(engine: Engine, month: str) -> int | None:
    """How many rows the partition of a month has; None where there is no such partition."""
    if not is_postgres(engine):
        return None
    name = partition_name("records", month)
    with read_transaction(engine) as connection:
        if connection.exec_driver_sql(f"SELECT to_regclass('{name}')").scalar() is None:
            return None
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one())


def drop_month(
    engine: Engine,
    month: str,
    expected: IdSum,
    step: Callable[[str], None],
    *,
    within: Callable[[Connection], bool] = lambda _connection: True,
    ahead: Callable[[], None] = lambda: None,
) -> bool:
    """Detach a month and drop it, if it holds exactly the records of ``expected`` and ``within``,
    called in the transaction that drops it, agrees; else it stays or is attached again, and what
    ``within`` did is undone.

    It is compared, and ``ahead`` called, while everybody still sees it. What came or went since
    is in the journal, for who writes a record writes it there in the same transaction, and who
    had begun is waited for when the month is detached.
    """
    tables = {table: partition_name(table, month) for table in PARTITIONED}
    with read_transaction(engine) as connection:
        place = journal_place(connection)
        if not _holds(connection, tables["records"], expected):
            return False
    ahead()
    step("month compared")
    for table, name in tables.items():
        _detach(engine, table, name)
        step("month detached")
    with write_transaction(engine) as connection:
        inner = connection.begin_nested()
        fits = month not in months_since(connection, place, ("put", "delete"))
        fits = fits and within(connection)
        if fits:
            # Nobody waits for what was done until here. A late record may have put the month back.
            one_at_months(connection)
            fits = not attached_tables(connection, month)
        (inner.commit if fits else inner.rollback)()
        note_month(connection, month)
        if fits:
            for name in tables.values():
                connection.exec_driver_sql(f"DROP TABLE {name}")
        else:
            _put_back(connection, month)
    announce(engine)
    log.info("partition dropped" if fits else "partition kept: records came late", month=month)
    step("month dropped")
    return fits


def reattach(engine: Engine) -> list[str]:
    """Put back the months whose removal broke off after they were detached; which they are. The
    caller is the only one who removes months.
    """
    if not is_postgres(engine):
        return []
    with read_transaction(engine) as connection:
        names = list(connection.exec_driver_sql(_DETACHED).scalars())
    months = sorted({name[-7:].replace("_", "-") for name in names})
    for month in months:
        for table in PARTITIONED:
            _finish(engine, table, partition_name(table, month))
        with write_transaction(engine) as connection:
            _put_back(connection, month)
            note_month(connection, month)
        log.warning("a month whose removal broke off was put back", month=month)
    announce(engine)
    return months


def _holds(connection: Connection, table: str, expected: IdSum) -> bool:
    count, total = connection.exec_driver_sql(f"SELECT count(*), {_SUM} FROM {table}").one()
    return IdSum(int(count), int(total)) == expected


def _put_back(connection: Connection, month: str) -> None:
    one_at_months(connection)
    there = attached_tables(connection, month)
    for table in PARTITIONED:
        if table not in there:
            attach(connection, table, month)


def _detach(engine: Engine, table: str, name: str) -> None:
    """Detach, whatever was begun before; outside of a transaction, as Postgres wants it."""
    if not _finish(engine, table, name):
        _alone(engine, f"ALTER TABLE {table} DETACH PARTITION {name} CONCURRENTLY")


def _finish(engine: Engine, table: str, name: str) -> bool:
    """Whether a detaching was under way, which is finished now."""
    with read_transaction(engine) as connection:
        pending = connection.exec_driver_sql(_PENDING.format(name)).first() is not None
    if pending:
        _alone(engine, f"ALTER TABLE {table} DETACH PARTITION {name} FINALIZE")
    return pending


def _alone(engine: Engine, statement: str) -> None:
    with translating(), engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(statement)
