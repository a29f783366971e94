"""One queue of keys: each is in it once, is handled by one worker at a time, and waits longer
after each failure.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_FIRST_SECONDS = 0.2
_LONGEST_SECONDS = 60.0
_DOUBLINGS = 10


class WorkQueue(Generic[Key]):
    """What has to be looked at.

    ``clock`` gives seconds that only grow, ``jitter`` a number from 0 to 1.
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._jitter = jitter
        self._due: list[tuple[float, int, Key]] = []
        self._when: dict[Key, float] = {}
        self._busy: set[Key] = set()
        self._again: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._count = 0
        self._wake = asyncio.Event()

    def add(self, key: Key, delay: float = 0.0) -> None:
        """``key`` is looked at ``delay`` seconds from now, or sooner if it was to be already."""
        when = self._clock() + delay
        if key in self._busy:
            self._again[key] = min(when, self._again.get(key, when))
            return
        if when >= self._when.get(key, float("inf")):
            return
        self._when[key] = when
        self._count += 1
        heapq.heappush(self._due, (when, self._count, key))
        self._wake.set()

    async def take(self) -> Key:
        """The next that is due; `done` or `failed` must follow."""
        while True:
            now = self._clock()
            while self._due and self._due[0][0] <= now:
                when, _, key = heapq.heappop(self._due)
                if self._when.get(key) == when:
                    del self._when[key]
                    self._busy.add(key)
                    return key
            self._wake.clear()
            wait = self._due[0][0] - now if self._due else None
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """It went well."""
        self._failures.pop(key, None)
        self._released(key)

    def failed(self, key: Key, at_least: float = 0.0) -> float:
        """It did not: it comes back after twice the time of the last failure; that many seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        longest = min(_FIRST_SECONDS * 2.0 ** min(count, _DOUBLINGS), _LONGEST_SECONDS)
        wait = max(longest * (0.5 + self._jitter() / 2), at_least)
        # What happened meanwhile is no reason to ask a refusing server sooner.
        self._again.pop(key, None)
        self._released(key)
        self.add(key, wait)
        return wait

    def forget(self, key: Key) -> None:
        """There is no such object any more."""
        self._failures.pop(key, None)

    @property
    def size(self) -> int:
        """How many are due now."""
        now = self._clock()
        return sum(when <= now for when in self._when.values())

    @property
    def oldest_seconds(self) -> float:
        """How long the first of them has waited."""
        now = self._clock()
        return now - min(now, *self._when.values(), now)

    def _released(self, key: Key) -> None:
        self._busy.discard(key)
        if (when := self._again.pop(key, None)) is not None:
            self.add(key, max(when - self._clock(), 0.0))
