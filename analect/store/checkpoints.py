"""Moving SQLite's write-ahead log into the database file beside the commits, not inside them.

SQLite does it by itself in whichever commit makes the log too long, and that commit's callers wait
for the disk: 64 MiB at once took up to 0.35 s, and the p99 of a batch was nothing else. A thread
that moves what is new every second leaves next to nothing for them.
"""

from __future__ import annotations

import threading

import structlog
from sqlalchemy import Engine

from analect.model.errors import AnalectError
from analect.store.engine import WAL_KEEP_PAGES, checkpoint, writing_held

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 1.0
"""Between two moves: what is moved at once must not keep the disk from the commits for long."""


class Checkpoints:
    """One thread, which sleeps while nothing is committed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="analect-checkpoints", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was committed."""
        self._wake.set()

    def close(self) -> None:
        """Finish the move under way, and end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            self._wake.wait()
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self._move()
            except AnalectError as error:
                log.warning("the write-ahead log was not moved", code=error.code)

    def _move(self) -> None:
        """The log begins anew only when all of it was moved, which never comes to pass while
        commits go on: once it is long, they are held for the moment that the last of it takes.
        """
        _, pages = checkpoint(self._engine, "PASSIVE")
        if pages > WAL_KEEP_PAGES:
            with writing_held(self._engine):
                checkpoint(self._engine, "PASSIVE")
