"""Entries on their way through a queue: handed over in bundles, looked after, given back.

The queue may lose everything. An entry in it stays claimed by the job it waits in until a worker
takes it (:meth:`analect.store.outbox.Outbox.take`), so whatever got lost is found here and comes
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Text,
    and_,
    column,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from analect.model.ids import Micros
from analect.store.engine import read_transaction, write_transaction
from analect.store.entries import Due
from analect.store.outbox import (
    CLAIMED,
    DUE_AGAIN,
    QUEUE,
    due_entries,
)
from analect.store.tables import outbox

AT_ONCE = 200
"""Entries looked at in one claim: each is locked for the moment."""

_in_queue = and_(outbox.c.state == CLAIMED, outbox.c.claimed_by.startswith(QUEUE, autoescape=True))


@dataclass(frozen=True, slots=True)
class Bundle:
    """Entries that make one job. ``full``: no other entry has room beside them; ``urgent``:
    someone waits for them.
    """

    job: str
    seqs: tuple[int, ...]
    records: int
    full: bool
    urgent: bool


class Handover:
    """The dispatcher's side of the outbox, on Postgres. Safe beside other dispatchers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(
        self, processor: str, *, room: int, partial: int, batch: int, now: Micros
    ) -> list[Bundle]:
        """Claim due entries for the queue, interactive ones first, in bundles of about ``batch``
        records.

        Args:
            processor: whose.
            room: at most so many bundles.
            partial: of them, at most so many that have room left: what is due soon shares a job
                instead of making many small ones.
            batch: records of a bundle; an entry that holds more makes one alone.
            now: the time.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with write_transaction(self._engine, durable=False) as connection:
            bundles: list[Bundle] = []
            due = due_entries(connection, processor, AT_ONCE, now)
            for bundle in _packed(due, batch, now):
                if len(bundles) >= room:
                    break
                if bundle.full or sum(not one.full for one in bundles) < partial:
                    bundles.append(bundle)
            if bundles:
                _hold(connection, bundles, now)
            return bundles

    def jobs(self, processor: str, before: Micros) -> list[str]:
        """The jobs in which entries wait since before this time."""
        found = (
            select(outbox.c.claimed_by)
            .where(outbox.c.processor == processor, _in_queue, outbox.c.claimed_at <= before)
            .distinct()
        )
        with read_transaction(self._engine) as connection:
            return [str(holder)[len(QUEUE) :] for holder in connection.execute(found).scalars()]

    def out(self, processor: str) -> int:
        """Jobs that wait in the queue, and workers that are at one."""
        found = select(func.count(outbox.c.claimed_by.distinct())).where(
            outbox.c.processor == processor, outbox.c.state == CLAIMED
        )
        with read_transaction(self._engine) as connection:
            return int(connection.execute(found).scalar_one())

    def give_back(self, processor: str, jobs: Sequence[str]) -> int:
        """Make due again what waits in these jobs; how many entries."""
        if not jobs:
            return 0
        back = (
            update(outbox)
            .where(
                outbox.c.processor == processor,
                outbox.c.state == CLAIMED,
                outbox.c.claimed_by.in_([QUEUE + job for job in jobs]),
            )
            .values(DUE_AGAIN)
        )
        with write_transaction(self._engine, durable=False) as connection:
            return connection.execute(back).rowcount


def _packed(due: Iterable[Due], batch: int, now: Micros) -> Iterable[Bundle]:
    """``due`` in bundles; the last of each urgency is full only if nothing more fits."""
    held: list[Due] = []
    size = 0
    for one in due:
        if held and (size + one.records > batch or not _together(held[-1], one)):
            yield _bundle(held, now, full=True)
            held, size = [], 0
        held.append(one)
        size += one.records
    if held:
        yield _bundle(held, now, full=held[-1].alone or size >= batch)


def _together(one: Due, other: Due) -> bool:
    return one.urgent == other.urgent and not (one.alone or other.alone)


def _bundle(held: Sequence[Due], now: Micros, *, full: bool) -> Bundle:
    seqs = tuple(one.seq for one in held)
    records = sum(one.records for one in held)
    return Bundle(f"{seqs[0]}-{now}", seqs, records, full, held[0].urgent)


def _hold(connection: Connection, bundles: Sequence[Bundle], now: Micros) -> None:
    seqs = [seq for bundle in bundles for seq in bundle.seqs]
    holders = [QUEUE + bundle.job for bundle in bundles for _ in bundle.seqs]
    given = (
        func.unnest(literal(seqs, ARRAY(BigInteger)), literal(holders, ARRAY(Text)))
        .table_valued(column("seq", BigInteger), column("holder", Text))
        .render_derived()
    )
    lease = {"state": CLAIMED, "claimed_by": given.c.holder, "claimed_at": now}
    connection.execute(update(outbox).where(outbox.c.seq == given.c.seq).values(lease))
