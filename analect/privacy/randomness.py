"""Random bytes fetched a few thousand at a time.

Asking the system lets go of the interpreter's lock, which costs far more than the bytes when
other threads are busy; ids and nonces need a few bytes for every record.
"""

from __future__ import annotations

import os
import threading

from analect.model.ids import RandomBytes

SIZE = 4096
"""Bytes fetched at once."""


class _Stock(threading.local):
    """What one thread of one process has left."""

    left = b""
    used = 0
    process = 0


class BufferedRandom:
    """A ``RandomBytes`` over another one. Thread-safe; a forked child never repeats its parent."""

    def __init__(self, source: RandomBytes) -> None:
        self._source = source
        self._stock = _Stock()

    def __call__(self, count: int) -> bytes:
        """``count`` random bytes that nobody else gets."""
        stock = self._stock
        end = stock.used + count
        if end > len(stock.left) or stock.process != os.getpid():
            if count > SIZE:
                return self._source(count)
            stock.left, stock.used, stock.process = self._source(SIZE), 0, os.getpid()
            end = count
        taken = stock.left[stock.used : end]
        stock.used = end
        return taken
