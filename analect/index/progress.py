"""How far a process is that fills a fresh index.

When it was killed, what it put in stays, writes go on reaching it, and the next one goes on from
the place that was written down last.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from analect.model.ids import RecordId

NOTED_SECONDS = 1.0
"""How often the place that was reached is written down."""


class Progress:
    """The place that was reached. ``note`` writes it down; what it raises ends the build."""

    def __init__(
        self, note: Callable[[RecordId | None], object], reached: RecordId | None = None
    ) -> None:
        self._note = note
        self._reached = reached
        self._noted: float | None = None

    def reached(self) -> RecordId | None:
        """Everything up to here is in."""
        return self._reached

    def reach(self, record_id: RecordId) -> None:
        """Everything up to here is in now; written down once a second."""
        self._reached = record_id
        now = time.monotonic()
        if self._noted is None or now - self._noted >= NOTED_SECONDS:
            self._noted = now
            self._note(record_id)


class Filled:
    """An index that may be a fresh one, which something is filling."""

    _progress: Progress | None = None

    def reached(self) -> RecordId | None:
        """Of a fresh index: everything up to this id is in already."""
        return None if self._progress is None else self._progress.reached()

    def reach(self, record_id: RecordId) -> None:
        """Of a fresh index: everything up to this id is in."""
        if self._progress is not None:
            self._progress.reach(record_id)
