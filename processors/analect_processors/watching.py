"""A thread beside the dispatcher that compares the indexes with the truth while it leads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from analect.telemetry.logs import trace_of

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0


class Looking(Protocol):
    """What :class:`~analect.service.drift.DriftWatch` does."""

    def look(self) -> None:
        """Compare a sample."""
        ...

    def forget(self) -> None:
        """Another process looks."""
        ...


@contextmanager
def watched(
    drift: Looking,
    leads: Callable[[], bool],
    stop: threading.Event,
    *,
    seconds: float = LOOK_SECONDS,
) -> Iterator[None]:
    """Within the block, look every so many ``seconds`` if this process ``leads``, until ``stop``."""

    def loop() -> None:
        while not stop.wait(seconds):
            try:
                if leads():
                    drift.look()
                else:
                    drift.forget()
            except Exception as error:
                # The trace alone: a message may hold values.
                kind, trace = type(error).__name__, trace_of(error)
                log.error("indexes not compared", error=kind, trace=trace)  # noqa: TRY400

    thread = threading.Thread(target=loop, name="analect-drift", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
