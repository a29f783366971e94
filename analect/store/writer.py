"""Group commit: one thread that commits what has arrived since its last commit.

What is there is committed at once unless more is known to be on its way (see
:mod:`analect.store.company`): then it waits for that a few milliseconds, for one commit of two
batches costs hardly more than one of the first. Every caller hears of its own batch, and only of
its own.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, auto
from time import monotonic

import structlog
from sqlalchemy import Engine

from analect.model.errors import (
    AnalectError,
    Conflict,
    Overloaded,
    StoreUnavailable,
    TransientError,
)
from analect.model.ids import Clock
from analect.store.append import AppendResult, AppendSql, KeyRace, Request, write_group
from analect.store.append_postgres import PostgresAppend
from analect.store.append_sqlite import SqliteAppend
from analect.store.company import Company
from analect.store.engine import is_postgres, write_transaction
from analect.store.partitions import Partitions
from analect.telemetry.logs import trace_of

log = structlog.get_logger(__name__)

ROW_BYTES = 700
"""What a record weighs in the queue besides its payload, about."""
LINGER = 0.02
"""Seconds that a commit waits at most for batches that are on their way."""
ENOUGH = 400
"""Rows of a commit that nothing is gained by waiting with."""
_ATTEMPTS = 3
"""Of one commit that lost a race with another process."""


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """``rows`` and ``bytes``: of one commit. ``queued_bytes``: of all that waits."""

    rows: int = 2_000
    bytes: int = 16 * 1024 * 1024
    queued_bytes: int = 64 * 1024 * 1024


@dataclass(slots=True)
class _Job:
    request: Request
    answer: Future[AppendResult]
    size: int


class _Signal(Enum):
    """What is in the queue besides jobs."""

    END = auto()
    ALONE = auto()


class Writer:
    """Takes batches from any thread; ``append`` never waits for the disk."""

    def __init__(
        self,
        engine: Engine,
        partitions: Partitions,
        *,
        clock: Clock,
        limits: WriterLimits = WriterLimits(),
        on_commit: Callable[[], None] = lambda: None,
        observe: Callable[[int, float], None] = lambda _rows, _seconds: None,
    ) -> None:
        """``on_commit`` is called after every commit that stored something, ``observe`` with the
        rows and seconds of every commit; both from the writer's thread.
        """
        self._engine = engine
        self._partitions = partitions
        self._sql: AppendSql = PostgresAppend() if is_postgres(engine) else SqliteAppend()
        self._clock = clock
        self._limits = limits
        self._on_commit = on_commit
        self._observe = observe
        self.company = Company()
        """Who is on the way to :meth:`append`."""
        self._queue: queue.SimpleQueue[_Job | _Signal] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._queued_bytes = 0
        self._closed = False
        self._held_over: _Job | None = None
        self.disk_was_full = False
        """Since it was last set to False: whoever asks after health looks closer then."""
        self.seconds_writing = 0.0
        """Spent on commits since the beginning."""
        self._thread = threading.Thread(target=self._run, name="analect-writer", daemon=True)
        self._thread.start()

    @property
    def queued_bytes(self) -> int:
        """What waits to be committed, about."""
        return self._queued_bytes

    def append(self, request: Request) -> Future[AppendResult]:
        """Queue one batch.

        Returns:
            Done when the batch is durable. Its exception is a :class:`KeyRace`, or of
            :mod:`analect.model.errors`; then nothing of the batch was stored.

        Raises:
            Overloaded: too much waits already.
            StoreUnavailable: the writer was closed.
        """
        answer: Future[AppendResult] = Future()
        size = sum(ROW_BYTES + len(item.payload or b"") for item in request.batch)
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is shutting down; try again")
            if self._queued_bytes and self._queued_bytes + size > self._limits.queued_bytes:
                raise Overloaded("too many records wait to be written", retry_after=1.0)
            self._queued_bytes += size
            self._queue.put(_Job(request, answer, size))
        return answer

    def close(self, timeout: float = 10.0) -> bool:
        """Commit what waits and end; False when that took longer than ``timeout`` seconds."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(_Signal.END)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while jobs := self._gather():
            # Who gave up before the commit began stores nothing; after that it cannot be undone.
            wanted = [job for job in jobs if job.answer.set_running_or_notify_cancel()]
            started = monotonic()
            try:
                if wanted:
                    self._commit(wanted)
            finally:
                self.seconds_writing += monotonic() - started
                with self._lock:
                    self._queued_bytes -= sum(job.size for job in jobs)

    def _gather(self) -> list[_Job]:
        """What one commit takes, within its limits; waits for the first. Empty: the end."""
        job = self._held_over or self._first()
        self._held_over = None
        if job is None:
            return []
        jobs, rows, size = [job], len(job.request.batch), job.size
        until = monotonic() + LINGER
        while (job := self._another(rows, until)) is not None:
            rows += len(job.request.batch)
            size += job.size
            if rows > self._limits.rows or size > self._limits.bytes:
                self._held_over = job
                break
            jobs.append(job)
        return jobs

    def _first(self) -> _Job | None:
        while True:
            came = self._queue.get()
            if came is _Signal.END:
                return None
            if isinstance(came, _Job):
                return came

    def _another(self, rows: int, until: float) -> _Job | None:
        """What is there, or comes until then while somebody is on the way."""
        while True:
            awaited = rows < ENOUGH and self.company.coming(self._nobody_comes)
            wait = until - monotonic() if awaited else 0.0
            try:
                came = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                return None
            if isinstance(came, _Job):
                return came
            if came is _Signal.END:
                self._queue.put(came)  # for the next time
                return None

    def _nobody_comes(self) -> None:
        self._queue.put(_Signal.ALONE)

    def _commit(self, jobs: Sequence[_Job]) -> None:
        started = monotonic()
        try:
            results = self._write([job.request for job in jobs])
        except Exception as error:
            if isinstance(error, StoreUnavailable) and error.disk_full:
                self.disk_was_full = True
            if len(jobs) > 1 and not isinstance(error, TransientError):
                # One batch has something the database refuses: the others must not suffer.
                for job in jobs:
                    self._commit([job])
                return
            _fail(jobs, error)
            return
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, KeyRace):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)
        stored = any(isinstance(r, AppendResult) and r.commit_seq is not None for r in results)
        self._tell(sum(len(job.request.batch) for job in jobs), monotonic() - started, stored)

    def _tell(self, rows: int, seconds: float, stored: bool) -> None:
        """A listener's bug must not end the only thread that writes."""
        try:
            self._observe(rows, seconds)
            if stored:
                self._on_commit()
        except Exception as error:
            # The trace alone: a message, or a logger that shows variables, may hold values.
            kind, trace = type(error).__name__, trace_of(error)
            log.error("a listener of commits failed", error=kind, trace=trace)  # noqa: TRY400

    def _write(self, requests: Sequence[Request]) -> list[AppendResult | KeyRace]:
        """One transaction; again when another process took the same ids, or dropped the month."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._partitions.ensure_ids(
                    item.draft.id or "" for request in requests for item in request.batch
                )
                with write_transaction(self._engine) as connection:
                    return write_group(connection, self._sql, requests, self._clock())
            except Conflict:
                if attempt == _ATTEMPTS or not is_postgres(self._engine):
                    raise
                self._partitions.forget()
        raise AssertionError  # the last attempt returns or raises


def _fail(jobs: Sequence[_Job], error: Exception) -> None:
    if not isinstance(error, AnalectError):
        kind, trace = type(error).__name__, trace_of(error)
        log.error("a commit failed unexpectedly", error=kind, trace=trace)
    for job in jobs:
        job.answer.set_exception(error)
