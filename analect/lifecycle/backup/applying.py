"""Applying a chain of links to the tables of one database, within one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, exists, select

from analect.lifecycle.backup.beside import Beside
from analect.lifecycle.backup.deciding import OF_RECORDS, Decider
from analect.lifecycle.backup.erased import Erased
from analect.lifecycle.backup.filed import FiledRecords
from analect.lifecycle.backup.format import ADDED, Row, RowHash, Tally, compacted, pack_row, widened
from analect.lifecycle.backup.loading import Loader
from analect.lifecycle.backup.manifest import (
    Catalog,
    Checkpoint,
    HeldFile,
    Manifest,
    TableContent,
)
from analect.lifecycle.backup.read import Chunk, LinkReader
from analect.lifecycle.backup.write import Progress
from analect.model.errors import Corrupt
from analect.model.ids import id_text
from analect.store.erasure import FINAL, PENDING, Receipt
from analect.store.raw import Adding
from analect.store.rows import COLUMNS
from analect.store.tables import metadata, records

MANY = 20_000
"""Rows from which on indexes are made at the end."""
_ELSEWHERE = "columns, but no payload, in backups made before, until they expire"
_AT_ONCE = 500


@dataclass(slots=True)
class Applying:
    """One restore under way. ``dropped``: rows by table that were left out; ``filed``: records that
    were taken out of files. ``beside``: a process that helps, where there are many rows.
    """

    connection: Connection
    catalog: Catalog
    decider: Decider
    hashing: RowHash
    progress: Progress
    checkpoint: Checkpoint
    beside: Beside | None = None
    loader: Loader = field(init=False)
    dropped: dict[str, int] = field(default_factory=dict)
    filed: int = 0
    _links: list[Manifest] = field(default_factory=list)
    _seen: int = 0
    _total: int = 0

    def __post_init__(self) -> None:
        self.loader = Loader(self.connection, self.hashing)

    def chain(
        self, chain: Sequence[Manifest], filed: FiledRecords | None, held: Sequence[HeldFile]
    ) -> None:
        """Apply every link, then take what is asked for out of the files ``held``, then drop what
        evaluates records that are gone.
        """
        self._links += chain
        self._total = sum(one.rows for one in chain)
        many = self._total >= MANY
        with self.loader.without_indexes() if many else nullcontext():
            for manifest in chain:
                reader = LinkReader(self.catalog, manifest)
                if manifest.parent is not None:
                    self._remove(reader)
                self._add(reader)
                self.checkpoint("link loaded")
            if filed is not None and self.decider.selection.within_files:
                self._take_filed(filed, held)
        self._drop_evaluations(set(self.decider.doomed))

    def receipts(self, erased: Sequence[Erased]) -> None:
        """Write down the erasures that were made again; where there are files, the eraser is still
        to go through them.
        """
        filed = "tier_files" in self.loader.tallies and self.loader.tallies["tier_files"].rows
        receipts = [
            Receipt(one.id, one.scope, one.target, PENDING, {}, (), one.at)
            if filed
            else Receipt(one.id, one.scope, one.target, FINAL, {}, (_ELSEWHERE,), one.at, one.at)
            for one in erased
        ]
        rows = [
            (
                r.id,
                r.scope,
                r.target,
                r.state,
                msgspec.json.encode(r).decode(),
                r.created_at,
                r.finished_at,
            )
            for r in receipts
        ]
        columns = ("id", "scope", "target", "state", "receipt", "created_at", "finished_at")
        content = TableContent("erasures", columns, ("id",), False, len(rows), "")
        self.loader.remove("erasures", [(row[0],) for row in rows])
        self.loader.add_other(content, rows)

    def _remove(self, reader: LinkReader) -> None:
        """Take away every row that an increment replaces or knows to be gone."""
        for content in reader.manifest.tables:
            for month in content.months:
                self.loader.remove_month(month)
        for chunk in reader.chunks(self.beside):
            if chunk.table.whole:
                continue
            rows: Iterable[Row] = chunk.rows
            if chunk.done == ADDED:
                held = [chunk.table.columns[place] for place in chunk.held]
                places = [held.index(name) for name in chunk.table.key]
                rows = (tuple(row[place] for place in places) for row in rows)
            self.loader.remove(chunk.table.name, rows)

    def _add(self, reader: LinkReader) -> None:
        for content in reader.manifest.tables:
            self.loader.begin(content)
        with Adding(self.connection) as adding:
            for chunk in reader.chunks(self.beside):
                if chunk.done != ADDED:
                    continue
                if chunk.table.name == "key_shards":
                    self.decider.begin(chunk.rows)
                self.loader.add(adding, chunk.table, *self._kept(chunk))
                self._seen += len(chunk.rows)
                self.progress(self._seen, self._total)

    def _kept(self, chunk: Chunk) -> tuple[Sequence[int], list[Row]]:
        """The rows as they are to be restored, and which columns they have."""
        keep = self.decider.keep(chunk.table)
        if keep is None:
            return chunk.held, chunk.rows
        kept = []
        whole = widened(chunk.held, chunk.rows, len(chunk.table.columns))
        for row in whole:
            one = keep(row)
            if one is not row:
                self.loader.settle(chunk.table, row, one)
            if one is not None:
                kept.append(one)
        if lost := len(whole) - len(kept):
            self.dropped[chunk.table.name] = self.dropped.get(chunk.table.name, 0) + lost
        return compacted(kept)

    def _take_filed(self, filed: FiledRecords, held: Sequence[HeldFile]) -> None:
        """Add what is asked for from files that are left out."""
        decider = self.decider
        content = TableContent("records", COLUMNS, ("id",), False, 0, "")
        keep = decider.keep(content)
        for rows in filed.rows(self.catalog, held, decider.located, decider.selection):
            kept = rows if keep is None else [one for row in rows if (one := keep(row)) is not None]
            # One that was being moved is hot as well.
            there = self.loader.present("records", [(row[0],) for row in kept])
            fresh = [row for row in kept if row[:1] not in there]
            self.loader.add_other(content, fresh)
            self.filed += len(fresh)
        if decider.selection.takes("records"):
            self._drop_strays()

    def read_back(self) -> None:
        """Compare what the database holds with what the links say.

        Raises:
            Corrupt: they differ.
        """
        summed = self._summed if self.beside is None else self.beside.summed
        if (name := self.loader.differing(summed)) is None:
            return
        for manifest in self._links:
            LinkReader(self.catalog, manifest).check()
        raise Corrupt(f"the database gives back other rows of {name} than it took")

    def _summed(self, rows: Iterable[Row]) -> tuple[int, str]:
        tally = Tally(self.hashing)
        tally.add(map(pack_row, rows))
        return tally.sum

    def _drop_strays(self) -> None:
        """What is about records that stayed in files stays there too."""
        for name in OF_RECORDS:
            table = metadata.tables[name]
            gone = ~exists().where(records.c.id == table.c.record_id)
            found = self.connection.execute(select(*table.primary_key.columns).where(gone))
            self._drop(name, [_raw_key(table, row) for row in found])

    def _drop_evaluations(self, gone: set[bytes]) -> None:
        """Evaluations of erased records go with them, and evaluations of those."""
        while gone:
            fresh: set[bytes] = set()
            for part in _parts(sorted(gone)):
                found = select(records.c.id).where(
                    records.c.kind == "evaluation", records.c.parent_id.in_(map(id_text, part))
                )
                fresh |= {
                    bytes.fromhex(one.replace("-", ""))
                    for one in self.connection.execute(found).scalars()
                }
            self._drop("records", [(one,) for one in sorted(fresh)])
            for name in ("annotations", "content_hashes"):
                self._drop(name, self._of_records(name, sorted(fresh)))
            gone = fresh

    def _of_records(self, name: str, ids: Sequence[bytes]) -> list[Row]:
        """Primary keys of the rows of a table that are about records."""
        table = metadata.tables[name]
        keys: list[Row] = []
        for part in _parts(ids):
            about = table.c.record_id.in_(map(id_text, part))
            found = self.connection.execute(select(*table.primary_key.columns).where(about))
            keys += [_raw_key(table, row) for row in found]
        return keys

    def _drop(self, name: str, keys: Sequence[Row]) -> None:
        if count := self.loader.remove(name, keys):
            self.dropped[name] = self.dropped.get(name, 0) + count


def _raw_key(table: Table, row: Sequence[Any]) -> Row:
    """A primary key as SQLAlchemy gives it, as :mod:`analect.store.raw` has it."""
    return tuple(
        bytes.fromhex(value.replace("-", "")) if column.name == "record_id" else value
        for column, value in zip(table.primary_key.columns, row, strict=True)
    )


def _parts(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
