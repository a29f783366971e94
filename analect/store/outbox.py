"""Work that commits left for processors: claimed for a while, done, retried, split, quarantined.

One entry covers the records of a commit for one processor. A claim is a lease: an entry that was
taken back, or claimed again by anyone, is out of the first worker's reach. Losing the latest
claims and completions in a power cut only means processing again, so those transactions do not
wait for the disk.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, and_, delete, func, insert, literal, or_, select, update

from analect.model.errors import (
    EngineBusy,
    EngineMisconfigured,
    EngineReadOnly,
    EngineUnavailable,
    StoreUnavailable,
)
from analect.model.ids import Micros, RecordId, id_bytes, id_text
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.entries import Depth, Due, Entry, Quarantined, Retry
from analect.store.pauses import awake
from analect.store.tables import commits, outbox, records

log = structlog.get_logger(__name__)

PENDING, CLAIMED, QUARANTINED = "pending", "claimed", "quarantined"
INTERACTIVE, COMMITTED, BACKLOG = 0, 1, 2
"""What someone waits for goes before what was just committed, and that before a reprocessing of
everything.
"""
WORKER_LOST = "worker_lost"
"""The code of an entry whose workers kept falling silent."""
QUEUE = "queue:"
"""Who holds an entry that waits in the queue: this and the name of the job it waits in."""
ALONE = 3
"""An entry whose workers fell silent so often shares no batch: it may be what silenced them."""

_LOOK_AT = 100
"""Entries considered in one claim: each is locked for the moment on Postgres."""
_PER_QUESTION = 500
"""SQLite refuses an expression deeper than 1,000."""
_PER_ENTRY = 500
"""Records of one entry made by :meth:`Outbox.requeue`."""

NOBODYS_FAULT = frozenset(
    error.code
    for error in (
        StoreUnavailable,
        EngineUnavailable,
        EngineMisconfigured,
        EngineReadOnly,
        EngineBusy,
    )
)
"""A record is never given up because something was away."""

DUE_AGAIN = {"state": PENDING, "claimed_by": None, "claimed_at": None}
"""What becomes of a claim that nobody holds any more."""

ids_held = func.coalesce(outbox.c.ids, commits.c.ids)
with_commits = outbox.outerjoin(commits, and_(commits.c.seq == outbox.c.commit_seq))
alone = and_(outbox.c.attempts >= ALONE, func.coalesce(outbox.c.error_code, "") == WORKER_LOST)
"""Whether an entry is processed by itself."""


class Outbox:
    """The queue of every processor. Thread-safe, and safe beside other processes."""

    def __init__(
        self,
        engine: Engine,
        *,
        retry: Retry | None = None,
        followers: Mapping[str, Sequence[str]] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``followers``: who gets the records of an entry once a processor has done with it.
        ``jitter`` gives numbers in [0, 1): waits are spread over their second half with it.
        """
        self._engine = engine
        self._retry = retry or Retry()
        self._followers = followers or {}
        self._jitter = jitter

    def claim(self, processor: str, worker: str, limit: int, now: Micros) -> list[Entry]:
        """Take due entries, oldest first, interactive ones before backlog.

        Args:
            processor: whose.
            worker: who takes them.
            limit: about so many records; one entry is taken even if it holds more.
            now: the time.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        # SQLite has one writer: look before queueing for its lock.
        if not is_postgres(self._engine):
            with read_transaction(self._engine) as connection:
                if not self._due(connection, processor, limit, now):
                    return []
        with write_transaction(self._engine, durable=False) as connection:
            seqs = self._due(connection, processor, limit, now)
            if not seqs:
                return []
            lease = {"state": CLAIMED, "claimed_by": worker, "claimed_at": now}
            connection.execute(update(outbox).where(outbox.c.seq.in_(seqs)).values(lease))
            return _load(connection, outbox.c.seq.in_(seqs))

    def take(
        self, job: str, seqs: Sequence[int], processor: str, worker: str, now: Micros
    ) -> list[Entry]:
        """Take over those of these entries that still wait in the queue for ``job``.

        A job that comes twice, or late, or while the processor is paused, gets nothing.
        """
        waiting = and_(
            outbox.c.seq.in_(seqs),
            outbox.c.processor == processor,
            outbox.c.state == CLAIMED,
            outbox.c.claimed_by == QUEUE + job,
            awake(processor),
        )
        lease = {"claimed_by": worker, "claimed_at": now}
        with write_transaction(self._engine, durable=False) as connection:
            taken = connection.execute(
                update(outbox).where(waiting).values(lease).returning(outbox.c.seq)
            )
            found = list(taken.scalars())
            return _load(connection, outbox.c.seq.in_(found)) if found else []

    def done(self, entries: Sequence[Entry], worker: str) -> int:
        """Remove what is finished, all of one processor, and leave it to those that follow; how
        many were still ``worker``'s to finish.
        """
        if not entries:
            return 0
        with write_transaction(self._engine, durable=False) as connection:
            leased = _leased(connection, entries, worker)
            for name in self._followers.get(entries[0].processor, ()):
                _follow(connection, name, leased)
            connection.execute(delete(outbox).where(outbox.c.seq.in_(leased)))
            return len(leased)

    def hand_back(self, entries: Sequence[Entry], worker: str) -> int:
        """Make due again what ``worker`` holds and did not begin; how many entries."""
        with write_transaction(self._engine, durable=False) as connection:
            leased = _leased(connection, entries, worker)
            connection.execute(update(outbox).where(outbox.c.seq.in_(leased)).values(DUE_AGAIN))
            return len(leased)

    def fail(
        self,
        entry: Entry,
        worker: str,
        code: str,
        now: Micros,
        *,
        transient: bool,
        ids: Sequence[RecordId] | None = None,
    ) -> None:
        """Say that ``entry`` failed, or only its ``ids`` (the rest of it is then done).

        A transient failure is tried again later. Otherwise named ids are quarantined; an entry
        that failed as a whole is split in halves until the poison record stands alone. Nothing
        happens when the lease is lost.
        """
        with write_transaction(self._engine, durable=False) as connection:
            if not _leased(connection, [entry], worker):
                return
            self._settle(connection, entry, tuple(ids or ()), code, now, transient=transient)

    def release_stale(self, now: Micros, older_than: Micros) -> int:
        """Give back entries claimed more than ``older_than`` microseconds ago; how many."""
        with read_transaction(self._engine) as connection:
            if not _stale(connection, now - older_than):
                return 0
        with write_transaction(self._engine, durable=False) as connection:
            entries = _load(connection, outbox.c.seq.in_(_stale(connection, now - older_than)))
            self._release(connection, entries, now)
        log.warning("stale claims released", entries=len(entries))
        return len(entries)

    def claimants(self) -> set[str]:
        """The workers that hold claims."""
        held = select(outbox.c.claimed_by).where(outbox.c.claimed_by.is_not(None)).distinct()
        with read_transaction(self._engine) as connection:
            return set(connection.execute(held).scalars())

    def release_of(self, worker: str, now: Micros) -> int:
        """Give back what a worker held that is known to be gone; how many entries."""
        with write_transaction(self._engine, durable=False) as connection:
            entries = _load(connection, outbox.c.claimed_by == worker)
            self._release(connection, entries, now)
        log.warning("claims of a dead worker released", entries=len(entries))
        return len(entries)

    def _release(self, connection: Connection, entries: Sequence[Entry], now: Micros) -> None:
        # Nobody touched what waited in the queue: that is no attempt.
        untouched = [entry.seq for entry in entries if _in_queue(entry)]
        connection.execute(update(outbox).where(outbox.c.seq.in_(untouched)).values(DUE_AGAIN))
        for entry in entries:
            # A record that kills its worker never reports a failure: the loss counts as one.
            if not _in_queue(entry):
                self._settle(connection, entry, (), WORKER_LOST, now, transient=True)

    def requeue(
        self,
        ids: Sequence[RecordId],
        processors: Sequence[str],
        now: Micros,
        priority: int = INTERACTIVE,
    ) -> int:
        """Process these records again, those in quarantine included; how many entries were made."""
        if not ids or not processors:
            return 0
        first = [name for name in processors if not self._upstream(name) & set(processors)]
        raw = [id_bytes(record_id) for record_id in ids]
        chunks = [b"".join(raw[i : i + _PER_ENTRY]) for i in range(0, len(raw), _PER_ENTRY)]
        rows = [
            _row(name, chunk, "put", now, now, priority=priority)
            for name in first
            for chunk in chunks
        ]
        with write_transaction(self._engine) as connection:
            for i in range(0, len(raw), _PER_ENTRY):
                _leave_quarantine(connection, raw[i : i + _PER_ENTRY], processors, now)
            connection.execute(insert(outbox), rows)
        return len(rows)

    def pending(self, ids: Sequence[RecordId], processors: Sequence[str]) -> bool:
        """Whether any of these records still waits for any of these processors.

        What is quarantined waits no longer.
        """
        if not processors:
            return False
        processors = list(set(processors).union(*map(self._upstream, processors)))
        chunks = (ids[i : i + _PER_QUESTION] for i in range(0, len(ids), _PER_QUESTION))
        return any(self._pending(chunk, processors) for chunk in chunks)

    def _upstream(self, processor: str) -> set[str]:
        """Those that must have done with a record before ``processor`` gets it."""
        before = {name for name, after in self._followers.items() if processor in after}
        return before.union(*map(self._upstream, before))

    def _pending(self, ids: Sequence[RecordId], processors: Sequence[str]) -> bool:
        holds = func.instr if not is_postgres(self._engine) else _position
        with read_transaction(self._engine) as connection:
            since = connection.execute(
                select(func.min(records.c.received_at)).where(records.c.id.in_(ids))
            ).scalar_one()
            if since is None:
                return False
            # An entry is made after its records were received: older ones need no look inside.
            question = (
                select(outbox.c.seq)
                .select_from(with_commits)
                .where(
                    outbox.c.processor.in_(processors),
                    outbox.c.state.in_((PENDING, CLAIMED)),
                    outbox.c.created_at >= since,
                    or_(*(holds(ids_held, id_bytes(record_id)) > 0 for record_id in ids)),
                )
                .limit(1)
            )
            return connection.execute(question).first() is not None

    def depth(self) -> dict[str, Depth]:
        """What waits, by processor; read from the index alone but for the oldest entries."""
        grouped = select(
            outbox.c.processor, outbox.c.state, func.count(), func.min(outbox.c.seq)
        ).group_by(outbox.c.processor, outbox.c.state)
        found: dict[str, Depth] = {}
        with read_transaction(self._engine) as connection:
            rows = connection.execute(grouped).all()
            firsts = select(outbox.c.seq, outbox.c.created_at).where(
                outbox.c.seq.in_([row[3] for row in rows])
            )
            made = {row.seq: row.created_at for row in connection.execute(firsts)}
            waiting = {row.processor for row in rows if row.state != QUARANTINED}
            codes = {processor: _code(connection, processor) for processor in waiting}
        for processor, state, count, first in rows:
            before = found.get(processor, Depth())
            if state == QUARANTINED:
                found[processor] = replace(before, quarantined=count)
                continue
            oldest = [at for at in (before.oldest, made.get(first)) if at is not None]
            found[processor] = replace(
                before,
                entries=before.entries + count,
                oldest=min(oldest, default=None),
                code=codes[processor],
            )
        return found

    def quarantined(self, limit: int = 100) -> list[Quarantined]:
        """What stands in quarantine, newest first."""
        with read_transaction(self._engine) as connection:
            names = _processors(connection)
            where = and_(outbox.c.processor.in_(names), outbox.c.state == QUARANTINED)
            rows = connection.execute(
                select(outbox).where(where).order_by(outbox.c.seq.desc()).limit(limit)
            ).all()
        return [
            Quarantined(
                seq=row.seq,
                processor=row.processor,
                operation=row.operation,
                record_id=id_text(bytes(row.ids)),
                code=row.error_code or "",
                attempts=row.attempts,
                created_at=row.created_at,
            )
            for row in rows
        ]

    def _due(self, connection: Connection, processor: str, limit: int, now: Micros) -> list[int]:
        """Entries to take: as many as hold about ``limit`` records."""
        chosen: list[int] = []
        held = 0
        for one in due_entries(connection, processor, min(limit, _LOOK_AT), now):
            if chosen and (one.alone or held + one.records > limit):
                break
            chosen.append(one.seq)
            held += one.records
            if one.alone:
                break
        return chosen

    def _settle(
        self,
        connection: Connection,
        entry: Entry,
        failed: tuple[RecordId, ...],
        code: str,
        now: Micros,
        *,
        transient: bool,
    ) -> None:
        """Back off, quarantine what is named, or split; the entry is replaced by what follows."""
        attempts = entry.attempts + 1
        ids = failed or entry.ids
        follow: list[dict[str, Any]] = []
        patient = code in NOBODYS_FAULT and len(ids) == 1
        if transient and (patient or attempts < self._retry.attempts):
            follow.append(_again(entry, ids, attempts, now + self._wait(attempts, code), code))
        elif not transient and failed:
            follow += [_poison(entry, record_id, attempts, code) for record_id in failed]
        elif len(ids) == 1:
            follow.append(_poison(entry, ids[0], attempts, code))
        else:
            middle = len(ids) // 2
            kept = attempts // 2 if transient else attempts
            follow += [
                _again(entry, half, kept, now, code) for half in (ids[:middle], ids[middle:])
            ]
        for row in follow:
            if row["state"] == QUARANTINED:
                log.warning("record quarantined", processor=entry.processor, code=code)
        poisoned = [id_text(row["ids"]) for row in follow if row["state"] == QUARANTINED]
        through = [*poisoned, *(id_ for id_ in entry.ids if failed and id_ not in failed)]
        if through and entry.operation == "put":
            for name in self._followers.get(entry.processor, ()):
                passed = _again(entry, through, 0, entry.created_at, None)
                follow.append({**passed, "processor": name})
        connection.execute(delete(outbox).where(outbox.c.seq == entry.seq))
        if follow:
            connection.execute(insert(outbox), follow)

    def _wait(self, attempts: int, code: str) -> Micros:
        longest = self._retry.away if code in NOBODYS_FAULT else self._retry.longest
        full = min(self._retry.first << min(attempts - 1, 40), max(longest, self._retry.first))
        return int(full * (0.5 + 0.5 * self._jitter()))


def _code(connection: Connection, processor: str) -> str | None:
    """Why an entry is to be tried again: what failed waits longest."""
    for priority in (INTERACTIVE, COMMITTED, BACKLOG):
        last = (
            select(outbox.c.error_code)
            .where(
                outbox.c.processor == processor,
                outbox.c.state == PENDING,
                outbox.c.priority == priority,
            )
            .order_by(outbox.c.not_before.desc(), outbox.c.seq.desc())
            .limit(1)
        )
        if (code := connection.execute(last).scalar_one_or_none()) is not None:
            return str(code)
    return None


def due_entries(connection: Connection, processor: str, limit: int, now: Micros) -> Iterator[Due]:
    """What may be processed now, the first first, locked on Postgres; at most ``limit``. What is
    less urgent is looked for only when the caller gets so far.
    """
    left = limit
    for priority in (INTERACTIVE, COMMITTED, BACKLOG):
        wanted = (
            select(outbox.c.seq, func.length(ids_held), alone)
            .select_from(with_commits)
            .where(
                outbox.c.processor == processor,
                outbox.c.state == PENDING,
                outbox.c.priority == priority,
                outbox.c.not_before <= now,
                awake(processor),
            )
            .order_by(outbox.c.not_before, outbox.c.seq)
            .limit(left)
            .with_for_update(skip_locked=True, of=outbox)
        )
        for seq, size, by_itself in connection.execute(wanted).all():
            left -= 1
            yield Due(seq, (size or 0) // 16, by_itself, priority == INTERACTIVE)
        if left <= 0:
            return


def _row(
    processor: str, ids: bytes, operation: str, not_before: Micros, created_at: Micros, **rest: Any
) -> dict[str, Any]:
    return {
        "processor": processor,
        "commit_seq": None,
        "ids": ids,
        "operation": operation,
        "state": PENDING,
        "priority": INTERACTIVE,
        "attempts": 0,
        "not_before": not_before,
        "error_code": None,
        "created_at": created_at,
        **rest,
    }


def _again(
    entry: Entry, ids: Iterable[RecordId], attempts: int, not_before: Micros, code: str | None
) -> dict[str, Any]:
    return _row(
        entry.processor,
        b"".join(map(id_bytes, ids)),
        entry.operation,
        not_before,
        entry.created_at,
        commit_seq=entry.commit_seq,
        priority=entry.priority,
        attempts=attempts,
        error_code=code,
    )


def _poison(entry: Entry, record_id: RecordId, attempts: int, code: str) -> dict[str, Any]:
    row = _again(entry, (record_id,), attempts, 0, code)
    return {**row, "state": QUARANTINED}


def _load(connection: Connection, where: Any) -> list[Entry]:
    rows = connection.execute(
        select(outbox, ids_held.label("covered"))
        .select_from(with_commits)
        .where(where)
        .order_by(outbox.c.priority, outbox.c.not_before, outbox.c.seq)
    )
    return [
        Entry(
            seq=row.seq,
            processor=row.processor,
            operation=row.operation,
            ids=_split(bytes(row.covered or b"")),
            attempts=row.attempts,
            priority=row.priority,
            commit_seq=row.commit_seq,
            created_at=row.created_at,
            claimed_by=row.claimed_by,
            claimed_at=row.claimed_at,
        )
        for row in rows
    ]


def _in_queue(entry: Entry) -> bool:
    return (entry.claimed_by or "").startswith(QUEUE)


def _follow(connection: Connection, processor: str, seqs: Sequence[int]) -> None:
    """Leave what these entries cover to another processor, in the order of their commits."""
    done = select(
        literal(processor),
        outbox.c.commit_seq,
        outbox.c.ids,
        outbox.c.operation,
        literal(PENDING),
        outbox.c.priority,
        literal(0),
        outbox.c.created_at,
        outbox.c.created_at,
    ).where(outbox.c.seq.in_(seqs), outbox.c.operation == "put")
    columns = ["processor", "commit_seq", "ids", "operation", "state", "priority", "attempts"]
    columns += ["not_before", "created_at"]
    connection.execute(insert(outbox).from_select(columns, done))


def _split(raw: bytes) -> tuple[RecordId, ...]:
    return tuple(id_text(raw[i : i + 16]) for i in range(0, len(raw), 16))


def _leased(connection: Connection, entries: Sequence[Entry], worker: str) -> list[int]:
    """Those of ``entries`` whose lease still stands, locked."""
    lease = {entry.seq: entry.claimed_at for entry in entries}
    found = connection.execute(
        select(outbox.c.seq, outbox.c.claimed_at)
        .where(
            outbox.c.seq.in_(list(lease)),
            outbox.c.state == CLAIMED,
            outbox.c.claimed_by == worker,
        )
        .order_by(outbox.c.seq)
        .with_for_update()
    )
    return [seq for seq, claimed_at in found if lease[seq] == claimed_at]


def _processors(connection: Connection) -> list[str]:
    """Whose entries there are: one step in the index for each, never a walk over all entries."""
    names: list[str] = []
    smallest = select(func.min(outbox.c.processor))
    name = connection.execute(smallest).scalar()
    while name is not None:
        names.append(name)
        name = connection.execute(smallest.where(outbox.c.processor > name)).scalar()
    return names


def _stale(connection: Connection, before: Micros) -> list[int]:
    found = connection.execute(
        select(outbox.c.seq)
        .where(
            outbox.c.processor.in_(_processors(connection)),
            outbox.c.state == CLAIMED,
            outbox.c.claimed_at <= before,
        )
        .with_for_update(skip_locked=True)
    )
    return list(found.scalars())


def _leave_quarantine(
    connection: Connection, raw: Sequence[bytes], processors: Sequence[str], now: Micros
) -> None:
    there = and_(
        outbox.c.processor.in_(processors),
        outbox.c.state == QUARANTINED,
        outbox.c.ids.in_(raw),
    )
    connection.execute(delete(outbox).where(there, outbox.c.operation == "put"))
    again = {"state": PENDING, "attempts": 0, "not_before": now}
    connection.execute(update(outbox).where(there).values(again))  # deletions are still owed


def _position(covered: Any, record_id: bytes) -> Any:
    return func.position(literal(record_id).op("IN")(covered))
