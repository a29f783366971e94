"""The thread that sends changes to the place of the backups while a process serves."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import structlog

from analect.model.errors import AnalectError
from analect.model.ids import Clock, Micros
from analect.telemetry.logs import trace_of

log = structlog.get_logger(__name__)


class Ships(Protocol):
    """See :class:`analect.lifecycle.backup.shipper.Shipper`."""

    def ship(self) -> bool:
        """Send what changed since the last time; whether there was anything."""
        ...


class Shipping:
    """Ships in a thread of its own, as often as is asked; the first thing that goes wrong is
    logged, and that it goes well again.
    """

    def __init__(
        self,
        make: Callable[[], Ships],
        lock: Path,
        *,
        interval: float,
        clock: Clock,
    ) -> None:
        """``make`` opens the place, when it is needed; ``lock`` is a file beside the database: of
        the processes on it one ships.
        """
        self._make = make
        self._shipper: Ships | None = None
        self._lock = lock
        self._interval = interval
        self._clock = clock
        self._stopping = threading.Event()
        self._failing: str | None = None
        self._thread = threading.Thread(target=self._loop, name="analect-shipping", daemon=True)
        self.shipped_at: Micros | None = None
        """When everything until then was known to be in the place; None while another process
        ships, or before the first time."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ship what is left, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _loop(self) -> None:
        while not self._stopping.wait(self._interval):
            self._once()
        self._once()

    def _once(self) -> None:
        try:
            with self._alone() as alone:
                if not alone:
                    self._shipper, self.shipped_at = None, None
                    return
                before = self._clock()
                self._shipper = self._shipper or self._make()
                self._shipper.ship()
                self.shipped_at = before
        except AnalectError as error:
            self._failed(error.code, why=str(error))
        except Exception as error:
            self._failed(type(error).__name__, trace=trace_of(error))
        else:
            if self._failing is not None:
                log.info("changes are shipped again")
                self._failing = None

    def _failed(self, code: str, **more: object) -> None:
        self._shipper = None
        if code != self._failing:
            log.warning("changes are not shipped", code=code, **more)
            self._failing = code

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(handle)
