"""What the calls share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

from analect.service import AnalysisService
from analect.settings import Settings
from analect.telemetry.metrics import Telemetry
from analect_ingest.serving import Serving

T = TypeVar("T")

READERS = 8
WAITERS = 32


@dataclass(frozen=True, slots=True)
class Context:
    """One server's parts. ``in_thread`` keeps the event loop free of the store's waiting."""

    service: AnalysisService
    settings: Settings
    telemetry: Telemetry
    serving: Serving
    _readers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READERS))
    _waiters: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(WAITERS))

    async def in_thread(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run a read, or another short call, in a thread."""
        return await to_thread.run_sync(
            partial(call, *args, **options), abandon_on_cancel=True, limiter=self._readers
        )

    async def waiting(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run a call that may wait long, so that it takes no reader's place."""
        return await to_thread.run_sync(
            partial(call, *args, **options), abandon_on_cancel=True, limiter=self._waiters
        )
