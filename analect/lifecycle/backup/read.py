"""Reading a link: every object against what the signed manifest says of it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from analect.lifecycle.backup.format import (
    ADDED,
    Part,
    Row,
    Tally,
    binding,
    compacted,
    unpack_row,
    unsealed,
)
from analect.lifecycle.backup.manifest import CHANGES, Catalog, Manifest, TableContent
from analect.model.errors import Corrupt


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a table, or keys of rows that are gone; of their columns those that ``held`` anything."""

    table: TableContent
    done: int
    held: tuple[int, ...]
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Reading:
    """What it takes to read the objects of a link, in order: their paths, what each is bound to,
    and the plain keyset, which is not to be kept or written down anywhere.
    """

    keyset: bytes
    objects: tuple[tuple[str, bytes], ...]


class Unsealer(Protocol):
    """Somebody else who reads objects."""

    def ready(self) -> bool:
        """Whether it is there by now; until then objects are read without it."""
        ...

    def parts(self, reading: Reading, behind: int) -> Iterator[Part]:
        """The chunks of these objects behind the first so many.

        Raises:
            Corrupt: an object is missing, cut, changed, or not the one that belongs there.
            StoreUnavailable: the place does not give it.
        """
        ...


class LinkReader:
    """Opens the objects of one link.

    Raises:
        KeyUnavailable: this store's keys do not open it.
    """

    def __init__(self, catalog: Catalog, manifest: Manifest) -> None:
        self._catalog = catalog
        self._cipher = catalog.keys.open(manifest.id, manifest.keyset)
        self.manifest = manifest

    def check(self) -> None:
        """Read everything.

        Raises:
            Corrupt: an object is missing, cut, changed, swapped, or has other rows than it had.
        """
        counts = _Counts(self)
        how = self._catalog.keys.row_hash(self.manifest.hashed_by)
        tallies = [Tally(how) for _ in self.manifest.tables]
        for one in self.manifest.objects:
            for number, done, packed in self._object(one.name):
                counts.add(number, done, len(packed))
                if done == ADDED:
                    tallies[number].add(packed)
        counts.compare()
        for table, tally in zip(self.manifest.tables, tallies, strict=True):
            if tally.hash() != table.hash:
                raise self.other(table.name)

    def rows(self, name: str) -> Iterator[Row]:
        """The rows of one table; that each is genuine is all that is known."""
        tables = self.manifest.tables
        held = {one.name for one in self.manifest.objects}
        for whole in [name] if name in held else held & {CHANGES}:
            for number, done, packed in self._object(whole):
                if done == ADDED and number < len(tables) and tables[number].name == name:
                    yield from map(unpack_row, packed)

    def chunks(self, unsealer: Unsealer | None = None) -> Iterator[Chunk]:
        """All of it, in order, read here or by the ``unsealer``. Every chunk is genuine; that there
        are as many rows as there should be is known at the end. Their hashes are for who keeps the
        rows, or for :meth:`check`.

        Raises:
            Corrupt: it is not.
        """
        counts = _Counts(self)
        for part in self._parts() if unsealer is None else self._parts_with(unsealer):
            counts.add(part.table, part.done, len(part.rows))
            yield Chunk(self.manifest.tables[part.table], part.done, part.held, part.rows)
        counts.compare()

    def other(self, name: str) -> Corrupt:
        """What is wrong where a table has other rows than the manifest says."""
        path = self._catalog.path(self.manifest.id, name)
        return Corrupt(f"the backup's object {path} has other rows than its manifest says")

    def _parts(self) -> Generator[Part]:
        for one in self.manifest.objects:
            for number, done, packed in self._object(one.name):
                yield Part(number, done, *compacted(list(map(unpack_row, packed))))

    def _parts_with(self, unsealer: Unsealer) -> Iterator[Part]:
        """The same, the first ones read here while the other one is not ready yet."""
        with closing(self._parts()) as parts:
            read = 0
            while not unsealer.ready():
                part = next(parts, None)
                if part is None:
                    return
                yield part
                read += 1
        yield from unsealer.parts(self._reading(), read)

    def _object(self, name: str) -> Iterator[tuple[int, int, list[bytes]]]:
        path, bound = self._place_of(name)
        return unsealed(self._catalog.place, path, self._cipher, bound)

    def _reading(self) -> Reading:
        keyset = self._catalog.keys.keyset(self.manifest.id, self.manifest.keyset)
        return Reading(keyset, tuple(self._place_of(one.name) for one in self.manifest.objects))

    def _place_of(self, name: str) -> tuple[str, bytes]:
        return self._catalog.path(self.manifest.id, name), binding(self.manifest.id, name)


class _Counts:
    """How many rows of each table there were, beside how many there should be."""

    def __init__(self, reader: LinkReader) -> None:
        self._reader = reader
        self._tables = reader.manifest.tables
        self._counts = [[0, 0] for _ in self._tables]

    def add(self, number: int, done: int, rows: int) -> None:
        if number >= len(self._tables):
            raise self._reader.other(f"table {number}")
        self._counts[number][done != ADDED] += rows

    def compare(self) -> None:
        for table, counts in zip(self._tables, self._counts, strict=True):
            if counts != [table.rows, table.removed]:
                raise self._reader.other(table.name)
