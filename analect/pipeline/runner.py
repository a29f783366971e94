"""Drains the outbox: claim, open, process, mark done; or back off, split, quarantine.

One runner serves the thread inside ``analect serve``, ``analect process`` and ``analect daemon``
alike. A claim is a lease: whoever loses it has no effect on the entry any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore
from time import perf_counter, sleep
from typing import Protocol

import structlog

from analect.model.errors import (
    AnalectError,
    EngineUnavailable,
    NotFound,
    StoreUnavailable,
    TransientError,
)
from analect.model.ids import Clock, RecordId
from analect.model.query import Annotation
from analect.model.record import Record
from analect.pipeline.ahead import in_step
from analect.pipeline.pacing import Away, Rate, took_none
from analect.pipeline.processor import Outcome, Processor, lanes_of, put_back
from analect.settings import Limits
from analect.store.entries import Entry
from analect.store.outbox import Outbox

log = structlog.get_logger(__name__)

_RATE_SECONDS = 0.05
"""How soon to look again at a processor whose rate is used up."""
_SHARE_OF_LEASE = 4
"""A worker begins no other batch of a job after this part of its lease: there is time to finish."""


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """``limits``: how much of a processor's work is done at once, by its name. ``lease``: seconds
    after which an entry claimed by a worker that went silent goes back.
    """

    limits: Callable[[str], Limits] = lambda _name: Limits(batch_size=500)
    lease: float = 300.0


@dataclass(frozen=True, slots=True)
class _Tried:
    """What became of a batch in its processor: without an outcome and an error it was not begun."""

    outcome: Outcome | None = None
    error: Exception | None = None
    seconds: float = 0.0


class Observer(Protocol):
    """Hears what was processed, for metrics."""

    def processed(self, processor: str, records: int, failed: int, seconds: float) -> None:
        """One batch is through."""
        ...


class Runner:
    """Feeds processors from the outbox."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        processors: Mapping[str, Processor],
        load: Callable[[Sequence[RecordId]], list[Record]],
        absent: Callable[[Sequence[RecordId]], Collection[RecordId]],
        indexed: Callable[[Sequence[RecordId]], Collection[RecordId]],
        annotate: Callable[[Sequence[Annotation]], object],
        observer: Observer,
        options: RunnerOptions,
        worker: str,
        clock: Clock,
    ) -> None:
        """``absent`` says which records are not stored any more, ``indexed`` of which processors
        are to keep what they made: other records are stored where nothing is looked for.
        """
        self._outbox = outbox
        self._processors = processors
        self._load = load
        self._absent = absent
        self._indexed = indexed
        self._annotate = annotate
        self._observer = observer
        self._options = options
        self._worker = worker
        self._clock = clock
        self._unsettled: deque[Entry] = deque()
        rates = {name: options.limits(name).rate for name in processors}
        self._rates = {name: Rate(rate) for name, rate in rates.items() if rate is not None}
        self._away = {name: Away() for name in processors}
        self._lanes = {name: lanes_of(one) for name, one in processors.items()}
        self._turns = {name: BoundedSemaphore(lanes) for name, lanes in self._lanes.items()}

    @property
    def processors(self) -> Mapping[str, Processor]:
        """What it feeds, by name."""
        return self._processors

    def drain(
        self,
        processor: str | None = None,
        limit: int | None = None,
        stop: Callable[[], bool] = lambda: False,
        after: Callable[[float], object] = lambda _seconds: None,
        pause: Callable[[float], object] = sleep,
    ) -> int:
        """Process what is due, all processors in turn; how many record-steps were done.

        Args:
            processor: only this one.
            limit: stop after about so many.
            stop: asked between batches.
            after: told of the seconds that each batch took; may wait.
            pause: waits so many seconds, when nothing else is left than what a rate holds back.

        Raises:
            NotFound: there is no such processor.
        """
        if processor is not None and processor not in self._processors:
            raise NotFound(
                f"no processor {processor!r}; there are: {', '.join(self._processors)}",
                field="processor",
            )
        names = [processor] if processor is not None else list(self._processors)
        self._give_back()
        self._outbox.release_stale(self._clock(), older_than=int(self._options.lease * 1_000_000))
        handled = 0
        busy = True
        while busy and not stop() and (limit is None or handled < limit):
            busy = False
            held_back = False
            for name in names:
                room = None if limit is None else limit - handled
                if room is not None and room <= 0:
                    break
                started = perf_counter()
                count = self.step(name, room)
                if count:
                    after(perf_counter() - started)
                held_back = held_back or count is None
                busy = busy or bool(count)
                handled += count or 0
            if held_back and not busy:
                pause(_RATE_SECONDS)
                busy = True
        return handled

    def step(self, name: str, limit: int | None = None) -> int | None:
        """One claim of one processor, of about ``limit`` records at most; how many it held (0:
        nothing was due, or its engine is away; None: its rate allows none now).
        """
        rate = self._rates.get(name)
        size = self._options.limits(name).batch_size or 1
        if limit is not None:
            size = min(size, limit)
        if rate is not None:
            size = min(size, rate.left())
        if size <= 0:
            return None
        if self._away[name].left():
            return 0
        entries = self._outbox.claim(name, self._worker, size, self._clock())
        count = self._handle(name, entries) if entries else 0
        if rate is not None:
            rate.spend(count)
        return count

    def resting(self, name: str) -> float:
        """Seconds to leave a processor alone, for its engine is away; mostly none."""
        return self._away[name].left()

    def take(
        self, name: str, job: str, seqs: Sequence[int], stop: Callable[[], bool] = lambda: False
    ) -> int:
        """Process those of these entries that wait in the queue for ``job``, batch by batch until
        ``stop`` says so; how many records were in what was begun (0: none of them waits there any
        more).

        Raises:
            StoreUnavailable: nothing is known of the entries; they stay where they are.
        """
        self._give_back()
        entries = self._outbox.take(job, seqs, name, self._worker, self._clock())
        return self._handle(name, entries, stop) if entries else 0

    def _handle(
        self, name: str, entries: Sequence[Entry], stop: Callable[[], bool] = lambda: False
    ) -> int:
        puts = [entry for entry in entries if entry.operation == "put"]
        deletes = [entry for entry in entries if entry.operation == "delete"]
        try:
            count = self._put_all(name, puts, stop) if puts else 0
            count += self._delete_all(name, deletes) if deletes else 0
        except AnalectError:
            self._unsettled.extend(entries)
            raise
        return count

    def _give_back(self) -> None:
        """Let go of claims whose end could not be written: the store went away under them, and
        nobody else may take them before their lease is over.
        """
        for entry in list(self._unsettled):
            code = StoreUnavailable.code
            self._outbox.fail(entry, self._worker, code, self._clock(), transient=True)
            with suppress(ValueError):  # another thread may have been as quick
                self._unsettled.remove(entry)

    def _put_all(self, name: str, entries: Sequence[Entry], stop: Callable[[], bool]) -> int:
        """In batches, each settled by itself; how many records were in those that were begun."""
        end = perf_counter() + self._options.lease / _SHARE_OF_LEASE
        batches = list(_batches(entries, self._options.limits(name).batch_size or 1))

        def work(batch: Sequence[Entry], loaded: Callable[[], list[Record]]) -> _Tried:
            over = stop() or perf_counter() > end or bool(self._away[name].left())
            # The rest is handed back, and counts as no attempt.
            return _Tried() if over and batch is not batches[0] else self._try(name, loaded)

        settle = partial(self._settled, name)
        lanes = self._lanes[name]
        return sum(in_step(batches, load=self._read, work=work, settle=settle, lanes=lanes))

    def _put(self, name: str, entries: Sequence[Entry]) -> int:
        """One batch, here and now; how many records failed."""
        tried = self._try(name, lambda: self._read(entries))
        return self._settle(name, entries, tried)

    def _read(self, entries: Sequence[Entry]) -> list[Record]:
        return self._opened(_ids_of(entries))

    def _opened(self, ids: Sequence[RecordId]) -> list[Record]:
        return [r for r in self._load(ids) if r.payload_state != "erased"]

    def _try(self, name: str, loaded: Callable[[], list[Record]]) -> _Tried:
        started = perf_counter()
        try:
            records = loaded()
            with self._turns[name]:
                outcome = self._processors[name].process(records) if records else Outcome()
        except Exception as error:
            self._heed(name, error)
            return _Tried(error=error, seconds=perf_counter() - started)
        if took_none(outcome.failures, len(records)):
            self._away[name].failed()
        else:
            self._away[name].answered()
        return _Tried(outcome, seconds=perf_counter() - started)

    def _settled(self, name: str, entries: Sequence[Entry], tried: _Tried) -> int:
        """How many records were in ``entries``, if it was begun."""
        if tried.outcome is None and tried.error is None:
            self._outbox.hand_back(entries, self._worker)
            return 0
        failed = self._settle(name, entries, tried)
        count = sum(len(entry.ids) for entry in entries)
        self._observer.processed(name, count - failed, failed, tried.seconds)
        return count

    def _settle(self, name: str, entries: Sequence[Entry], tried: _Tried) -> int:
        """Make done, or failed, what the processor had; how many records failed."""
        if tried.error is not None:
            return self._all_failed(name, entries, tried.error, self._put)
        outcome = tried.outcome or Outcome()
        try:
            self._keep(name, _ids_of(entries), outcome)
        except Exception as error:
            self._heed(name, error)
            return self._all_failed(name, entries, error, self._put)
        refused = {failure.id: failure for failure in outcome.failures}
        good = [entry for entry in entries if refused.keys().isdisjoint(entry.ids)]
        self._outbox.done(good, self._worker)
        for entry in entries:
            mine = [refused[id_] for id_ in entry.ids if id_ in refused]
            if mine:
                self._outbox.fail(
                    entry,
                    self._worker,
                    mine[0].code,
                    self._clock(),
                    transient=all(failure.transient for failure in mine),
                    ids=[failure.id for failure in mine],
                )
        return len(refused)

    def _keep(self, name: str, ids: Sequence[RecordId], outcome: Outcome) -> None:
        """What was erased on the way, or left the indexes, must not come back: its deletion may have
        been processed already.
        """
        dropped = list(set(ids).difference(self._indexed(ids)))
        gone: Collection[RecordId] = ()
        if dropped:
            self._forget(name, dropped)
            gone = set(self._absent(dropped))
        if kept := [one for one in outcome.annotations if one.record_id not in gone]:
            self._annotate(kept)

    def _delete_all(self, name: str, entries: Sequence[Entry]) -> int:
        started = perf_counter()
        failed = self._delete(name, entries)
        count = sum(len(entry.ids) for entry in entries)
        self._observer.processed(name, count - failed, failed, perf_counter() - started)
        return count

    def _delete(self, name: str, entries: Sequence[Entry]) -> int:
        ids = [id_ for entry in entries for id_ in entry.ids]
        try:
            self._forget(name, ids)
        except Exception as error:
            self._heed(name, error)
            return self._all_failed(name, entries, error, self._delete)
        self._outbox.done(entries, self._worker)
        return 0

    def _forget(self, name: str, ids: Sequence[RecordId]) -> None:
        """Drop what was derived from these records, then put back those that stand all the same:
        they were deleted, and sent again. In this order nothing is left of what was deleted, and
        whatever comes meanwhile is seen.
        """
        processor = self._processors[name]
        size = self._options.limits(name).batch_size or 1
        with self._turns[name]:
            processor.forget(ids)
            again = list(self._indexed(ids))
            for start in range(0, len(again), size):
                records = self._opened(again[start : start + size])
                outcome = put_back(processor, records, self._clock()) if records else Outcome()
                if any(failure.transient for failure in outcome.failures):
                    raise EngineUnavailable(f"{name} did not take back every record; try again")
                # What is refused for good is quarantined by the entry that it came with.
                if outcome.annotations:
                    self._annotate(outcome.annotations)

    def _heed(self, name: str, error: Exception) -> None:
        """Leave an engine alone for a while that is away."""
        if isinstance(error, EngineUnavailable):
            self._away[name].failed()

    def _all_failed(
        self,
        name: str,
        entries: Sequence[Entry],
        error: Exception,
        again: Callable[[str, Sequence[Entry]], int],
    ) -> int:
        # A processor's own bug is no reason to lose a record or to stop: back off, split, and in
        # the end quarantine with a code. The message may quote a value, so only the type is kept.
        code = error.code if isinstance(error, AnalectError) else type(error).__name__
        transient = isinstance(error, TransientError)
        log.warning("processing failed", processor=name, code=code, entries=len(entries))
        if not transient and len(entries) > 1:  # no entry answers for what its neighbour holds
            middle = len(entries) // 2
            return again(name, entries[:middle]) + again(name, entries[middle:])
        for entry in entries:
            self._outbox.fail(entry, self._worker, code, self._clock(), transient=transient)
        return sum(len(entry.ids) for entry in entries)


def _ids_of(entries: Sequence[Entry]) -> list[RecordId]:
    return list(dict.fromkeys(id_ for entry in entries for id_ in entry.ids))


def _batches(entries: Sequence[Entry], size: int) -> Iterator[list[Entry]]:
    """Of about ``size`` records; an entry that holds more is one by itself."""
    batch: list[Entry] = []
    held = 0
    for entry in entries:
        if batch and held + len(entry.ids) > size:
            yield batch
            batch, held = [], 0
        batch.append(entry)
        held += len(entry.ids)
    if batch:
        yield batch
