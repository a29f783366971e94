"""How much there is, without counting millions of rows: exact while it is little, about beyond."""

from __future__ import annotations

from sqlalchemy import Engine, func, select, text

from analect.store.engine import is_postgres, read_transaction
from analect.store.tables import data_keys, records

EXACT_BELOW = 20_000
"""So many rows are counted one by one."""

_POSTGRES = text(
    "SELECT coalesce(sum(pg_stat_get_live_tuples(inhrelid)), 0) FROM pg_inherits "
    "WHERE inhparent = 'records'::regclass"
)
_SQLITE = text("SELECT coalesce(max(rowid) - min(rowid) + 1, 0) FROM records")


def count_records(engine: Engine) -> int:
    """Records stored: exact below :data:`EXACT_BELOW`, else the live rows
    of Postgres's statistics, some seconds behind, and on SQLite the span of row numbers, which counts deleted rows in between.
    """
    counted = select(func.count()).select_from(select(records.c.id).limit(EXACT_BELOW).subquery())
    with read_transaction(engine) as connection:
        exact = int(connection.execute(counted).scalar_one())
        if exact < EXACT_BELOW:
            return exact
        about = connection.execute(_POSTGRES if is_postgres(engine) else _SQLITE).scalar_one()
        return max(exact, int(about))


def count_keys(engine: Engine) -> int:
    """Data keys that exist, counted up to a million."""
    counted = select(func.count()).select_from(
        select(data_keys.c.key_id).limit(1_000_000).subquery()
    )
    with read_transaction(engine) as connection:
        return int(connection.execute(counted).scalar_one())
