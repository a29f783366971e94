"""Open warm files, kept open: a file never changes under its name."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analect.lifecycle.places.place import Place
from analect.lifecycle.tiers.locator import Locator, unpack
from analect.lifecycle.tiers.part import open_part, read_groups
from analect.model.errors import NotFound
from analect.model.ids import RecordId
from analect.store.tier_files import TierFiles

OPEN_FILES = 64
LOCATORS = 512

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """One open file. ``firsts`` are the first ids of its row groups, in order."""

    name: str
    file: Any
    firsts: Sequence[RecordId]

    @property
    def groups(self) -> int:
        """How many row groups it has."""
        return len(self.firsts)

    def rows(self, groups: Sequence[int], columns: Sequence[str] | None = None) -> Any:
        """A table of some row groups."""
        return read_groups(self.file, self.name, groups, columns)

    def find(self, ids: Sequence[RecordId]) -> dict[int, list[int]]:
        """By row group the rows in it of those of ``ids`` that are there."""
        found: dict[int, list[int]] = {}
        for group, wanted in self._by_group(ids).items():
            column = self.rows([group], ["id"]).column("id")
            if there := places_of(pc.is_in(column, pa.array(wanted, pa.string()))):
                found[group] = there
        return found

    def holds(self, ids: Sequence[RecordId]) -> set[RecordId]:
        """Those of ``ids`` that are there."""
        found: set[RecordId] = set()
        for group, wanted in self._by_group(ids).items():
            found |= set(wanted) & set(self.rows([group], ["id"]).column("id").to_pylist())
        return found

    def _by_group(self, ids: Sequence[RecordId]) -> dict[int, list[RecordId]]:
        """By the row group that each would be in."""
        by_group: dict[int, list[RecordId]] = {}
        for record_id in ids:
            group = bisect_right(self.firsts, record_id) - 1
            if group >= 0:
                by_group.setdefault(group, []).append(record_id)
        return by_group


class Shelf:
    """Parts and locators by name. Thread-safe."""

    def __init__(self, place: Place, files: TierFiles) -> None:
        self.place = place
        self._files = files
        self._parts: OrderedDict[str, Part] = OrderedDict()
        self._locators: OrderedDict[str, Locator] = OrderedDict()
        self._lock = threading.Lock()

    def part(self, name: str) -> Part:
        """A file, opened.

        Raises:
            NotFound: it is not there (any more).
            Corrupt: it is no whole Parquet file.
        """
        return self._kept(self._parts, OPEN_FILES, name, self._open)

    def locator(self, name: str) -> Locator:
        """A file's locator.

        Raises:
            NotFound: the file is not known any more.
        """
        return self._kept(self._locators, LOCATORS, name, self._load)

    def _kept(self, kept: OrderedDict[str, T], most: int, name: str, make: Callable[[str], T]) -> T:
        with self._lock:
            found = kept.get(name)
            if found is not None:
                kept.move_to_end(name)
                return found
        made = make(name)
        with self._lock:
            kept[name] = made
            while len(kept) > most:
                kept.popitem(last=False)
        return made

    def _open(self, name: str) -> Part:
        file = open_part(self.place, name)
        metadata = file.metadata
        firsts = [
            RecordId(str(metadata.row_group(number).column(0).statistics.min))
            for number in range(metadata.num_row_groups)
        ]
        return Part(name, file, firsts)

    def _load(self, name: str) -> Locator:
        raw = self._files.locator(name)
        if raw is None:
            raise NotFound(f"{name} is not known any more")
        return unpack(raw)


def places_of(found: Any) -> list[int]:
    """The places where a mask is true."""
    places: list[int] = np.flatnonzero(found).tolist()
    return places
