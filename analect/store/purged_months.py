"""What goes together with a month that Postgres lets go whole, and the journal of it.

A journal of many ids takes longer to put together than everything else: it is made while the month
still stands, in a table of its own, and only copied in the transaction that drops the month.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, Engine, text

from analect.model.ids import Micros, id_floor, month_bounds
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.erasure import queue_deletions
from analect.store.partitions import partition_name

_AT_ONCE = 5000
"""Ids of one entry."""
_AHEAD = """
CREATE UNLOGGED TABLE {ahead} AS
SELECT part, string_agg(uuid_send(id), CAST('' AS bytea) ORDER BY id) AS ids
FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / {at_once} AS part FROM {table}) AS parts
GROUP BY part
"""
_JOURNAL = """
INSERT INTO commits (txid, operation, ids, committed_at)
SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint), 'delete', ids, :now
FROM {ahead} ORDER BY part RETURNING seq
"""
_LEFT = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^leaving_records_[0-9]{4}_[0-9]{2}$'
 AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('records'))
"""


def journal_ahead(engine: Engine, month: str) -> None:
    """Put together what the journal will say when all records of a month that stand now go."""
    ahead, table = _ahead(month), partition_name("records", month)
    with write_transaction(engine, durable=False) as connection:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {ahead}")
        connection.exec_driver_sql(_AHEAD.format(ahead=ahead, table=table, at_once=_AT_ONCE))


def purge_month(
    connection: Connection,
    month: str,
    processors: Sequence[str],
    now: Micros,
    later: Collection[str] = (),
) -> None:
    """What belongs to the records of a detached month, which go for good with it: they are those
    that :func:`journal_ahead` met.
    """
    table = partition_name("records", month)
    edges = dict(zip(("low", "high"), map(id_floor, month_bounds(month)), strict=True))
    for beside in ("annotations", "content_hashes"):
        within = "record_id >= CAST(:low AS uuid) AND record_id < CAST(:high AS uuid)"
        some = f"SELECT 1 FROM {beside} WHERE {within} LIMIT 1"
        if connection.execute(text(some), edges).first() is not None:
            connection.exec_driver_sql(
                f"DELETE FROM {beside} b USING {table} r WHERE b.record_id = r.id"
            )
    journal = text(_JOURNAL.format(ahead=_ahead(month)))
    seqs = connection.execute(journal, {"now": now}).scalars().all()
    queue_deletions(connection, seqs, processors, now, later)
    connection.exec_driver_sql(f"DROP TABLE {_ahead(month)}")


def forget_ahead(engine: Engine) -> None:
    """Take away what was put together for a month that stays."""
    if not is_postgres(engine):
        return
    with read_transaction(engine) as connection:
        names = list(connection.exec_driver_sql(_LEFT).scalars())
    for name in names:
        with write_transaction(engine, durable=False) as connection:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")


def _ahead(month: str) -> str:
    return f"leaving_{partition_name('records', month)}"
