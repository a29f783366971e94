"""Records of chosen people and threads, out of the warm and cold files of a backup.

A file is of one kind and month, and of many people: where some of them are asked for, it does not
come back, but their records in it do, as rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analect.lifecycle.backup.deciding import Selection
from analect.lifecycle.backup.files import FilesIn, OpenPlace, nowhere
from analect.lifecycle.backup.format import Row
from analect.lifecycle.backup.manifest import Catalog, HeldFile
from analect.lifecycle.places.folder import FolderPlace
from analect.model.ids import id_bytes
from analect.store.append import json_text
from analect.store.rows import COLUMNS, StoredRecord

if TYPE_CHECKING:
    from analect.lifecycle.places.place import Place

_plain = attrgetter(*COLUMNS[1 : COLUMNS.index("tags")])
_SUCCESS = COLUMNS.index("success")


@dataclass(frozen=True, slots=True)
class FiledRecords:
    """Takes records out of files. ``open_place`` opens the tiers that a backup refers to; one file
    at a time is laid out below ``scratch``. ``skip``: go on without those that are nowhere any more.
    """

    open_place: OpenPlace = nowhere
    scratch: Path | None = None
    skip: bool = False

    def rows(
        self,
        catalog: Catalog,
        files: Sequence[HeldFile],
        locators: Mapping[str, bytes],
        wanted: Selection,
    ) -> Iterator[list[Row]]:
        """What is asked for of ``files``, as rows of :data:`~analect.store.rows.COLUMNS`;
        ``locators`` are those of the files, by name.

        Raises:
            Corrupt: a file is nowhere any more, or is not what it was.
            StoreUnavailable: a place does not answer, or there is no room for the file.
        """
        for held in files:
            if not _may_hold(locators.get(held.name), wanted):
                continue
            with tempfile.TemporaryDirectory(prefix="analect-file-", dir=self.scratch) as folder:
                place = FolderPlace(Path(folder))
                if not FilesIn(place, self.open_place, skip=self.skip).bring(catalog, [held]):
                    yield from _passing(place, held.name, wanted)


def _may_hold(locator: bytes | None, wanted: Selection) -> bool:
    from analect.lifecycle.tiers.locator import unpack

    if locator is None:
        return False
    known = unpack(locator)
    return all(
        not values or any(known.has(scope, one) for one in values)
        for scope, values in (("subject", wanted.subjects), ("thread_id", wanted.threads))
    )


def _passing(place: Place, name: str, wanted: Selection) -> Iterator[list[Row]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from analect.lifecycle.tiers.columns import stored_records

    chosen = {"subject": wanted.subjects, "thread_id": wanted.threads}
    among = {name: pa.array(sorted(v), pa.string()) for name, v in chosen.items() if v}
    for table in _tables(place, name):
        masks = [pc.is_in(table.column(column), values) for column, values in among.items()]
        passing = table.filter(reduce(pc.and_, masks))
        yield [_row(one) for one in stored_records(passing, "hot")]


def _tables(place: Place, name: str) -> Iterator[Any]:
    from analect.lifecycle.tiers.cold import COLD, read_cold
    from analect.lifecycle.tiers.part import open_part, read_part

    if name.startswith(f"{COLD}/"):
        yield from read_cold(place, name)
        return
    with open_part(place, name) as part:
        yield from read_part(part, name)


def _row(stored: StoredRecord) -> Row:
    """A record as a row of the database (see :mod:`analect.store.raw`)."""
    record = stored.record
    values = [id_bytes(record.id), *_plain(record)]
    if values[_SUCCESS] is not None:
        values[_SUCCESS] = int(values[_SUCCESS])
    return (
        *values,
        json_text(list(record.tags)),
        json_text(dict(record.dimensions)),
        json_text(dict(record.measures)),
        stored.key_id,
        stored.payload,
        record.content_hash,
    )
