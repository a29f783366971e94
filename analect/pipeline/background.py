"""The thread that keeps the indexes up while a process serves."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from analect.model.errors import AnalectError
from analect.pipeline.runner import Runner

log = structlog.get_logger(__name__)


class BackgroundProcessing:
    """Runs a :class:`Runner` until stopped; woken by a commit, and every ``interval`` seconds."""

    def __init__(
        self, runner: Runner, *, interval: float, first: Callable[[], None] = lambda: None
    ) -> None:
        """``first`` runs once in the thread, before anything is processed."""
        self._runner = runner
        self._first = first
        self._interval = interval
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="analect-processing", daemon=True)

    def start(self) -> None:
        """Begin."""
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
        begun = False
        while not self._stopping.is_set():
            try:
                if not begun:
                    self._first()
                    begun = True
                self._runner.drain(stop=self._stopping.is_set)
            except AnalectError as error:
                log.warning("processing paused", code=error.code, retry_in=self._interval)
                self._stopping.wait(self._interval)
            except Exception:
                log.exception("processing paused by an unexpected error")
                self._stopping.wait(self._interval)
            self._wake.wait(self._interval)
            self._wake.clear()
