"""Reading through a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from analect.cli.reader import Flat, Listing
from analect.client import Client
from analect.model.flat import format_time
from analect.model.query import PageRequest, RecordFilter, SearchRequest


class RemoteReader:
    """A :class:`~analect.cli.reader.Reader` over the client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def page(self, where: RecordFilter, page: PageRequest) -> Listing:
        """Records that pass."""
        found = self._client.list_page(
            limit=page.limit,
            cursor=page.cursor,
            order=None if page.descending else "asc",
            **_filters(where),
        )
        return Listing(found["items"], found.get("next"))

    def aggregate(self, where: RecordFilter, by: Sequence[str]) -> Sequence[Flat]:
        """Figures of those that pass, by group."""
        items: Sequence[Flat] = self._client.aggregate(by, **_filters(where))["items"]
        return items

    def get(self, record_id: str, tier: str | None = None) -> Flat:
        """One record, hot or warm, or of the ``tier`` that is named."""
        return self._client.get(record_id, tier=tier)

    def thread(self, thread_id: str) -> Iterator[Flat]:
        """A conversation in order."""
        return self._client.thread(thread_id)

    def search(self, request: SearchRequest) -> Listing:
        """One page of hits."""
        found = self._client.search(
            request.query,
            mode=request.mode,
            limit=request.limit,
            cursor=request.cursor,
            explain=request.explain or None,
            **_filters(request.filter),
        )
        degraded = found.get("degraded", False)
        return Listing(found["items"], found.get("next"), degraded, found.get("reason"))

    def related(self, record_id: str, depth: int, limit: int) -> Flat:
        """Nodes and edges."""
        return self._client.related(record_id, depth=depth, limit=limit)

    def tail(self, after: str | None, *, from_start: bool) -> Iterator[Flat]:
        """Changes as they happen, until the caller stops."""
        if from_start:
            while True:
                page = self._client.changes(after)
                yield from page["items"]
                after = page["next"]
                if not page["items"]:
                    break
        yield from self._client.tail(after)

    def status(self) -> Flat:
        """What an operator wants to see."""
        return self._client.status()


def _filters(where: RecordFilter) -> dict[str, Any]:
    return {
        **where.equals,
        "tags": where.tags,
        "dimensions": where.dimensions,
        "success": where.success,
        "since": None if where.since is None else format_time(where.since),
        "until": None if where.until is None else format_time(where.until),
        "tier": where.tier,
    }
