"""One open file of the text index: a connection that writes, and some that read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock

from analect.index.text.database import connect

IDLE_READERS = 4
READER_CACHE_KIB = 8_192
WRITER_CACHE_KIB = 16_384


class IndexFile:
    """Connections are opened when first needed; after :meth:`close` those in use close as they
    come back, so a search that runs while the file is replaced ends well.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self._writer: sqlite3.Connection | None = None
        self._writing = RLock()
        self._idle: list[sqlite3.Connection] = []
        self._lock = Lock()
        self._closed = False

    def take(self) -> sqlite3.Connection:
        """A connection for reading; the caller gives it back."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return connect(self.path, cache_kib=READER_CACHE_KIB)

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Keep it for the next one, or close it."""
        with self._lock:
            keep = not self._closed and len(self._idle) < IDLE_READERS
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection for writing, to one thread at a time."""
        with self._writing:
            if self._writer is None:
                self._writer = connect(self.path, cache_kib=WRITER_CACHE_KIB, durable=self._durable)
            try:
                yield self._writer
            finally:
                if self._closed:
                    self._close_writer()

    def close(self) -> None:
        """Close what is idle now and the rest when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        with self._writing:
            self._close_writer()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
