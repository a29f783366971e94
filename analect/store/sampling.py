"""Where to look when not everything can be looked at."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from analect.model.ids import RecordId, id_floor, id_millis, id_text
from analect.store.engine import read_transaction
from analect.store.tables import commits


def place_by_chance(engine: Engine, number: int) -> RecordId | None:
    """The id just before those that some commit wrote; each commit stands for ``number`` as often
    as any other. None when there is no commit.
    """
    with read_transaction(engine) as connection:
        edges = connection.execute(select(func.min(commits.c.seq), func.max(commits.c.seq))).one()
        low, high = edges
        if low is None:
            return None
        some = (
            select(commits.c.ids)
            .where(commits.c.seq >= low + number % (high - low + 1), commits.c.operation == "put")
            .order_by(commits.c.seq)
            .limit(1)
        )
        raw = connection.execute(some).scalar()
    return None if raw is None else id_floor(id_millis(id_text(bytes(raw)[:16])) * 1000)
