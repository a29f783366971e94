"""Reading a backup: every object against what the signed manifest says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tink

from analect.lifecycle.backup.format import Row, Tally, binding, read_chunks
from analect.lifecycle.backup.manifest import Catalog, Manifest, TableObject
from analect.model.errors import Corrupt
from analect.model.ids import month_of


@dataclass(frozen=True, slots=True)
class Checked:
    """A backup whose every object was read and agrees. ``months``: of its records."""

    manifest: Manifest
    months: frozenset[str]


class BackupReader:
    """Opens the objects of one backup."""

    def __init__(self, catalog: Catalog, manifest: Manifest) -> None:
        self._catalog = catalog
        self._cipher = catalog.keys.open(manifest.id, manifest.keyset)
        self.manifest = manifest

    def check(self) -> Checked:
        """Read everything.

        Raises:
            Corrupt: an object is missing, cut, changed, swapped, or has other rows than it had.
        """
        months: set[str] = set()
        for table in self.manifest.tables:
            for rows in self.rows(table):
                if table.name == "records":
                    months.update(month_of(row[0]) for row in rows)
                elif table.name == "record_tags":
                    months.update(month_of(row[1]) for row in rows)
        return Checked(self.manifest, frozenset(months))

    def rows(self, table: TableObject) -> Iterator[list[Row]]:
        """The rows of a table; that they are all, and the right ones, is known at the end.

        Raises:
            Corrupt: they are not.
        """
        name = self._catalog.path(self.manifest.id, table.name)
        place = self.manifest.tables.index(table)
        tally = Tally(self._catalog.keys.hashing)
        with self._catalog.open(name) as source:
            try:
                stream = self._cipher.new_decrypting_stream(
                    source, binding(self.manifest.id, place, table.name)
                )
            except tink.TinkError as error:
                raise Corrupt(f"the backup's object {name} is no object of a backup") from error
            with stream:
                for rows in read_chunks(stream, name):
                    for row in rows:
                        tally.add(row)
                    yield rows
        if (tally.rows, tally.hash()) != (table.rows, table.hash):
            raise Corrupt(f"the backup's object {name} has other rows than its manifest says")
