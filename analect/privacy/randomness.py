"""Random bytes fetched a few thousand at a time.

Asking the system lets go of the interpreter's lock, which costs far more than the bytes when
other threads are busy; ids and nonces need a few bytes for every record.
"""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

from analect.model.ids import RandomBytes

SIZE = 4096
"""Bytes fetched at once."""


class _Stock(threading.local):
    """What one thread has left; a forked child begins with nothing."""

    left = b""
    used = 0


class BufferedRandom:
    """A ``RandomBytes`` over another one. Thread-safe; a forked child never repeats its parent."""

    def __init__(self, source: RandomBytes) -> None:
        self._source = source
        self._stock = _Stock()
        _living.add(self)

    def __call__(self, count: int) -> bytes:
        """``count`` random bytes that nobody else gets."""
        stock = self._stock
        end = stock.used + count
        if end > len(stock.left):
            if count > SIZE:
                return self._source(count)
            stock.left, stock.used, end = self._source(SIZE), 0, count
        taken = stock.left[stock.used : end]
        stock.used = end
        return taken

    def forget(self) -> None:
        """Begin anew, with bytes from the source."""
        self._stock = _Stock()


_living: WeakSet[BufferedRandom] = WeakSet()


def _after_fork() -> None:
    for one in _living:
        one.forget()


# Told by the interpreter, rather than asking which process this is for every few bytes.
os.register_at_fork(after_in_child=_after_fork)
