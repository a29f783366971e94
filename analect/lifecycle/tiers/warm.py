"""Reading warm records: by id, in pages, by thread, all of them.

The catalogue is read after the hot rows: a record that was moved in between is then met here, for
its file stands before its hot row goes. A file that was replaced while it was being read is looked
for again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from analect.lifecycle.tiers.columns import stored_records
from analect.lifecycle.tiers.conditions import columns_of, mask
from analect.lifecycle.tiers.grouping import Grouper, columns_for
from analect.lifecycle.tiers.locator import GROUPED, SCOPES
from analect.lifecycle.tiers.part import ROW_GROUP, WARM
from analect.lifecycle.tiers.shelf import Part, Shelf, places_of
from analect.model.errors import NotFound, StoreUnavailable
from analect.model.grouping import Figures, Group
from analect.model.ids import RecordId
from analect.model.query import RecordFilter
from analect.store.filters import Span, inside, span_of
from analect.store.rows import StoredRecord
from analect.store.threads import ThreadPlace
from analect.store.tier_files import REMOVING, TierFile, TierFiles

_ATTEMPTS = 5
_GROUPS_AT_ONCE = (1, 2, 4, 8, 16, 32)
"""Row groups of one look: few where every row passes, many where hardly one does."""

Rated = frozenset[str]
"""Ids of records."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a record is."""

    id: RecordId
    name: str
    group: int
    row: int


