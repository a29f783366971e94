"""Moves entries from the outbox into the queues, and those that got lost there back.

One dispatcher leads, the others stand by. Two that both think they lead do no harm: an entry is
claimed by one of them, and taken by one worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import structlog

from analect.model.errors import AnalectError, EngineUnavailable
from analect.model.ids import Clock
from analect.pipeline.pacing import Rate
from analect.settings import Limits, Settings
from analect.store.handover import Bundle, Handover
from analect.store.leader import Leadership
from analect.store.outbox import Outbox
from analect.telemetry.queue import QueueMetrics
from analect_processors.queues import JobQueues

log = structlog.get_logger(__name__)

_FULL_SECONDS = 0.05
"""How soon to look again at a queue that was full."""
_STILL_SECONDS = 0.4
"""The same at the most, while nothing moves in any of them: looking costs the workers' CPU."""
_RETRY_SECONDS = 1.0
_LOOK_AFTER_SECONDS = 5.0
_SMALL_JOBS = 4
"""Most jobs that wait with room left in them: while workers are busy with these, what is
committed shares the next one. A job costs a worker about as much as ten records do.
"""


@dataclass(frozen=True, slots=True)
class DispatcherOptions:
    """``jobs_waiting``: most jobs in a queue. ``limits``: batch size, concurrency and rate of a
    processor, by its name. ``batches``: most batches in a job; a worker reads the next one while
    its engine is busy with one. ``poll``: seconds between looks for work nobody told of. ``lease``:
    seconds after which a worker's claim goes back. ``grace``: seconds after which an entry without
    a job counts as lost. ``sweep``: seconds between looks for what was lost.
    """

    jobs_waiting: int = 50
    limits: Callable[[str], Limits] = lambda _name: Limits(batch_size=500)
    batches: int = 8
    poll: float = 1.0
    lease: float = 300.0
    grace: float = _LOOK_AFTER_SECONDS
    sweep: float = _LOOK_AFTER_SECONDS

    @classmethod
    def of(cls, settings: Settings) -> DispatcherOptions:
        """Those that the settings name; short leases are looked after more often."""
        lease = settings.processing.lease_seconds
        short = min(_LOOK_AFTER_SECONDS, lease / 2)
        return cls(
            settings.queue.jobs_waiting,
            settings.limits,
            poll=settings.queue.poll_seconds,
            lease=lease,
            grace=short,
            sweep=short,
        )


class Dispatcher:
    """Leads, or waits to lead, until told to stop."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        handover: Handover,
        leadership: Leadership,
        queues: JobQueues,
        processors: Sequence[str],
        options: DispatcherOptions,
        metrics: QueueMetrics,
        clock: Clock,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._outbox = outbox
        self._handover = handover
        self._leadership = leadership
        self._queues = queues
        self._processors = processors
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._swept_at: float | None = None
        rates = {name: options.limits(name).rate for name in processors}
        self._rates = {name: Rate(rate, clock=seconds) for name, rate in rates.items() if rate}
        self._seconds = seconds
        self._waiting: dict[str, int] = {}
        self._moved = False
        self._pause = _FULL_SECONDS
        self.leads = False

    def run(self, stop: threading.Event) -> None:
        """Dispatch until ``stop`` is set; whatever is away meanwhile is waited for."""
        try:
            while not stop.is_set():
                try:
                    self._set_lead(leads=self._leadership.try_lead())
                    if self.leads:
                        self._turn()
                    else:
                        stop.wait(self._options.poll)
                except EngineUnavailable as error:
                    self._metrics.up.set(0)
                    log.warning("dispatching paused", code=error.code, leads=self.leads)
                    stop.wait(_RETRY_SECONDS)
                except AnalectError as error:
                    self._set_lead(leads=False)
                    log.warning("dispatching paused", code=error.code, leads=False)
                    stop.wait(_RETRY_SECONDS)
        finally:
            self._set_lead(leads=False)
            self._leadership.close()

    def sweep(self) -> int:
        """Give back what workers held too long and what the queue lost; how many entries.

        Raises:
            StoreUnavailable: the database does not answer.
            EngineUnavailable: the queue's server does not answer.
        """
        now = self._clock()
        returned = self._outbox.release_stale(now, older_than=_micros(self._options.lease))
        for name in self._processors:
            jobs = self._handover.jobs(name, now - _micros(self._options.grace))
            returned += self._handover.give_back(name, self._queues.missing(name, jobs))
            self._metrics.jobs(name, self._queues.counts(name))
        self._metrics.returned(returned)
        self._metrics.up.set(1)
        return returned

    def dispatch(self) -> bool:
        """Fill the queues; whether there may be more to put into them soon.

        Raises:
            StoreUnavailable: the database does not answer.
            EngineUnavailable: the queue's server does not answer; nothing is lost.
        """
        self._moved = False
        filled = [self._fill(name) for name in self._processors]
        return any(filled)

    def _fill(self, name: str) -> bool:
        waiting = self._queues.waiting(name)
        self._moved |= waiting != self._waiting.get(name)
        self._waiting[name] = waiting
        room = self._options.jobs_waiting - waiting
        limits = self._options.limits(name)
        batch = (limits.batch_size or 1) * self._options.batches
        if limits.concurrency is not None:
            room = min(room, limits.concurrency - self._handover.out(name))
        if rate := self._rates.get(name):
            left = rate.left()
            batch = min(batch, left)
            room = min(room, left // batch if batch else 0)
        if room <= 0:
            return True
        partial = max(0, _SMALL_JOBS - waiting)
        bundles = self._handover.claim(
            name, room=room, partial=partial, batch=batch, now=self._clock()
        )
        if bundles:
            self._moved = True
            self._enqueue(name, bundles)
        if rate:
            rate.spend(sum(bundle.records for bundle in bundles))
        return bool(bundles) or not partial

    def _turn(self) -> None:
        swept = self._swept_at
        if swept is None or self._seconds() - swept >= self._options.sweep:
            self._swept_at = self._seconds()
            self.sweep()
        more = self.dispatch()
        self._pause = _FULL_SECONDS if self._moved else min(self._pause * 2, _STILL_SECONDS)
        self._leadership.wait(self._pause if more else self._options.poll)

    def _enqueue(self, name: str, bundles: Sequence[Bundle]) -> None:
        try:
            self._queues.enqueue(name, bundles)
        except EngineUnavailable:
            # Some of the jobs may be there all the same: they will find their entries gone on.
            self._handover.give_back(name, [bundle.job for bundle in bundles])
            raise
        self._metrics.enqueued(name, sum(len(bundle.seqs) for bundle in bundles))

    def _set_lead(self, *, leads: bool) -> None:
        if leads != self.leads:
            log.info("leading" if leads else "no longer leading")
        self.leads = leads
        self._metrics.leader.set(leads)


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)
