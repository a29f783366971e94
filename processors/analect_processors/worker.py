"""An RQ worker of one queue, which is one processor's.

The entries' own leases decide whether a job still has anything to do: a job that comes twice, or
late, finds that its entries are taken or gone. Retries, splits and quarantine are the outbox's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

import structlog
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker, Worker, worker_registration
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from analect.model.errors import AnalectError
from analect.store.outbox import WORKER_LOST

log = structlog.get_logger(__name__)

Take = Callable[[str, Sequence[int]], int]
"""Process the entries of a job, by its name and their numbers; how many records they held."""

_RETRY_SECONDS = 1.0
_WORKER_TTL_SECONDS = 60
"""RQ waits for jobs a little shorter, and for an answer of the server about as long."""
_present: list[Take] = []


class JobFailed(Exception):
    """What RQ may know of a failure: a code."""


def handle(job: str, seqs: Sequence[int]) -> None:
    """Process a job's entries: what RQ calls, by name, in a process where :func:`work` runs.

    Raises:
        JobFailed: the store was away; the entries come again.
    """
    try:
        _present[-1](job, seqs)
        code = None
    except AnalectError as error:
        code = error.code
    except Exception as error:
        code = type(error).__name__
    if code is not None:  # raised here, so that the cause and its text are left behind
        log.warning("job failed", code=code)
        raise JobFailed(code)


def work(
    queue: Queue,
    take: Take,
    stop: threading.Event,
    worker: Callable[[Queue, threading.Event], BaseWorker],
) -> None:
    """Serve ``queue`` until SIGTERM or SIGINT, or until ``stop`` is set between two jobs.

    Called from the main thread, for RQ sets the signals' handlers. The job under way is finished.
    """
    _present.append(take)
    try:
        while not stop.is_set():
            try:
                worker(queue, stop).work(logging_level="WARNING")
            except StopRequested:
                break
            except RedisError as error:
                log.warning("queue unavailable", error=type(error).__name__)
            _pause(stop)
    finally:
        _present.remove(take)


def _pause(stop: threading.Event) -> None:
    with suppress(StopRequested):  # RQ's handler is still in place
        stop.wait(_RETRY_SECONDS)


class _Discreet(BaseWorker):
    """Keeps texts of exceptions out of RQ and out of the log."""

    def __init__(self, queue: Queue, stop: threading.Event) -> None:
        super().__init__(
            [queue],
            connection=queue.connection,
            serializer=JSONSerializer,
            log_job_description=False,
            worker_ttl=_WORKER_TTL_SECONDS,
        )
        self._stop = stop
        self._code = WORKER_LOST

    def _install_signal_handlers(self) -> None:
        """From here on a signal is RQ's; one that came before is obeyed now."""
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]  # as RQ has it
        if self._stop.is_set():
            raise StopRequested

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: finish the job under way, then end."""
        self._stop.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # as RQ has it

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Say that it lives; and who it is, once the server has lost what it knew of it."""
        is_known = self.birth_date is None or self.connection.hexists(self.key, "birth")
        if pipeline is None and not is_known:
            self.connection.hset(self.key, mapping=self.serialize())
            worker_registration.register(self)
        super().heartbeat(timeout, pipeline)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Take down what may be known of a failure."""
        error = exc_info[1]
        self._code = str(error) if isinstance(error, JobFailed) else type(error).__name__
        log.warning("job not done", job=job.id, code=self._code)

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: Any = None,
        exc_string: str = "",  # noqa: ARG002  (a traceback, with what the error says)
        execution: Execution | None = None,
    ) -> None:
        """Keep the code alone."""
        super().handle_job_failure(job, queue, started_job_registry, self._code, execution)
        self._code = WORKER_LOST


class EntryWorker(_Discreet, SimpleWorker):
    """Processes in this process."""


class ForkingWorker(_Discreet, Worker):
    """Processes each job in a process of its own."""
