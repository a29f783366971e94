"""The thread that keeps the indexes up, and the house in order, while a process serves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

import structlog

from analect.model.errors import AnalectError
from analect.pipeline.runner import Runner
from analect.telemetry.logs import trace_of

log = structlog.get_logger(__name__)

HOUSEKEEPING_SECONDS = 60.0


class BackgroundProcessing:
    """Runs a :class:`Runner` until stopped; woken by a commit, and every ``interval`` seconds.

    In the same thread, ``first`` runs before anything else, and ``housekeeping`` before anything
    is processed, then once a minute, and at once when it is ``urgent``.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        interval: float,
        first: Callable[[], object] = lambda: None,
        housekeeping: Callable[[], None] = lambda: None,
        urgent: Callable[[], bool] = lambda: False,
        rest: Callable[[float], float] = lambda _worked: 0.0,
    ) -> None:
        """``rest``: seconds to rest after a batch that took so many seconds."""
        self._runner = runner
        self._first: Callable[[], object] | None = first
        self._housekeeping = housekeeping
        self._urgent = urgent
        self._rest = rest
        self._interval = interval
        self._tidied_at: float | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._processing = True
        self._thread = threading.Thread(target=self._loop, name="analect-processing", daemon=True)

    def start(self, *, process: bool = True) -> None:
        """Begin; without ``process`` only the housekeeping is done."""
        self._processing = process
        self._thread.start()

    def wake(self) -> None:
        """Something was committed."""
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Finish the batch at hand and end; what is left stays in the outbox."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tidy()
                if self._processing:
                    self._runner.drain(
                        stop=self._stopping.is_set,
                        after=lambda worked: self._stopping.wait(self._rest(worked)),
                        pause=self._stopping.wait,
                    )
            except AnalectError as error:
                log.warning("processing paused", code=error.code, retry_in=self._interval)
                self._stopping.wait(self._interval)
            except Exception as error:
                # The trace alone: a message, or a logger that shows variables, may hold values.
                kind, trace = type(error).__name__, trace_of(error)
                log.error("processing paused unexpectedly", error=kind, trace=trace)  # noqa: TRY400
                self._stopping.wait(self._interval)
            self._wake.wait(self._interval)
            self._wake.clear()

    def _tidy(self) -> None:
        if self._first is not None:
            self._first()
            self._first = None
        now = monotonic()
        due = self._tidied_at is None or now - self._tidied_at >= HOUSEKEEPING_SECONDS
        if due or self._urgent():
            self._housekeeping()
            self._tidied_at = now
