"""The journal of commits, read by who must not miss one: from a place on, some of it twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import BigInteger, Connection, Text, cast, func, select

from analect.store.engine import is_postgres
from analect.store.tables import commits


def journal_place(connection: Connection) -> int:
    """Where the journal stands: what commits from now on is behind it. On Postgres the oldest
    transaction that still runs, on SQLite the next number.
    """
    if is_postgres(connection):
        oldest = func.pg_snapshot_xmin(func.pg_current_snapshot())
        place = connection.execute(select(cast(cast(oldest, Text), BigInteger)))
    else:
        place = connection.execute(select(func.coalesce(func.max(commits.c.seq), 0) + 1))
    return int(place.scalar_one())


def stored_since(connection: Connection, place: int) -> Iterator[bytes]:
    """The ids, 16 bytes each, of every commit that stored records since a place."""
    return _since(connection, place, "put")


def months_since(
    connection: Connection, place: int, operations: Sequence[str] = ("put",)
) -> set[str]:
    """The months of which records were stored since a place (or deleted as well)."""
    import numpy as np

    months: set[str] = set()
    for ids in _since(connection, place, *operations):
        raw = np.frombuffer(ids, np.uint8).reshape(-1, 16)[:, :6].astype(np.int64)
        millis = raw @ (256 ** np.arange(5, -1, -1, dtype=np.int64))
        months |= {str(one) for one in np.unique(millis.astype("M8[ms]").astype("M8[M]"))}
    return months


def _since(connection: Connection, place: int, *operations: str) -> Iterator[bytes]:
    order = commits.c.txid if is_postgres(connection) else commits.c.seq
    wanted = select(commits.c.ids).where(order >= place, commits.c.operation.in_(operations))
    return map(bytes, connection.execute(wanted).scalars())
