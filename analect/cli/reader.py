"""Reading, from the store itself or through a server: the same flat JSON objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from analect.model.query import PageRequest, RecordFilter, SearchRequest

Flat = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of flat objects; ``next`` is the cursor behind it, ``reason`` why it is degraded."""

    items: list[Flat]
    next: str | None = None
    degraded: bool = False
    reason: str | None = None


class Reader(Protocol):
    """What the reading commands need."""

    def page(self, where: RecordFilter, page: PageRequest) -> Listing:
        """Records that pass."""
        ...

    def aggregate(self, where: RecordFilter, by: Sequence[str]) -> Sequence[Flat]:
        """Figures of those that pass, by group."""
        ...

    def get(self, record_id: str, tier: str | None = None) -> Flat:
        """One record, hot or warm, or of the ``tier`` that is named."""
        ...

    def thread(self, thread_id: str) -> Iterator[Flat]:
        """A conversation in order."""
        ...

    def search(self, request: SearchRequest) -> Listing:
        """Hits: ``record``, ``score``, ``highlights`` and perhaps ``explanation``."""
        ...

    def related(self, record_id: str, depth: int, limit: int) -> Flat:
        """Nodes and edges."""
        ...

    def tail(self, after: str | None, *, from_start: bool) -> Iterator[Flat]:
        """Changes as they happen: ``cursor``, ``operation``, ``id`` and ``record``."""
        ...

    def status(self) -> Flat:
        """What an operator wants to see."""
        ...
