"""Batches on their way to the writer, whom a commit had better wait for.

A commit costs about the same for one batch as for several. Whoever has accepted a batch and is
still preparing it says so, and the writer knows whether waiting is worth anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic


class Company:
    """Counts them. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """``clock``: in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._coming = 0
        self._since = self._seconds = 0.0
        self._alone: Callable[[], None] | None = None

    def expect(self) -> None:
        """One more batch will be submitted, or given up: :meth:`arrived` then says so."""
        with self._lock:
            if not self._coming:
                self._since = self._clock()
            self._coming += 1

    def arrived(self, batches: int = 1) -> None:
        """So many of those that were expected are with the writer, or will not come."""
        with self._lock:
            self._coming -= batches
            if self._coming:
                return
            self._seconds += self._clock() - self._since
            alone, self._alone = self._alone, None
        if alone is not None:
            alone()

    def coming(self, alone: Callable[[], None]) -> bool:
        """Whether anyone is on the way; if so ``alone`` is called, once, when nobody is any more."""
        with self._lock:
            self._alone = alone if self._coming else None
            return self._coming > 0

    def seconds(self) -> float:
        """How long somebody was on the way, all in all."""
        with self._lock:
            return self._seconds + (self._clock() - self._since if self._coming else 0.0)
