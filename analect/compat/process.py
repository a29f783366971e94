"""One open store a process and settings, shared by all that ask, and carried over forks.

SQLite must not be carried over a fork open: a child that opens the same file believes that it
holds its parent's locks. So whoever forks closes first, once the calls under way are done, and
both sides open again at their next call (some 20 ms).
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

import structlog

from analect.model.ids import Clock, Micros, RandomBytes, RecordId, new_id
from analect.service import AnalysisService
from analect.service.wiring import wall_clock
from analect.settings import Settings

log = structlog.get_logger(__name__)

FORK_PATIENCE = 10.0
"""Seconds that a fork waits for calls under way."""
REMEMBERED = 1000
"""How many of its newest writes a process waits for when it searches."""


class SharedService:
    """Opens at the first use; thread-safe. ``settings`` say which store it is."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = wall_clock,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._random_bytes = random_bytes
        self._unindexed: OrderedDict[RecordId, None] = OrderedDict()
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._service: AnalysisService | None = None
        self._users = 0
        self._closing = False
        self._inside = threading.local()

    @contextmanager
    def use(self) -> Iterator[AnalysisService]:
        """The open service; it stays open until the block ends.

        Raises:
            AnalectError: it cannot be opened (see :meth:`AnalysisService.open`).
        """
        depth = getattr(self._inside, "depth", 0)
        with self._changed:
            while self._closing and not depth:
                self._changed.wait()
            if self._service is None:
                self._service = AnalysisService.open(
                    self.settings, clock=self._clock, random_bytes=self._random_bytes
                )
                if self.settings.processing.auto:
                    self._service.start()
            service = self._service
            self._users += 1
        self._inside.depth = depth + 1
        try:
            yield service
        finally:
            self._inside.depth = depth
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def now(self) -> Micros:
        """By the store's clock."""
        return self._clock()

    def new_id(self, occurred_at: Micros | None) -> RecordId:
        """A fresh record id at that time, or now."""
        return new_id(self._clock() if occurred_at is None else occurred_at, self._random_bytes)

    def wrote(self, ids: Sequence[RecordId]) -> None:
        """Remember them for :meth:`catch_up`."""
        with self._changed:
            self._unindexed.update(dict.fromkeys(ids))
            while len(self._unindexed) > REMEMBERED:
                self._unindexed.popitem(last=False)

    def catch_up(self, timeout: float) -> bool:
        """Wait until the indexes hold what this process wrote; false after ``timeout`` seconds.

        Where nothing is processed in the background there is nothing to wait for.
        """
        with self._changed:
            waiting = list(self._unindexed)
        if not waiting:
            return True
        with self.use() as service:
            if not service.wait_indexed(waiting, timeout if self.settings.processing.auto else 0.0):
                return False
        with self._changed:
            for record_id in waiting:
                self._unindexed.pop(record_id, None)
        return True

    def close(self, patience: float = FORK_PATIENCE) -> bool:
        """Close once the calls under way are done; false when ``patience`` seconds were not
        enough. The next use opens again.
        """
        deadline = monotonic() + patience
        own = getattr(self._inside, "depth", 0)
        with self._changed:
            self._closing = True
            try:
                while self._users > own and (left := deadline - monotonic()) > 0:
                    self._changed.wait(left)
                if self._users:
                    return False
                service, self._service = self._service, None
                if service is not None:
                    service.close()
                return True
            finally:
                self._closing = False
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Close, and keep others out until the fork is done."""
        self._changed.acquire()
        if not self.close():
            log.warning("forked while calls were under way", calls=self._users)

    def after_fork_in_parent(self) -> None:
        """Let the others in again."""
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Begin anew; what could not be closed is the parent's, and is left alone for good."""
        if self._service is not None:
            _abandoned.append(self._service)
        self._unindexed.clear()
        self._begin()


_abandoned: list[AnalysisService] = []
_shared: dict[Settings, SharedService] = {}
_lock = threading.RLock()


def shared(settings: Settings) -> SharedService:
    """The one of this process with these settings."""
    resolved = settings.model_copy(update={"home": settings.home.resolve()})
    with _lock:
        found = _shared.get(resolved)
        if found is None:
            found = _shared[resolved] = SharedService(resolved)
        return found


@atexit.register
def close_all() -> None:
    """Close every store that this process opened; the next call opens again."""
    with _lock:
        for one in _shared.values():
            one.close()


def _before_fork() -> None:
    _lock.acquire()
    for one in _shared.values():
        one.before_fork()


def _after_fork_in_parent() -> None:
    for one in _shared.values():
        one.after_fork_in_parent()
    _lock.release()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  (the parent's thread held it; the child has its own)
    for one in _shared.values():
        one.after_fork_in_child()
    _lock = threading.RLock()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
