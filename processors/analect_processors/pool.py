"""Several workers of one queue below one process, which starts those again that die.

A pool's workers process by themselves, as a single one does. A forking worker gives every job a
process of its own, with a store opened for it: slow, for a processor that leaks or crashes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Literal

import structlog
from rq.worker_pool import WorkerData, WorkerPool

from analect.pipeline.workers import spare_the_collector
from analect.service import AnalysisService
from analect.settings import Settings
from analect.telemetry.buffered import BufferedLines
from analect.telemetry.logs import configure_logging
from analect.telemetry.metrics import Telemetry
from analect.telemetry.processing import ProcessingMetrics
from analect_processors.queues import JobQueues, connect
from analect_processors.worker import EntryWorker, ForkingWorker, Take, work

log = structlog.get_logger(__name__)

Kind = Literal["fork", "pool"]

_MOST_BYTES = 65_536
_OVER = b""


class EntryPool(WorkerPool):
    """RQ's supervision over workers that open the store for themselves."""

    def __init__(
        self,
        settings: Settings,
        processor: str,
        kind: Kind,
        told: socket.socket,
        stop: threading.Event,
    ) -> None:
        self._entry = (settings, processor, kind, told)
        self._stop = stop
        connection = connect(settings)
        queue = JobQueues(connection, settings.queue.prefix).queue(processor)
        super().__init__([queue.name], connection, num_workers=settings.queue.processes)

    def get_worker_process(
        self,
        name: str,
        burst: bool,  # noqa: ARG002  (the base's signature)
        _sleep: float = 0,
        logging_level: str = "",  # noqa: ARG002
    ) -> BaseProcess:
        """A fresh interpreter: nothing of this process's threads and connections is in it."""
        spawn = multiprocessing.get_context("spawn")
        return spawn.Process(target=serve, args=self._entry, name=name)

    def start_worker(
        self,
        count: int | None = None,
        burst: bool = True,
        _sleep: float = 0,
        logging_level: str = "WARNING",
    ) -> None:
        """Start one; told to stop meanwhile, it is told, too, for it was not yet among them."""
        before = set(self.worker_dict)
        super().start_worker(count, burst, _sleep, logging_level)
        if self._stop.is_set():
            for name in self.worker_dict.keys() - before:
                self.stop_worker(self.worker_dict[name])

    def stop_worker(self, worker_data: WorkerData, sig: int = signal.SIGTERM) -> None:
        """Not by SIGINT: what a script starts in the background ignores that, and so would a worker
        until it has set RQ's handler.
        """
        super().stop_worker(worker_data, sig)

    def request_stop(self, signum: int | None = None, frame: FrameType | None = None) -> None:
        """SIGTERM or SIGINT: let the workers finish, then end."""
        self._stop.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # as RQ has it


def supervise(
    settings: Settings,
    processor: str,
    kind: Kind,
    metrics: ProcessingMetrics,
    stop: threading.Event,
) -> None:
    """Keep the workers of one queue running until SIGTERM or SIGINT, then let them finish.

    Called from the main thread. What the workers processed is counted in ``metrics``.
    """
    with _counted(metrics) as told:
        pool = EntryPool(settings, processor, kind, told, stop)
        try:
            pool.start(logging_level="WARNING")
        finally:
            pool.connection.close()


def serve(settings: Settings, processor: str, kind: Kind, told: socket.socket) -> None:
    """Be one of the workers: what a new process begins with."""
    lines = BufferedLines(sys.stderr)
    configure_logging(settings.log.level, settings.log.format, stream=lines)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # until RQ's own are in place
        signal.signal(number, lambda *_: stop.set())
    _end_with_parent()
    with ExitStack() as stack:
        stack.callback(lines.close)
        connection = connect(settings)
        stack.callback(connection.close)
        queue = JobQueues(connection, settings.queue.prefix).queue(processor)
        opened = partial(_open, settings, told)
        if kind == "fork":
            work(queue, _once(opened, processor), stop, ForkingWorker)
            return
        service = stack.enter_context(opened())
        service.start(process=False)
        spare_the_collector()
        work(queue, taking(service, processor, stop), stop, EntryWorker)


def taking(service: AnalysisService, processor: str, stop: threading.Event) -> Take:
    """What a worker does with a job."""

    def take(job: str, seqs: Sequence[int]) -> int:
        count = service.process_entries(processor, job, seqs, stop.is_set)
        # While its engine is away, trying with all that waits would only wear out the attempts.
        stop.wait(service.resting(processor))
        return count

    return take


def _once(opened: Callable[[], AnalysisService], processor: str) -> Take:
    """The same with a store for this job alone, in a process that ends after it."""

    def take(job: str, seqs: Sequence[int]) -> int:
        with opened() as service:
            return service.process_entries(processor, job, seqs)

    return take


def _open(settings: Settings, told: socket.socket) -> AnalysisService:
    telemetry = Telemetry()
    telemetry.processing.tell(lambda *said: told.send(json.dumps(said).encode()))
    return AnalysisService.open(settings, telemetry=telemetry)


@contextmanager
def _counted(metrics: ProcessingMetrics) -> Iterator[socket.socket]:
    """Where workers send what they processed: each message stands alone, whoever dies sending."""
    hear, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def listen() -> None:
        while (message := hear.recv(_MOST_BYTES)) != _OVER:
            metrics.processed(*json.loads(message))

    thread = threading.Thread(target=listen, name="analect-counting", daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.send(_OVER)
        thread.join()
        hear.close()
        told.close()


def _end_with_parent() -> None:
    """Let the job at hand be finished and end, should the process above be killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="analect-parent", daemon=True).start()
