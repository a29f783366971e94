"""Indexes are disposable: make one again from the truth, or compare it with the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from analect.index.catalog import Indexes
from analect.index.protocols import Index, Resumable
from analect.lifecycle.tiers.reads import TieredReads
from analect.model.errors import AnalectError, EngineUnavailable
from analect.model.ids import Clock, RecordId
from analect.model.query import MAX_LIMIT, RecordFilter
from analect.model.record import Record
from analect.pipeline.pacing import took_none
from analect.store.feed import Feed

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]
"""Called with (records done, records in all)."""

BATCH = 500


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What differs between truth and index. Counts are whole; the id lists are bounded. ``waiting``:
    how many records the index did not take when they were mended; they wait for processing.
    """

    index: str
    truth: int
    indexed: int
    missing: int
    stale: int
    orphaned: int
    examples: tuple[RecordId, ...]
    repaired: bool
    waiting: int = 0

    @property
    def clean(self) -> bool:
        """Nothing differs."""
        return not (self.missing or self.stale or self.orphaned)


class Upkeep:
    """Rebuilds and verifies."""

    def __init__(
        self,
        *,
        indexes: Indexes,
        reads: TieredReads,
        feed: Feed,
        load: Callable[[Sequence[RecordId]], list[Record]],
        requeue: Callable[[Sequence[RecordId], Sequence[str]], int],
        clock: Clock,
    ) -> None:
        self._indexes = indexes
        self._reads = reads
        self._feed = feed
        self._load = load
        self._requeue = requeue
        self._clock = clock

    def rebuild(self, name: str, progress: Progress | None = None) -> int:
        """Fill a fresh index from the truth while the old one answers, then switch. Where the
        engine keeps what an interrupted rebuild had put in, this one goes on from there.

        Returns:
            How many records the fresh index holds.

        Raises:
            InvalidInput: no such index.
            EngineUnavailable: the engine takes nothing; the old index goes on answering.
        """
        index = self._indexes.named(name)
        began = self._feed.head()
        total = self._reads.count(RecordFilter())
        with index.rebuilding() as fresh:
            reached = fresh.reached() if isinstance(fresh, Resumable) else None
            done = 0 if reached is None else fresh.count()
            for ids in _batches(self._all_ids(reached)):
                records = [r for r in self._load(ids) if r.payload_state != "erased"]
                failures = self._indexes.fill(name, fresh, records)
                if took_none(failures, len(records)):
                    raise EngineUnavailable(
                        f"the {name} index takes nothing ({failures[0].code}), and the one there "
                        f"was goes on answering: `analect rebuild {name}` goes on from here"
                    )
                # What a fresh index refuses goes through the outbox, to be retried or quarantined.
                self._requeue([failure.id for failure in failures], [name])
                if isinstance(fresh, Resumable):
                    fresh.reach(ids[-1])
                done += len(ids)
                if progress is not None:
                    progress(done, max(total, done))
        self._drop_erased(index, began)
        return index.count()

    def _drop_erased(self, index: Index, since: str) -> None:
        """A record read here and erased before it was put in must leave no trace behind."""
        cursor = since
        erased = False
        while (page := self._feed.changes(cursor, MAX_LIMIT)).items:
            gone = [change.record_id for change in page.items if change.operation == "delete"]
            if gone:
                index.delete(gone)
                erased = True
            cursor = page.next or cursor
        if erased:
            index.purge()

    def verify(self, name: str, *, repair: bool = False) -> VerifyReport:
        """Walk truth and index side by side in id order, in bounded memory.

        Args:
            name: ``text``, ``vectors`` or ``graph``.
            repair: put in what is missing, replace what is stale, and drop what is orphaned. What
                cannot be put in now goes through the outbox, to be retried or quarantined.
        """
        index = self._indexes.named(name)
        began = self._feed.head()
        found: dict[str, list[RecordId]] = {"missing": [], "stale": [], "orphaned": []}
        counts = dict.fromkeys((*found, "truth", "indexed"), 0)
        examples: list[RecordId] = []
        waiting = 0
        for kind, record_id in differences(self._reads.hashes(), index.entries(), counts):
            counts[kind] += 1
            if len(examples) < 20:
                examples.append(record_id)
            if repair:
                found[kind].append(record_id)
                waiting += self._repair(name, index, found, at_least=BATCH)
        if repair:
            waiting += self._repair(name, index, found, at_least=1)
            if counts["missing"] or counts["stale"]:
                self._drop_erased(index, began)
        return VerifyReport(
            index=name,
            truth=counts["truth"],
            indexed=counts["indexed"],
            missing=counts["missing"],
            stale=counts["stale"],
            orphaned=counts["orphaned"],
            examples=tuple(examples),
            repaired=repair,
            waiting=waiting,
        )

    def _repair(
        self, name: str, index: Index, found: dict[str, list[RecordId]], *, at_least: int
    ) -> int:
        """How many records wait for processing now."""
        waiting = 0
        for kind, ids in found.items():
            if len(ids) < at_least:
                continue
            if kind == "orphaned":
                index.delete(ids)
            else:
                waiting += self._put(name, index, ids)
            ids.clear()
        return waiting

    def _put(self, name: str, index: Index, ids: Sequence[RecordId]) -> int:
        """How many of these it did not take. They go in as of now: an engine that keeps the later
        of two versions may hold one in a record's place that is later than its receipt, or remember
        that one was deleted.
        """
        now = self._clock()
        records = [r for r in self._load(ids) if r.payload_state != "erased"]
        try:
            left = [failure.id for failure in self._indexes.fill(name, index, records, seen_at=now)]
        except AnalectError as error:
            log.warning("not mended at once", index=name, code=error.code, records=len(records))
            left = [record.id for record in records]
        self._requeue(left, [name])
        return len(left)

    def _all_ids(self, after: RecordId | None) -> Iterator[RecordId]:
        return (record_id for record_id, _ in self._reads.hashes(after))


def _batches(ids: Iterator[RecordId]) -> Iterator[list[RecordId]]:
    while batch := list(islice(ids, BATCH)):
        yield batch


def differences(
    truth: Iterator[tuple[RecordId, bytes]],
    indexed: Iterator[tuple[RecordId, bytes]],
    counts: dict[str, int],
) -> Iterator[tuple[str, RecordId]]:
    """Merge two sorted walks; (kind of difference, id) wherever they disagree."""
    ours, theirs = next(truth, None), next(indexed, None)
    while ours is not None or theirs is not None:
        if theirs is None or (ours is not None and ours[0] < theirs[0]):
            assert ours is not None  # noqa: S101  (the loop's condition; for the type checker)
            counts["truth"] += 1
            yield "missing", ours[0]
            ours = next(truth, None)
        elif ours is None or theirs[0] < ours[0]:
            counts["indexed"] += 1
            yield "orphaned", theirs[0]
            theirs = next(indexed, None)
        else:
            counts["truth"] += 1
            counts["indexed"] += 1
            if ours[1] != theirs[1]:
                yield "stale", ours[0]
            ours, theirs = next(truth, None), next(indexed, None)
