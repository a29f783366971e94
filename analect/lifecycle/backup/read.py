"""Reading a link: every object against what the signed manifest says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tink

from analect.lifecycle.backup.format import (
    ADDED,
    Remembering,
    Row,
    Tally,
    binding,
    read_chunks,
    unpack_row,
)
from analect.lifecycle.backup.manifest import CHANGES, Catalog, Manifest, TableContent
from analect.model.errors import Corrupt


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a table, or keys of rows that are gone; each packed by itself."""

    table: TableContent
    done: int
    packed: list[bytes]


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
        tables = self.manifest.tables
        tallies = {table.name: Tally(self._catalog.keys.hashing) for table in tables}
        for chunk in self.chunks():
            if chunk.done == ADDED:
                tallies[chunk.table.name].add(chunk.packed)
        for table in tables:
            if tallies[table.name].hash() != table.hash:
                raise self._other(table.name)

    def rows(self, name: str) -> Iterator[Row]:
        """The rows of one table; that each is genuine is all that is known."""
        tables = self.manifest.tables
        held = {one.name for one in self.manifest.objects}
        for whole in [name] if name in held else held & {CHANGES}:
            for number, done, packed in self._object(whole):
                if done == ADDED and number < len(tables) and tables[number].name == name:
                    yield from map(unpack_row, packed)

    def chunks(self) -> Iterator[Chunk]:
        """All of it, in order. Every chunk is genuine; that there are as many rows as there should
        be is known at the end. Their hashes are for who keeps the rows, or for :meth:`check`.

        Raises:
            Corrupt: it is not.
        """
        tables = self.manifest.tables
        added, removed = [0] * len(tables), [0] * len(tables)
        for one in self.manifest.objects:
            for number, done, packed in self._object(one.name):
                if number >= len(tables):
                    raise self._other(one.name)
                counts = added if done == ADDED else removed
                counts[number] += len(packed)
                yield Chunk(tables[number], done, packed)
        for table, rows, gone in zip(tables, added, removed, strict=True):
            if (rows, gone) != (table.rows, table.removed):
                raise self._other(table.name)

    def _object(self, name: str) -> Iterator[tuple[int, int, list[bytes]]]:
        path = self._catalog.path(self.manifest.id, name)
        with self._catalog.open(path) as beneath:
            source = Remembering(beneath)
            try:
                stream = self._cipher.new_decrypting_stream(source, binding(self.manifest.id, name))
                with stream:
                    yield from read_chunks(stream, path)
            except (tink.TinkError, Corrupt) as error:
                if source.error is not None:
                    raise source.error from error
                if isinstance(error, Corrupt):
                    raise
                raise Corrupt(f"the backup's object {path} is no object of a backup") from error

    def _other(self, name: str) -> Corrupt:
        path = self._catalog.path(self.manifest.id, name)
        return Corrupt(f"the backup's object {path} has other rows than its manifest says")
