"""The processes of a cluster beside the servers: each until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import structlog

from analect.model.errors import AnalectError, NotFound
from analect.pipeline.workers import spare_the_collector
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.handover import Handover
from analect.store.leader import Leadership
from analect.telemetry.buffered import BufferedLines
from analect.telemetry.logs import configure_logging
from analect.telemetry.patience import Patience
from analect_processors.dispatcher import Dispatcher, DispatcherOptions
from analect_processors.pool import supervise, taking
from analect_processors.probe import Probe, listening
from analect_processors.queues import JobQueues, connect
from analect_processors.standing import QUEUE_SECONDS, standing
from analect_processors.watching import watched
from analect_processors.worker import EntryWorker, work

log = structlog.get_logger(__name__)

OnReady = Callable[[str], None]


def dispatch(settings: Settings, *, on_ready: OnReady) -> None:
    """Dispatch until SIGTERM or SIGINT; ``on_ready`` is called with the probe's address.

    Raises:
        ConfigurationError: there is no queue, no Postgres, or a setting is wrong.
        AnalectError: the store cannot be opened.
    """
    with _Process.started(settings, "dispatcher") as process:
        dispatcher = process.dispatcher()
        status = {"leads": lambda: dispatcher.leads}
        watching = watched(process.service.drift, lambda: dispatcher.leads, process.stop)
        with process.answering(status, on_ready), _stopped_by_signals(process.stop), watching:
            dispatcher.run(process.stop)


def sweep(settings: Settings) -> int:
    """Give back what workers held too long and what the queue lost; how many entries."""
    with ExitStack() as stack:
        service = stack.enter_context(AnalysisService.open(settings))
        process = _Process.on(settings, service, stack)
        return process.dispatcher().sweep()


def work_on(settings: Settings, processor: str, *, on_ready: OnReady) -> None:
    """Work on the queue of one processor until SIGTERM or SIGINT; the job at hand is finished.

    Raises:
        NotFound: there is no such processor.
        ConfigurationError: there is no queue, or a setting is wrong.
        AnalectError: the store cannot be opened.
    """
    with _Process.started(settings, "worker") as process:
        names = process.service.processors()
        if processor not in names:
            raise NotFound(
                f"no processor {processor!r}; there are: {', '.join(names)}", field="processor"
            )
        status = {"processor": lambda: processor}
        kind, stop = settings.queue.worker, process.stop
        with process.answering(status, on_ready), _stopped_by_signals(stop):
            if kind == "simple":
                take = taking(process.service, processor, stop)
                work(process.queues.queue(processor), take, stop, EntryWorker)
            else:
                supervise(settings, processor, kind, process.service.telemetry.processing, stop)


@dataclass(slots=True)
class _Process:
    settings: Settings
    service: AnalysisService
    queues: JobQueues
    stop: threading.Event

    @classmethod
    def on(cls, settings: Settings, service: AnalysisService, stack: ExitStack) -> _Process:
        connection = connect(settings)
        stack.callback(connection.close)
        lease = settings.processing.lease_seconds
        queues = JobQueues(connection, settings.queue.prefix, lease=lease)
        return cls(settings, service, queues, threading.Event())

    @classmethod
    @contextmanager
    def started(cls, settings: Settings, kind: str) -> Iterator[_Process]:
        """With logs, an open store and the housekeeping of every process that uses one."""
        lines = BufferedLines(sys.stderr)
        configure_logging(settings.log.level, settings.log.format, stream=lines)
        with ExitStack() as stack:
            stack.callback(lines.close)
            service = stack.enter_context(AnalysisService.open(settings))
            process = cls.on(settings, service, stack)
            service.start(process=False)
            spare_the_collector()
            log.info("started", process=kind, pid=os.getpid(), version=version("analect"))
            yield process
            log.info("stopped", process=kind)

    def dispatcher(self) -> Dispatcher:
        store = self.service.store
        self.service.telemetry.queue.export()
        return Dispatcher(
            outbox=store.outbox,
            handover=Handover(store.engine),
            leadership=Leadership(store.engine),
            queues=self.queues,
            processors=self.service.processors(),
            options=DispatcherOptions.of(self.settings),
            metrics=self.service.telemetry.queue,
            clock=self.service.clock,
        )

    @contextmanager
    def answering(self, more: dict[str, Callable[[], Any]], on_ready: OnReady) -> Iterator[None]:
        """The probe, while the block runs."""
        patience: Patience[dict[str, Any]] = Patience(QUEUE_SECONDS)
        probe = Probe(
            self.settings,
            registry=self.service.telemetry.registry,
            reasons=self._reasons,
            status=lambda: {
                **standing(self.service, self.queues, patience),
                **{name: look() for name, look in more.items()},
            },
        )
        with listening(probe, self.settings.http.host, self.settings.http.port) as address:
            on_ready(address)
            yield

    def _reasons(self) -> tuple[str, ...]:
        if self.stop.is_set():
            return ("the process is shutting down",)
        reasons = self.service.health().reasons
        try:
            self.queues.ping()
        except AnalectError as error:
            reasons = (*reasons, str(error))
        return reasons


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
