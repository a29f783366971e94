"""What the whole server knows of itself: stopping, ready, something was committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from anyio import CapacityLimiter, to_thread

from analect.service import Health
from analect.telemetry.http import HttpMetrics

FRESH_SECONDS = 1.0
_PATIENCE_SECONDS = 3.0
STOPPING = "the server is shutting down"


class Serving:
    """For one event loop; :meth:`stop` alone may be called from a signal handler."""

    def __init__(self, health: Callable[[], Health], metrics: HttpMetrics, *, grace: float) -> None:
        """``grace``: seconds that requests under way get once the server stops."""
        self._health = health
        self._metrics = metrics
        self._grace = grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[asyncio.Timeout] = set()
        self._known: Health | None = None
        self._known_since = 0.0
        self._checking = asyncio.Lock()
        self._threads = CapacityLimiter(2)
        self.stopping = False
        self.stopped = asyncio.Event()

    def begin(self) -> None:
        """The loop runs."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Not ready from now on; requests under way have :attr:`grace` seconds, streams end."""
        self.stopping = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wind_down)

    @contextmanager
    def under_way(self, timeout: asyncio.Timeout) -> Iterator[None]:
        """Within the block, a request's time is cut when the server stops."""
        self._under_way.add(timeout)
        try:
            yield
        finally:
            self._under_way.discard(timeout)

    async def health(self) -> Health:
        """Whether it can take records now; looked up at most once a second."""
        if self.stopping:
            return Health(ready=False, reasons=(STOPPING,))
        async with self._checking:
            if self._known is None or monotonic() - self._known_since >= FRESH_SECONDS:
                self._known = await self._look()
                self._known_since = monotonic()
                self._metrics.ready.set(self._known.ready)
        return self._known

    async def _look(self) -> Health:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await to_thread.run_sync(
                    self._health, abandon_on_cancel=True, limiter=self._threads
                )
        except TimeoutError:
            return Health(ready=False, reasons=("the store does not answer in time",))

    def _wind_down(self) -> None:
        self._metrics.ready.set(0)
        self.stopped.set()
        latest = asyncio.get_running_loop().time() + self._grace
        for timeout in self._under_way:
            when = timeout.when()
            if not timeout.expired() and (when is None or when > latest):
                timeout.reschedule(latest)
