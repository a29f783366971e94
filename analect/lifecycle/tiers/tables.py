"""The files of both tiers as tables: all of one, and what of it a policy moves on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from analect.lifecycle.places.place import Place
from analect.lifecycle.tiers.cold import COLD, read_cold
from analect.lifecycle.tiers.conditions import OWNING, owners
from analect.lifecycle.tiers.part import open_part, read_part
from analect.model.ids import RecordId
from analect.store.choosing import HELD, Choice
from analect.store.tier_files import TierFile, TierFiles


class Moving(Protocol):
    """What decides: see :class:`analect.lifecycle.retention.rules.Rules`."""

    @property
    def choices(self) -> list[Choice]:
        """Of the rules, in their order."""
        ...

    @property
    def held(self) -> list[Choice]:
        """Of the legal holds."""
        ...

    def before(self, tier: str) -> Sequence[RecordId | None]:
        """For each rule the id below which records of a tier move on; None when they stay."""
        ...


class TierTables:
    """Reads whole files."""

    def __init__(self, files: TierFiles, place: Place) -> None:
        self._files = files
        self._place = place

    def standing(self, tier: str) -> list[TierFile]:
        """The files of a tier."""
        return self._files.standing(tier)

    def tables(self, file: TierFile, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """A file's records in order, some thousand at a time; of these columns, or of all."""
        if file.tier == COLD:
            for table in read_cold(self._place, file.name):
                yield table if columns is None else table.select(list(columns))
        else:
            with open_part(self._place, file.name) as part:
                yield from read_part(part, file.name, columns)

    def due(self, file: TierFile, rules: Moving) -> dict[int, list[RecordId]]:
        """The ids of what moves on, by the number of its rule, in order; what is due but for a
        legal hold by ``HELD``.
        """
        found: dict[int, list[RecordId]] = {}
        for table in self.tables(file, OWNING):
            ids = table.column("id").to_pylist()
            for place, owner in due_of(table, file.tier, rules):
                found.setdefault(owner, []).append(RecordId(ids[place]))
        return found


def due_of(table: Any, tier: str, rules: Moving) -> Iterator[tuple[int, int]]:
    """(place in the table, owner) of every row that moves on, held ones with ``HELD``."""
    before = rules.before(tier)
    edges = [edge for edge in before if edge is not None]
    if not edges:
        return
    last = max(edges)
    ids = table.column("id").to_pylist()
    owned = owners(table, rules.choices, rules.held)
    for place in np.flatnonzero(owned != -1).tolist():
        owner = int(owned[place])
        edge = last if owner == HELD else before[owner]
        if edge is not None and ids[place] < edge:
            yield place, owner
