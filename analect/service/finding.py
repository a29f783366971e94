"""Search by words, by meaning, by both."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analect.index.catalog import Indexes
from analect.index.fusion import reciprocal_rank_fusion
from analect.index.projection import text_of
from analect.index.protocols import IndexHit
from analect.index.text.expression import parse
from analect.index.text.highlight import snippets
from analect.index.text.matching import matches
from analect.model.errors import EngineUnavailable, InvalidQuery
from analect.model.ids import RecordId, id_bytes, id_text
from analect.model.query import Hit, RecordFilter, SearchPage, SearchRequest
from analect.model.record import Record
from analect.store.cursor import Cursors, digest

MODES = ("text", "semantic", "hybrid")
DEPTH = 1000
"""How deep the pages of a semantic or hybrid search go."""
FUSED = 200
"""How many of each list a hybrid search fuses, at least."""
RECENT = 500
"""How many of the newest records are looked through while the text index is away."""


_SNIPPETS = 3
_FIGURES = {"text": "bm25", "vector": "cosine"}

_TEXT_PLACE = struct.Struct(">d16sI")
"""Score and id of the last hit of a page of a text search, and how many came before."""
_RANK = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class _Ranked:
    """One candidate: ``parts`` explain its score."""

    id: RecordId
    score: float
    parts: dict[str, float]


class Finder:
    """Answers searches from the indexes, with records from the truth."""

    def __init__(
        self,
        indexes: Indexes,
        load: Callable[[Sequence[RecordId]], list[Record]],
        recent: Callable[[RecordFilter, int], list[Record]],
        cursors: Cursors,
    ) -> None:
        """``recent``: the newest records that pass a filter, opened, at most so many."""
        self._indexes = indexes
        self._load = load
        self._recent = recent
        self._cursors = cursors

    def search(self, request: SearchRequest) -> SearchPage:
        """One page. Query and filter are already pseudonymised. While the text index is away, a
        text search looks through the newest records instead, and says that it is degraded; a
        hybrid one does so when neither words nor meaning can be asked for.

        Raises:
            InvalidQuery: the mode, the expression or the cursor is wrong, or the index is off.
            EngineUnavailable: the index it needs is damaged and being made again.
        """
        if request.mode not in MODES:
            raise InvalidQuery(f"mode must be one of {', '.join(MODES)}", field="mode")
        if not request.query.strip():
            raise InvalidQuery("q is empty: give words to search for", field="q")
        ask = self._text_page if request.mode == "text" else self._ranked_page
        try:
            ranked, following, reason = ask(request)
        except EngineUnavailable as error:
            # Meaning is in no record, and a page goes on from a place that only the index knows.
            if request.mode == "semantic" or request.cursor is not None:
                raise
            return self._among_recent(request, error)
        return SearchPage(self._hits(request, ranked), following, reason is not None, reason)

    def _text_page(self, request: SearchRequest) -> tuple[list[_Ranked], str | None, None]:
        index = self._indexes.text
        if index is None:
            raise InvalidQuery("the text index is switched off (setting index.text)", field="mode")
        binding = _binding(request)
        behind: tuple[float, RecordId] | None = None
        rank = 0
        if request.cursor is not None:
            score, raw_id, rank = _TEXT_PLACE.unpack(self._cursors.read(binding, request.cursor))
            behind = (score, id_text(raw_id))
        with self._indexes.health.watching("text"):
            found = index.search(request.query, request.filter, request.limit + 1, behind)
        page = found[: request.limit]
        following = None
        if len(found) > request.limit:
            last = page[-1]
            place = _TEXT_PLACE.pack(last.score, id_bytes(last.id), rank + len(page))
            following = self._cursors.make(binding, place)
        ranked = [
            _Ranked(hit.id, hit.score, {"text.bm25": hit.score, "text.rank": float(rank + n)})
            for n, hit in enumerate(page, 1)
        ]
        return ranked, following, None

    def _among_recent(self, request: SearchRequest, down: EngineUnavailable) -> SearchPage:
        """The newest first, without scores and without a next page."""
        expression = parse(request.query)
        found: list[Hit] = []
        for record in self._recent(request.filter, RECENT):
            if len(found) == request.limit:
                break
            text = text_of(record)
            if record.payload_state != "erased" and matches(expression, text):
                found.append(Hit(record, 0.0, snippets(expression, text, _SNIPPETS)))
        reason = f"{down}; the newest {RECENT} records were looked through instead"
        return SearchPage(tuple(found), degraded=True, reason=reason)

    def _ranked_page(self, request: SearchRequest) -> tuple[list[_Ranked], str | None, str | None]:
        """One page, the cursor behind it, and why it is degraded, if it is."""
        binding = _binding(request)
        start = 0
        if request.cursor is not None:
            (start,) = _RANK.unpack(self._cursors.read(binding, request.cursor))
        wanted = min(start + request.limit + 1, DEPTH)
        reason: str | None = None
        if request.mode == "semantic":
            hits = self._semantic(request, wanted)
            ranked = [
                _Ranked(hit.id, hit.score, {"vector.cosine": hit.score, "vector.rank": float(n)})
                for n, hit in enumerate(hits, 1)
            ]
        else:
            ranked, reason = self._hybrid(request, max(wanted, FUSED))
        end = start + request.limit
        following = None
        if len(ranked) > end and end < DEPTH:
            following = self._cursors.make(binding, _RANK.pack(end))
        return ranked[start:end], following, reason

    def _semantic(self, request: SearchRequest, limit: int) -> list[IndexHit]:
        vectors, embedder = self._indexes.vectors, self._indexes.embedder
        if vectors is None or embedder is None:
            raise InvalidQuery(
                "the vector index is switched off (setting index.vectors)", field="mode"
            )
        (vector,) = embedder.embed([request.query])
        with self._indexes.health.watching("vectors"):
            return vectors.search(vector, request.filter, limit)

    def _by_words(self, request: SearchRequest, limit: int) -> list[IndexHit]:
        index = self._indexes.text
        if index is None:
            raise InvalidQuery("the text index is switched off (setting index.text)", field="mode")
        with self._indexes.health.watching("text"):
            return index.search(request.query, request.filter, limit, None)

    def _hybrid(self, request: SearchRequest, limit: int) -> tuple[list[_Ranked], str | None]:
        """Both lists fused; where one index is down the other answers, and it says so."""
        lists: dict[str, list[IndexHit]] = {}
        down: EngineUnavailable | None = None
        for name, ask in (("text", self._by_words), ("vector", self._semantic)):
            try:
                lists[name] = ask(request, limit)
            except EngineUnavailable as error:
                down = down or error
        if down is not None and not lists:
            raise down
        parts: dict[RecordId, dict[str, float]] = {}
        for name, hits in lists.items():
            for rank, hit in enumerate(hits, 1):
                figures = {f"{name}.{_FIGURES[name]}": hit.score, f"{name}.rank": float(rank)}
                parts.setdefault(hit.id, {}).update(figures)
        fused = reciprocal_rank_fusion([[hit.id for hit in hits] for hits in lists.values()])
        ranked = [_Ranked(id_, score, {**parts[id_], "rrf": score}) for id_, score in fused]
        if down is None:
            return ranked, None
        return ranked, f"{down}; found by {'words' if 'text' in lists else 'meaning'} alone"

    def _hits(self, request: SearchRequest, ranked: Sequence[_Ranked]) -> tuple[Hit, ...]:
        records = {record.id: record for record in self._load([one.id for one in ranked])}
        text = self._indexes.text
        hits = []
        for one in ranked:
            record = records.get(one.id)
            if record is None or record.payload_state == "erased":
                continue  # gone since it was indexed; the index hears of it through the outbox
            if request.filter.tier not in {None, record.tier}:
                continue
            highlights: tuple[str, ...] = ()
            if text is not None and request.mode != "semantic":
                highlights = text.highlight(request.query, text_of(record))
            hits.append(Hit(record, one.score, highlights, one.parts if request.explain else None))
        return tuple(hits)


def _binding(request: SearchRequest) -> bytes:
    """What a cursor belongs to: the same question, whatever the page size."""
    return digest("search", request.mode, request.query, request.filter)


def wait_until(done: Callable[[], bool], timeout: float, pause: float = 0.02) -> bool:
    """Poll ``done`` until it is true or ``timeout`` seconds have passed."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True
