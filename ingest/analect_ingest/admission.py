"""Admission by bytes in flight: refuse at the door rather than fall over inside."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from analect.model.errors import Overloaded


class Meter(Protocol):
    """Shows a number."""

    def set(self, value: float) -> None:
        """The number now."""
        ...


class Admission:
    """Counts the bytes of bodies being worked on. For one event loop: it takes no lock."""

    def __init__(self, limit: int, meter: Meter) -> None:
        self._limit = limit
        self._meter = meter
        self._held = 0

    def ticket(self) -> Ticket:
        """A place for one request; hold it in a ``with`` block until the answer is known."""
        return Ticket(self)

    def _change(self, by: int) -> None:
        # A single body over the whole limit is a matter of its size limit, not of overload.
        if by > 0 and self._held and self._held + by > self._limit:
            raise Overloaded(
                "too many bytes are being worked on; send it again after the time in Retry-After",
                retry_after=1.0,
            )
        self._held += by
        self._meter.set(self._held)


class Ticket:
    """The bytes that one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._admission._change(-self._size)  # noqa: SLF001  (one idea in two classes)

    def hold(self, size: int) -> None:
        """Hold at least ``size`` bytes.

        Raises:
            Overloaded: there is no room; what is held stays held until the block ends.
        """
        more = size - self._size
        if more > 0:
            self._admission._change(more)  # noqa: SLF001
            self._size = size