class WarmReads:
    """Reads of the warm tier. Thread-safe.

    Every method raises ``StoreUnavailable`` when the place or the database does not answer.
    """

    def __init__(self, files: TierFiles, shelf: Shelf) -> None:
        self._files = files
        self._shelf = shelf

    def get(self, ids: Sequence[RecordId]) -> dict[RecordId, StoredRecord]:
        """Those of ``ids`` that are there, by id."""
        return self._again(lambda: self._get(ids)) if ids else {}

    def indexed(self, ids: Sequence[RecordId]) -> set[RecordId]:
        """Those of ``ids`` that are in files whose records the indexes keep."""
        return self._again(lambda: self._held(ids, lambda file: file.indexed))

    def leaving(self, ids: Sequence[RecordId]) -> set[RecordId]:
        """Those of ``ids`` that are on their way from hot into files that are not indexed."""
        return self._again(
            lambda: self._held(ids, lambda file: file.state == REMOVING and not file.indexed)
        )

    def within(
        self,
        where: RecordFilter,
        span: Span,
        limit: int,
        *,
        descending: bool,
        rated: Rated = frozenset(),
    ) -> list[StoredRecord]:
        """At most ``limit`` records that pass, in the order of ids. ``rated`` pass a filter of
        ratings by an evaluation that points at them.
        """

        def look() -> list[StoredRecord]:
            found: list[_Found] = []
            for one in self._matches(where, span, rated, descending=descending):
                if found and found[-1].id == one.id:
                    continue
                found.append(one)
                if len(found) == limit:
                    break
            return self._loaded(found)

        return self._again(look)

    def thread(
        self, thread_id: str, behind: ThreadPlace | None, limit: int, *, descending: bool
    ) -> list[StoredRecord]:
        """At most ``limit`` records of a conversation behind a place in it, in its order."""

        def look() -> list[StoredRecord]:
            places = sorted(self._of_thread(thread_id), key=lambda one: one[0], reverse=descending)
            if behind is not None:
                places = [
                    one for one in places if (one[0] < behind if descending else one[0] > behind)
                ]
            unique = dict.fromkeys(place.id for place, _ in places[: 2 * limit])
            wanted = list(unique)[:limit]
            by_id = {place.id: found for place, found in places}
            loaded = {one.record.id: one for one in self._loaded([by_id[id_] for id_ in wanted])}
            return [loaded[id_] for id_ in wanted]

        return self._again(look)

    def count(self, where: RecordFilter, rated: Rated = frozenset()) -> int:
        """How many pass."""
        if where == RecordFilter():
            return sum(file.rows for file in self._files.standing(WARM))
        span = span_of(where)
        return self._again(
            lambda: sum(1 for _ in self._matches(where, span, rated, descending=False))
        )

    def grouped(
        self,
        where: RecordFilter,
        by: Sequence[str],
        hot: Callable[[Sequence[RecordId]], set[RecordId]],
        rated: Rated = frozenset(),
    ) -> Iterator[tuple[Group, Figures]]:
        """The figures of those that pass, group by group, file by file: a group may come again.
        ``hot`` says which of the ids of a file whose rows are still being removed are hot as well;
        they are left out.
        """
        columns = list(dict.fromkeys((*columns_of(where), *columns_for(by))))
        span = span_of(where)
        with closing(Grouper(by)) as grouper:
            for file in self._files.standing(WARM):
                if not _may_hold(file, where, span) or not self._may_name(file, where):
                    continue
                table = self._passing(file, where, columns, rated)
                if file.state == REMOVING:
                    twice = pa.array(sorted(hot(table.column("id").to_pylist())), pa.string())
                    table = table.filter(pc.invert(pc.is_in(table.column("id"), twice)))
                yield from grouper.group(table)

    def _passing(
        self, file: TierFile, where: RecordFilter, columns: Sequence[str], rated: Rated
    ) -> Any:
        """The rows of a file that pass."""
        part = self._shelf.part(file.name)
        table = part.rows(self._groups(file, part, where, span_of(where)), columns)
        passing = mask(table, where, rated)
        return table if passing.all() else table.filter(pa.array(passing))

    def hashes(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of what the indexes keep, in the order of ids, behind ``after``."""
        files = [
            file
            for file in self._files.standing(WARM)
            if file.indexed and (after is None or file.last_id > after)
        ]
        yield from heapq.merge(*(self._hashes(file, after) for file in files))

    # -- inside ----------------------------------------------------------------------------

    def _again(self, look: Callable[[], T]) -> T:
        """Look again when a file was replaced meanwhile."""
        for _ in range(_ATTEMPTS):
            try:
                return look()
            except NotFound:
                continue
        raise StoreUnavailable(
            "warm files are missing: set tiers.place to where they are, or put them back; "
            "`analect archive` names them"
        )

    def _held(self, ids: Sequence[RecordId], which: Callable[[TierFile], bool]) -> set[RecordId]:
        """Those of ``ids`` that are in files of some sort."""
        found: set[RecordId] = set()
        for file in filter(which, self._files.standing(WARM) if ids else ()):
            if wanted := [one for one in ids if file.first_id <= one <= file.last_id]:
                found |= self._shelf.part(file.name).holds(wanted)
        return found

    def _get(self, ids: Sequence[RecordId]) -> dict[RecordId, StoredRecord]:
        found: list[_Found] = []
        for file in self._files.standing(WARM):
            wanted = [one for one in ids if file.first_id <= one <= file.last_id]
            if not wanted:
                continue
            part = self._shelf.part(file.name)
            for group, rows in part.find(wanted).items():
                found += [_Found(RecordId(""), file.name, group, row) for row in rows]
        return {one.record.id: one for one in self._loaded(found)}

    def _loaded(self, found: Sequence[_Found]) -> list[StoredRecord]:
        """The records at these places, in the order given."""
        by_group: dict[tuple[str, int], list[int]] = {}
        for one in found:
            by_group.setdefault((one.name, one.group), []).append(one.row)
        loaded: dict[tuple[str, int, int], StoredRecord] = {}
        for (name, group), rows in by_group.items():
            table = self._shelf.part(name).rows([group]).take(rows)
            for row, stored in zip(rows, stored_records(table, WARM), strict=True):
                loaded[name, group, row] = stored
        return [loaded[one.name, one.group, one.row] for one in found]

    def _matches(
        self, where: RecordFilter, span: Span, rated: Rated, *, descending: bool
    ) -> Iterator[_Found]:
        """What passes, in the order of ids: a merge that opens a file only when its turn comes."""
        files = [file for file in self._files.standing(WARM) if _may_hold(file, where, span)]
        edges = {file.name: file.last_id if descending else file.first_id for file in files}
        # Ids compare as texts; for the other direction their place in the order is turned round.
        waiting: list[tuple[Any, int, Iterator[_Found] | None, _Found | None]] = [
            (_key(edges[file.name], descending), number, None, None)
            for number, file in enumerate(files)
        ]
        heapq.heapify(waiting)
        while waiting:
            _, number, walk, found = heapq.heappop(waiting)
            if found is not None:
                yield found
            if walk is None:
                walk = self._within(files[number], where, span, rated, descending=descending)
            following = next(walk, None)
            if following is not None:
                key = _key(following.id, descending)
                heapq.heappush(waiting, (key, number, walk, following))

    def _within(
        self,
        file: TierFile,
        where: RecordFilter,
        span: Span,
        rated: Rated,
        *,
        descending: bool,
    ) -> Iterator[_Found]:
        if not self._may_name(file, where):
            return
        part = self._shelf.part(file.name)
        groups = self._groups(file, part, where, span)
        columns = columns_of(where)
        if descending:
            groups.reverse()
        step = 0
        while groups:
            size = _GROUPS_AT_ONCE[min(step, len(_GROUPS_AT_ONCE) - 1)]
            step += 1
            now, groups = sorted(groups[:size]), groups[size:]
            table = part.rows(now, columns)
            ids = table.column("id")
            rows = places_of(mask(table, where, rated))
            for row in reversed(rows) if descending else rows:
                record_id = RecordId(ids[row].as_py())
                if inside(record_id, span):
                    # Every row group but the last of a file is full.
                    group, place = now[row // ROW_GROUP], row % ROW_GROUP
                    yield _Found(record_id, file.name, group, place)

    def _may_name(self, file: TierFile, where: RecordFilter) -> bool:
        """Whether the file may hold a row of every value that its locator knows."""
        asked = [scope for scope in SCOPES if scope in where.equals]
        if not asked:
            return True
        locator = self._shelf.locator(file.name)
        return all(locator.has(scope, where.equals[scope]) for scope in asked)

    def _groups(self, file: TierFile, part: Part, where: RecordFilter, span: Span) -> list[int]:
        """Row groups that may hold what is looked for."""
        groups = set(range(part.groups))
        for scope in GROUPED:
            if scope in where.equals:
                groups &= set(self._shelf.locator(file.name).row_groups(scope, where.equals[scope]))
        ends = [*part.firsts[1:], None]
        return [
            number
            for number in sorted(groups)
            if (span.high is None or part.firsts[number] < span.high)
            and (span.low is None or (end := ends[number]) is None or end > span.low)
        ]

    def _of_thread(self, thread_id: str) -> Iterator[tuple[ThreadPlace, _Found]]:
        columns = ["id", "thread_id", "occurred_at", "turn"]
        where = RecordFilter(equals={"thread_id": thread_id})
        for file in self._files.standing(WARM):
            groups = self._shelf.locator(file.name).row_groups("thread_id", thread_id)
            for group in groups:
                table = self._shelf.part(file.name).rows([group], columns)
                for row in places_of(mask(table, where)):
                    record_id = RecordId(table.column("id")[row].as_py())
                    turn = table.column("turn")[row].as_py()
                    at = table.column("occurred_at")[row].value
                    place = ThreadPlace(at, -1 if turn is None else turn, record_id)
                    yield place, _Found(record_id, file.name, group, row)

    def _hashes(self, file: TierFile, after: RecordId | None) -> Iterator[tuple[RecordId, bytes]]:
        part = self._shelf.part(file.name)
        ends = [*part.firsts[1:], None]
        for group, end in enumerate(ends):
            if after is not None and end is not None and end <= after:
                continue
            table = part.rows([group], ["id", "content_hash"])
            pairs = zip(
                table.column("id").to_pylist(),
                table.column("content_hash").to_pylist(),
                strict=True,
            )
            yield from (pair for pair in pairs if after is None or pair[0] > after)


def _may_hold(file: TierFile, where: RecordFilter, span: Span) -> bool:
    kind = where.equals.get("kind")
    return (
        (kind is None or kind == file.kind)
        and (span.high is None or file.first_id < span.high)
        and (span.low is None or file.last_id >= span.low)
    )


def _key(record_id: RecordId, descending: bool) -> int:
    number = int(record_id.replace("-", ""), 16)
    return -number if descending else number
