"""How fast processors go: they make way for writing, keep to their rates, and let an engine that is
away come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from analect.index.protocols import ItemFailure
from analect.store.outbox import NOBODYS_FAULT

FREE = 0.3
"""Share of the time that batches may be on their way in before the indexers rest at all."""
MOST = 8.0
"""Rest of a batch, in times its own work, while batches are always on their way."""
LONGEST = 1.0
"""Seconds of one rest: what is committed stays findable soon."""


class Pace:
    """How long to rest after a batch of work."""

    def __init__(
        self, seconds_writing: Callable[[], float], *, clock: Callable[[], float] = monotonic
    ) -> None:
        """``seconds_writing``: what preparing and committing took so far."""
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


FIRST_REST = 0.25
LONGEST_REST = 10.0


class Rate:
    """At most so many records a second; a second's worth may be saved up."""

    def __init__(self, per_second: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._seen = clock()
        self._left = max(1.0, per_second)

    def left(self) -> int:
        """Records that may be begun now; below one, none."""
        now = self._clock()
        most = max(1.0, self._per_second)
        self._left = min(most, self._left + (now - self._seen) * self._per_second)
        self._seen = now
        return int(self._left)

    def spend(self, records: int) -> None:
        """So many were begun; more than were left makes the next ones wait longer."""
        self._left -= records


class Away:
    """How long to leave an engine alone that did not answer: longer each time it does not."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._rest = 0.0
        self._until = 0.0

    def failed(self) -> None:
        """It did not answer."""
        self._rest = min(LONGEST_REST, max(FIRST_REST, self._rest * 2))
        self._until = self._clock() + self._rest

    def answered(self) -> None:
        """It is there."""
        self._rest = self._until = 0.0

    def left(self) -> float:
        """Seconds until it should be tried again."""
        return max(0.0, self._until - self._clock()) if self._until else 0.0


def took_none(failures: Sequence[ItemFailure], records: int) -> bool:
    """Whether an engine that answers refused each of so many records, for no reason of theirs."""
    codes = {failure.code for failure in failures}
    return 0 < records == len(failures) and codes <= NOBODYS_FAULT
