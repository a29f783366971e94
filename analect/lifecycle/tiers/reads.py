"""One way to read: hot rows and warm files as if they were one, cold where it is asked for.

Hot is always read first and wins where both hold a record, so one that is being moved is neither
missed nor shown twice. Pages and cursors are those of :class:`analect.store.reads.RecordReads`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from analect.model.errors import InvalidQuery, NotFound
from analect.model.grouping import Figures, Group, add, check_names, told
from analect.model.ids import RecordId, id_bytes, id_millis, month_of
from analect.model.query import MAX_LIMIT, TIERS, Page, PageRequest, RecordFilter
from analect.store.cursor import Cursors, digest
from analect.store.filters import Span, check, span_of
from analect.store.reads import SCAN_BATCH, RecordReads, behind, check_limit
from analect.store.rows import StoredRecord
from analect.store.threads import ThreadPlace

if TYPE_CHECKING:
    from analect.lifecycle.tiers.warm import WarmReads

Rated = frozenset[str]
_EVALUATIONS = 1_000_000
"""Late ratings in warm files that a filter by rating looks at."""
HOT, WARM, COLD = TIERS


class Files(Protocol):
    """The warm and cold tiers, opened when they are needed."""

    def warm(self) -> WarmReads | None:
        """Reads of the warm tier; None while it is empty."""
        ...

    def may_be_cold(self, record_id: RecordId) -> bool:
        """Whether there are cold files in which a record of this id could be."""
        ...

    def cold_within(
        self, where: RecordFilter, span: Span, limit: int, *, descending: bool
    ) -> Sequence[StoredRecord]:
        """At most ``limit`` cold records that pass, in the order of ids."""
        ...

    def cold_scan(self, where: RecordFilter, span: Span) -> Iterator[StoredRecord]:
        """Every cold record that passes, in the order of ids."""
        ...


class TieredReads:
    """Reads over the tiers. Thread-safe.

    Every method raises :class:`~analect.model.errors.StoreUnavailable` when the database or the
    place of the files does not answer.
    """

    def __init__(self, hot: RecordReads, files: Files, cursors: Cursors) -> None:
        self._hot = hot
        self._files = files
        self._cursors = cursors

    def get(self, ids: Sequence[RecordId]) -> Sequence[StoredRecord]:
        """Those of ``ids`` that are hot or warm, in the order asked for, repeats once."""
        found = {stored.record.id: stored for stored in self._hot.get(ids)}
        wanted = list(dict.fromkeys(ids))
        found |= self.beyond([one for one in wanted if one not in found])
        return [found[record_id] for record_id in wanted if record_id in found]

    def one(self, record_id: RecordId, tier: str | None = None) -> StoredRecord:
        """A record, hot or warm, or of the ``tier`` that is named.

        Raises:
            NotFound: it is not there.
            InvalidQuery: there is no such tier.
        """
        if tier is not None and tier not in TIERS:
            raise InvalidQuery(f"tier must be one of {', '.join(TIERS)}", field="tier")
        if tier == COLD:
            found = self._cold(record_id)
        elif tier == HOT:
            found = next(iter(self._hot.get([record_id])), None)
        elif tier == WARM:
            found = self.beyond([record_id]).get(record_id)
        else:
            found = next(iter(self.get([record_id])), None)
        if found is not None:
            return found
        if tier is None and self._files.may_be_cold(record_id):
            raise NotFound(
                f"no hot or warm record has this id; records of its month, {month_of(record_id)}, "
                "are cold: ask for it with tier=cold (`analect show ID --tier cold`)",
                field="id",
            )
        raise NotFound(f"there is no {f'{tier} ' if tier else ''}record with this id", field="id")

    def beyond(self, ids: Sequence[RecordId]) -> dict[RecordId, StoredRecord]:
        """Those of ``ids`` that are warm, by id."""
        warm = self._files.warm() if ids else None
        return {} if warm is None else warm.get(ids)

    def exists(self, ids: Sequence[RecordId]) -> set[RecordId]:
        """Those of ``ids`` that are hot or warm."""
        found = self._hot.exists(ids)
        return found | self.beyond([one for one in ids if one not in found]).keys()

    def absent(self, ids: Sequence[RecordId]) -> set[RecordId]:
        """Those of ``ids`` that are neither hot nor warm."""
        return set() if self._hot.all_there(ids) else set(ids) - self.exists(ids)

    def indexed(self, ids: Sequence[RecordId]) -> set[RecordId]:
        """Those of ``ids`` that the indexes are to keep: hot ones, unless a file that is not indexed
        is about to take their place, and warm ones of indexed files.
        """
        warm = self._files.warm()
        leaving = set() if warm is None else warm.leaving(ids)
        if not leaving and self._hot.all_there(ids):
            return set(ids)
        hot = self._hot.exists(ids)
        if warm is None:
            return hot
        return (hot - leaving) | warm.indexed([one for one in ids if one not in hot])

    def list(self, where: RecordFilter, page: PageRequest) -> Page[StoredRecord]:
        """A page of the records that pass, in the order of their ids, which is that of time.

        Raises:
            InvalidQuery: the filter names an unknown field or tier, or limit or cursor is wrong.
        """
        check_limit(page.limit)
        check_tier(where)
        query = digest("records", where, page.descending)
        span = span_of(where)
        if page.cursor is not None:
            span = behind(span, self._cursors.read(query, page.cursor), page.descending)
        found = self._within(where, span, page.limit + 1, descending=page.descending)
        items = tuple(found[: page.limit])
        if len(found) <= page.limit:
            return Page(items)
        return Page(items, self._cursors.make(query, id_bytes(items[-1].record.id)))

    def thread(
        self, thread_id: str, page: PageRequest, tier: str | None = None
    ) -> Page[StoredRecord]:
        """A page of a conversation, by ``occurred_at``, ``turn`` (unnumbered first) and id.

        Raises:
            InvalidQuery: limit, cursor or tier is wrong.
        """
        check_limit(page.limit)
        if tier == COLD:
            raise InvalidQuery(
                "cold conversations are listed by month: ask for records with tier=cold, thread, "
                "from and to",
                field="tier",
            )
        query = digest("thread", thread_id, page.descending, *([tier] if tier else []))
        position = None if page.cursor is None else self._cursors.read(query, page.cursor)
        place = None if position is None else ThreadPlace.unpack(position)
        more = False
        found: dict[RecordId, StoredRecord] = {}
        if tier != WARM:
            hot, following = self._hot.thread_within(
                thread_id, position, page.limit, descending=page.descending
            )
            more = following is not None
            found = {stored.record.id: stored for stored in hot}
        if tier != HOT and (warm := self._files.warm()) is not None:
            filed = warm.thread(thread_id, place, page.limit + 1, descending=page.descending)
            found = {stored.record.id: stored for stored in filed} | found
        ordered = sorted(found.values(), key=ThreadPlace.of, reverse=page.descending)
        items = tuple(ordered[: page.limit])
        if not items or not (more or len(ordered) > page.limit):
            return Page(items)
        return Page(items, self._cursors.make(query, ThreadPlace.of(items[-1]).pack()))

    def count(self, where: RecordFilter) -> int:
        """How many records pass; one that is being moved at the moment may count twice.

        Raises:
            InvalidQuery: the filter names an unknown field.
        """
        check(where)
        hot = 0 if where.tier == WARM else self._hot.count(where)
        warm = None if where.tier == HOT else self._files.warm()
        return hot if warm is None else hot + warm.count(where, self._rated(where, warm))

    def aggregate(self, where: RecordFilter, by: Sequence[str]) -> Sequence[Figures]:
        """Figures of the hot and warm records that pass, by group: ``group`` (the values of
        ``by``), ``records``, ``successes``, ``failures``, tokens, ``cost``, and how many were timed
        and rated, with means. One that is being moved at the moment may count twice.

        Raises:
            InvalidQuery: filter or ``by`` names an unknown field, or there are too many groups.
        """
        check(where)
        check_names(by)
        if where.tier == COLD:
            raise InvalidQuery(
                "cold records are not grouped: `analect retention summaries` has their figures",
                field="tier",
            )
        found: dict[Group, Figures] = {}
        if where.tier != WARM:
            add(found, self._hot.grouped(where, by))
        if where.tier != HOT and (warm := self._files.warm()) is not None:
            rated = self._rated(where, warm)
            hot = self._hot.exists
            for group in warm.grouped(where, by, lambda ids: set(hot(ids)), rated):
                add(found, [group])
        return told(by, found)

    def scan(
        self, where: RecordFilter, batch: int = SCAN_BATCH
    ) -> Iterator[Sequence[StoredRecord]]:
        """Everything that passes, in the order of ids, ``batch`` records at a time.

        Raises:
            InvalidQuery: the filter names an unknown field or tier.
        """
        check(where)
        check_tier(where)
        span = span_of(where)
        if where.tier == COLD:
            cold = self._files.cold_scan(where, span)
            while part := list(islice(cold, batch)):
                yield part
            return
        while True:
            found = self._within(where, span, batch, descending=False)
            if found:
                yield found
            if len(found) < batch:
                return
            span = behind(span, id_bytes(found[-1].record.id), descending=False)

    def hashes(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of every record that the indexes keep, in the order of ids."""
        last = after
        warm = self._files.warm()
        filed = iter(()) if warm is None else warm.hashes(after)
        for record_id, content_hash in merge(self._hot.hashes(after), filed):
            if last is None or record_id > last:
                yield record_id, content_hash
                last = record_id

    def feedback(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Sequence[StoredRecord]]:
        """For each of ``ids`` the evaluations that point at it, oldest first."""
        hot, warm = self._hot.feedback(ids), self._files.warm()
        if warm is None:
            return hot
        found: dict[RecordId, Sequence[StoredRecord]] = {}
        for record_id, evaluations in hot.items():
            where = RecordFilter(equals={"kind": "evaluation", "parent_id": record_id})
            filed = warm.within(where, Span(), MAX_LIMIT, descending=False)
            every = {stored.record.id: stored for stored in (*filed, *evaluations)}
            found[record_id] = [every[id_] for id_ in sorted(every)]
        return found

    # -- inside ----------------------------------------------------------------------------

    def _cold(self, record_id: RecordId) -> StoredRecord | None:
        at = id_millis(record_id) * 1_000
        where = RecordFilter(tier=COLD, since=at, until=at + 1_000)
        cold = self._files.cold_scan(where, span_of(where))
        return next((one for one in cold if one.record.id == record_id), None)

    def _within(
        self, where: RecordFilter, span: Span, limit: int, *, descending: bool
    ) -> Sequence[StoredRecord]:
        check(where)
        if where.tier == COLD:
            return self._files.cold_within(where, span, limit, descending=descending)
        found: dict[RecordId, StoredRecord] = {}
        if where.tier != WARM:
            hot = self._hot.within(where, span, limit, descending=descending)
            found = {stored.record.id: stored for stored in hot}
        if where.tier != HOT and (warm := self._files.warm()) is not None:
            rated = self._rated(where, warm)
            filed = warm.within(where, span, limit, descending=descending, rated=rated)
            found = {stored.record.id: stored for stored in filed} | found
        return [found[id_] for id_ in sorted(found, reverse=descending)][:limit]

    def _rated(self, where: RecordFilter, warm: WarmReads) -> Rated:
        """Records whose late rating passes, whatever tier the evaluation is in."""
        bounds = where.numbers.get("rating")
        if bounds is None:
            return frozenset()
        late = RecordFilter(equals={"kind": "evaluation"}, numbers={"rating": bounds})
        filed = warm.within(late, Span(), _EVALUATIONS, descending=False)
        return frozenset(
            self._hot.rated(bounds)
            | {stored.record.parent_id for stored in filed if stored.record.parent_id}
        )


def check_tier(where: RecordFilter) -> None:
    """Refuse what cannot be asked of a tier.

    Raises:
        InvalidQuery: there is no such tier, or the cold one is asked for without its months.
    """
    if where.tier is not None and where.tier not in TIERS:
        raise InvalidQuery(f"tier must be one of {', '.join(TIERS)}", field="tier")
    if where.tier == COLD and (where.since is None or where.until is None):
        raise InvalidQuery(
            "the cold tier is read by month: give from and to (the whole of it is read)",
            field="from" if where.since is None else "to",
        )
