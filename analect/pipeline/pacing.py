"""Indexing makes way for writing: callers wait for the one, nobody for the other."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

FREE = 0.3
"""Share of its time that the writer may be at work before the indexers rest at all."""
MOST = 8.0
"""Rest of a batch, in times its own work, while the writer is always at work."""
LONGEST = 1.0
"""Seconds of one rest: what is committed stays findable soon."""


class Pace:
    """How long to rest after a batch of work."""

    def __init__(
        self, seconds_writing: Callable[[], float], *, clock: Callable[[], float] = monotonic
    ) -> None:
        """``seconds_writing``: what the writer has been at work so far."""
        self._seconds_writing = seconds_writing
        self._clock = clock
        self._seen = (clock(), seconds_writing())

    def rest(self, worked: float) -> float:
        """Seconds to rest after ``worked`` seconds, by how busy the writer was since last asked."""
        before, written_before = self._seen
        now, written = self._seen = (self._clock(), self._seconds_writing())
        if now <= before:
            return 0.0
        busy = min(1.0, (written - written_before) / (now - before))
        return min(LONGEST, worked * MOST * max(0.0, busy - FREE) / (1 - FREE))
