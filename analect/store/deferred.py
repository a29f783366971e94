"""Deletions that need not be made one by one, for their whole month is perhaps dropped from an index.

What retention takes from an index that keeps months apart is not due for half an hour. At the end
of a run an index without a record of a month left drops it, and these entries with it; all others
are due at once. When a run breaks off, the time passes, and the records are deleted one by one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, delete, select, update

from analect.model.ids import Micros, id_bytes, id_floor, month_bounds
from analect.store.engine import read_transaction, write_transaction
from analect.store.outbox import PENDING, ids_held, with_commits
from analect.store.tables import outbox

LATER: Micros = 1800 * 1_000_000
"""Longer than most runs take."""
_PAGE = 100
_ID = 16


def deletion_entry(processor: str, now: Micros, *, later: bool) -> dict[str, Any]:
    """What an entry of the outbox says of a deletion, at once or ``later``."""
    return {
        "processor": processor,
        "operation": "delete",
        "state": PENDING,
        "priority": 0,
        "attempts": 0,
        "not_before": now + LATER if later else now,
        "created_at": now,
    }


def forget_month(engine: Engine, processor: str, month: str, now: Micros) -> int:
    """Take back the deletions of a month that wait for ``processor``: its index has none of these
    records any more; how many entries.
    """
    first, end = month_bounds(month)
    low, high = id_bytes(id_floor(max(first, 0))), id_bytes(id_floor(end))
    after, done = 0, 0
    while True:
        page = (
            select(outbox.c.seq, ids_held.label("ids"))
            .select_from(with_commits)
            .where(_waiting([processor], now), outbox.c.seq > after)
            .order_by(outbox.c.seq)
            .limit(_PAGE)
        )
        with read_transaction(engine) as connection:
            rows = connection.execute(page).all()
        mine = [row.seq for row in rows if _all_within(bytes(row.ids), low, high)]
        if mine:
            gone = delete(outbox).where(outbox.c.seq.in_(mine), _waiting([processor], now))
            with write_transaction(engine) as connection:
                done += connection.execute(gone).rowcount
        if len(rows) < _PAGE:
            return done
        after = rows[-1].seq


def release(engine: Engine, processors: Collection[str], now: Micros) -> int:
    """Make due what still waits; how many entries."""
    again = update(outbox).where(_waiting(processors, now)).values(not_before=now)
    with write_transaction(engine) as connection:
        return connection.execute(again).rowcount


def _waiting(processors: Collection[str], now: Micros) -> ColumnElement[bool]:
    return and_(
        outbox.c.processor.in_(processors),
        outbox.c.state == PENDING,
        outbox.c.priority == 0,
        outbox.c.not_before > now,
        outbox.c.operation == "delete",
        outbox.c.attempts == 0,
    )


def _all_within(ids: bytes, low: bytes, high: bytes) -> bool:
    return all(low <= ids[at : at + _ID] < high for at in range(0, len(ids), _ID))
