"""Entries on their way through a queue: handed over, looked after, given back.

The queue may lose everything. An entry in it stays claimed by the queue until a worker takes it
(:meth:`analect.store.outbox.Outbox.take`), so whatever got lost is found here and comes again.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, and_, select, update

from analect.model.ids import Micros
from analect.store.engine import read_transaction, write_transaction
from analect.store.outbox import BACKLOG, CLAIMED, INTERACTIVE, PENDING, QUEUE
from analect.store.tables import outbox

_in_queue = and_(outbox.c.state == CLAIMED, outbox.c.claimed_by == QUEUE)


class Handover:
    """The dispatcher's side of the outbox. Safe beside other dispatchers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, processor: str, room: int, now: Micros) -> list[int]:
        """Claim at most ``room`` due entries for the queue, interactive ones first; their numbers.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with write_transaction(self._engine, durable=False) as connection:
            chosen: list[int] = []
            for priority in (INTERACTIVE, BACKLOG):
                due = (
                    select(outbox.c.seq)
                    .where(
                        outbox.c.processor == processor,
                        outbox.c.state == PENDING,
                        outbox.c.priority == priority,
                        outbox.c.not_before <= now,
                    )
                    .order_by(outbox.c.not_before, outbox.c.seq)
                    .limit(room - len(chosen))
                    .with_for_update(skip_locked=True)
                )
                chosen.extend(connection.execute(due).scalars())
            if chosen:
                lease = {"state": CLAIMED, "claimed_by": QUEUE, "claimed_at": now}
                connection.execute(update(outbox).where(outbox.c.seq.in_(chosen)).values(lease))
            return chosen

    def waiting(self, processor: str, before: Micros) -> list[int]:
        """Entries that have been in the queue since before this time."""
        found = select(outbox.c.seq).where(
            outbox.c.processor == processor, _in_queue, outbox.c.claimed_at <= before
        )
        with read_transaction(self._engine) as connection:
            return list(connection.execute(found).scalars())

    def give_back(self, seqs: Sequence[int]) -> int:
        """Make those due again that no worker has taken; how many."""
        if not seqs:
            return 0
        again = {"state": PENDING, "claimed_by": None, "claimed_at": None}
        back = update(outbox).where(outbox.c.seq.in_(seqs), _in_queue).values(again)
        with write_transaction(self._engine, durable=False) as connection:
            return connection.execute(back).rowcount
