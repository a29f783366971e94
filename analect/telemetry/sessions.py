"""How many sessions were active of late, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable

WINDOW_SECONDS = 300.0
_SLICES = 10
_MOST = 100_000


class ActiveSessions:
    """Counts distinct sessions of the last five minutes, to half a minute.

    Ten slices of thirty seconds hold hashes of session tokens; the oldest is dropped as a new one
    begins. At most 100,000 sessions are held; beyond that the count stands still.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slices: dict[int, set[int]] = {}

    def seen(self, sessions: Iterable[str | None], now: float) -> None:
        """These sessions were active at ``now`` (seconds, any steady clock)."""
        hashes = {hash(session) for session in sessions if session is not None}
        if not hashes:
            return
        current = self._slice(now)
        with self._lock:
            self._forget(current)
            held = self._slices.setdefault(current, set())
            if sum(len(part) for part in self._slices.values()) < _MOST:
                held |= hashes

    def count(self, now: float) -> int:
        """How many were active within :data:`WINDOW_SECONDS`."""
        with self._lock:
            self._forget(self._slice(now))
            return len(set().union(*self._slices.values()))

    @staticmethod
    def _slice(now: float) -> int:
        return int(now // (WINDOW_SECONDS / _SLICES))

    def _forget(self, current: int) -> None:
        for number in [n for n in self._slices if n <= current - _SLICES]:
            del self._slices[number]
