"""Hot rows into warm files: the way of a record from SQL to Parquet.

Four things go on at once: the database is asked how far the next rows reach, and for those before
them, these become columns, and a file is written or read back. They go on through all kinds of a
month, so that nothing stands still while the last file of a kind is finished.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine

from analect.lifecycle.tiers.ahead import ahead, overlapped
from analect.lifecycle.tiers.columns import anonymised, table_of
from analect.lifecycle.tiers.moving import Mover, Step, merge_tables
from analect.lifecycle.tiers.part import MOST_BYTES, MOST_ROWS, WARM
from analect.model.ids import Clock, RecordId
from analect.store.erasure import one_eraser
from analect.store.leaving import Begun, Leaving, begun_rows, remove_copied
from analect.store.purging import unindex
from analect.store.tier_files import REMOVING, TierFile, TierFiles

ABSORBED_ROWS = 16_384
"""A file with fewer rows is written again together with what comes to its month."""
BETWEEN_ERASURES = 4 * MOST_ROWS
"""Rows that are copied before an erasure gets its turn."""
TABLES_AHEAD = 8
"""Tables of rows that wait while a file is read back."""


@dataclass(frozen=True, slots=True)
class Going:
    """Hot rows that become warm, at most ``limit``, without what ``anonymise`` takes away;
    ``indexed``: whether the indexes keep them.
    """

    leaving: Leaving
    anonymise: str
    indexed: bool
    limit: int


@dataclass(slots=True, eq=False)
class _Left:
    """How far it is."""

    going: Going
    after: RecordId | None = None
    read: int = 0
    done: bool = False


class Copier:
    """Callers hold the lock of the one retention run. ``processors`` hear of what becomes warm by a
    policy that does not keep it indexed, those of ``later`` later (:mod:`analect.store.deferred`).
    """

    def __init__(
        self,
        engine: Engine,
        files: TierFiles,
        mover: Mover,
        *,
        clock: Clock,
        processors: Sequence[str] = (),
        later: Collection[str] = (),
        step: Step = lambda _name: None,
    ) -> None:
        self._engine = engine
        self._files = files
        self._mover = mover
        self._clock = clock
        self._processors = processors
        self._later = later
        self._step = step

    def copy(self, going: Sequence[Going]) -> int:
        """Copy hot rows to warm files; they stand as ``removing`` afterwards. How many rows.

        Raises:
            StoreUnavailable: database or place do not answer. Running again goes on.
            Corrupt: a file does not read back as it was written; it does not count.
        """
        every = [_Left(one) for one in going]
        while left := [one for one in every if not one.done]:
            # No erasure may seal these rows again between the look at them and the file.
            with one_eraser(self._engine), closing(self._tables(left)) as tables:
                for one, of_one in groupby(tables, key=lambda pair: pair[0]):
                    self._copy(one.going, (table for _, table in of_one))
        return sum(one.read for one in every)

    # -- inside ----------------------------------------------------------------------------

    def _tables(self, left: Sequence[_Left]) -> Generator[tuple[_Left, Any]]:
        """Hot rows as tables. The database gets rows ready while others become columns, and these
        wait while a file is written and read back.
        """
        with closing(overlapped(self._begun(left), lambda one: (one[0], one[1].finish()))) as rows:
            made = ((one, anonymised(table_of(some), one.going.anonymise)) for one, some in rows)
            with closing(ahead(made, TABLES_AHEAD)) as tables:
                yield from tables

    def _begun(self, left: Sequence[_Left]) -> Iterator[tuple[_Left, Begun]]:
        """Hot rows, until an erasure gets its turn."""
        room = BETWEEN_ERASURES
        for one in left:
            before, most = one.read, min(one.going.limit - one.read, room)
            for some in begun_rows(self._engine, one.going.leaving, one.after, most):
                one.read, one.after = one.read + some.heads.count, some.heads.last
                yield one, some
            room -= one.read - before
            one.done = one.read < before + most or one.read == one.going.limit

    def _copy(self, going: Going, tables: Iterator[Any]) -> None:
        """Let hot rows stand in files."""
        for first in tables:
            self._step("rows read")
            self._keep(going, _of_one_file(first, tables))

    def _keep(self, going: Going, tables: Iterator[Any]) -> None:
        """Let hot rows stand in a file, those of small files with them, unless all of them are warm
        already.
        """
        leaving, indexed = going.leaving, going.indexed
        standing = self._files.standing(WARM, kind=leaving.kind, month=leaving.month)
        small = [one for one in standing if one.rows < ABSORBED_ROWS and one.indexed == indexed]
        left: list[RecordId] = []

        def noted(tables: Iterator[Any]) -> Iterator[Any]:
            for table in tables:
                if not indexed:
                    left.extend(table.column("id").to_pylist())
                yield table

        fresh = self._fresh(tables, [one for one in standing if one not in small])
        if (first := next(fresh, None)) is None:
            return
        coming = noted(chain([first], fresh))
        if small:
            coming = among(merge_tables([*map(self._mover.load, small)]), coming)
        of = (leaving.kind, leaving.month)
        filed = self._mover.write(coming, WARM, of, indexed=indexed, state=REMOVING)

        def within(connection: Connection) -> bool:
            unindex(connection, left, self._processors, self._clock(), self._later)
            return True

        self._mover.publish([filed], small, within)

    def _fresh(self, tables: Iterator[Any], files: Sequence[TierFile]) -> Iterator[Any]:
        """Without the rows that are warm already, because they were sent again: those go."""
        known: dict[str, Any] = {}
        for table in tables:
            ids = table.column("id")
            first, last = ids[0].as_py(), ids[-1].as_py()
            again: list[RecordId] = []
            for file in files:
                if file.first_id <= last and first <= file.last_id:
                    if file.name not in known:
                        known[file.name] = pa.array(self._mover.ids(file), pa.string())
                    again += ids.filter(pc.is_in(ids, known[file.name])).to_pylist()
            if again:
                remove_copied(self._engine, again, self._step)
            fresh = table.filter(pc.invert(pc.is_in(ids, pa.array(again)))) if again else table
            if len(fresh):
                yield fresh


def _of_one_file(first: Any, tables: Iterator[Any]) -> Iterator[Any]:
    """Tables until they are a file."""
    rows = size = 0
    for table in chain([first], tables):
        yield table
        rows, size = rows + len(table), size + table.nbytes
        if rows >= MOST_ROWS or size >= MOST_BYTES:
            return


def among(held: Any, tables: Iterable[Any]) -> Iterator[Any]:
    """Tables whose ids rise, with the rows of ``held`` between theirs, in the order of ids; of two
    of an id that of ``held`` stays.
    """
    for table in tables:
        last = table.column("id")[-1]
        count = pc.sum(pc.less_equal(held.column("id"), last)).as_py() or 0
        yield merge_tables([held.slice(0, count), table]) if count else table
        held = held.slice(count)
    if len(held):
        yield held
