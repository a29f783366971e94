"""Reading from the store itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from analect.cli.reader import Flat, Listing
from analect.model.flat import to_flat
from analect.model.query import MAX_LIMIT, Hit, PageRequest, RecordFilter, SearchRequest
from analect.service import AnalysisService


class LocalReader:
    """A :class:`~analect.cli.reader.Reader` over the façade."""

    def __init__(self, service: AnalysisService) -> None:
        self._service = service

    def page(self, where: RecordFilter, page: PageRequest) -> Listing:
        """Records that pass."""
        found = self._service.list(where, page)
        return Listing([to_flat(record) for record in found.items], found.next)

    def aggregate(self, where: RecordFilter, by: Sequence[str]) -> Sequence[Flat]:
        """Figures of those that pass, by group."""
        return self._service.aggregate(where, by)

    def get(self, record_id: str, tier: str | None = None) -> Flat:
        """One record, hot or warm, or of the ``tier`` that is named."""
        return to_flat(self._service.get(record_id, tier))

    def thread(self, thread_id: str) -> Iterator[Flat]:
        """A conversation in order."""
        cursor = None
        while True:
            page = PageRequest(limit=MAX_LIMIT, cursor=cursor, descending=False)
            found = self._service.thread(thread_id, page)
            yield from map(to_flat, found.items)
            cursor = found.next
            if cursor is None:
                return

    def search(self, request: SearchRequest) -> Listing:
        """One page of hits."""
        found = self._service.search(request)
        hits = [_hit(hit) for hit in found.items]
        return Listing(hits, found.next, found.degraded, found.reason)

    def related(self, record_id: str, depth: int, limit: int) -> Flat:
        """Nodes and edges."""
        return asdict(self._service.related(record_id, depth, limit))

    def tail(self, after: str | None, *, from_start: bool) -> Iterator[Flat]:
        """Changes as they happen, until the caller stops."""
        if after is None and not from_start:
            after = self._service.changes_head()
        while True:
            page = self._service.changes(after, MAX_LIMIT)
            after = page.next
            for change in page.items:
                flat: Flat = {
                    "cursor": change.cursor,
                    "operation": change.operation,
                    "id": change.record_id,
                }
                if change.record is not None:
                    flat["record"] = to_flat(change.record)
                yield flat
            if not page.items:
                self._service.wait_for_change(60.0, after)

    def status(self) -> Flat:
        """What an operator wants to see."""
        return self._service.status()


def _hit(hit: Hit) -> Flat:
    flat: Flat = {
        "record": to_flat(hit.record),
        "score": hit.score,
        "highlights": list(hit.highlights),
    }
    if hit.explanation is not None:
        flat["explanation"] = hit.explanation
    return flat
