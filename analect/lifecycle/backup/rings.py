"""The one copy of a key ring that goes with a store's backups, and what a ring says of old keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from analect.lifecycle.places.opening import is_bucket, open_ring
from analect.model.errors import AnalectError, StoreUnavailable
from analect.privacy.keyring import KeyRing
from analect.privacy.shards import HEADER, DataKeyRow, RingHeader, Shards
from analect.settings import Objects


def mirror(ring: KeyRing, copy: KeyRing) -> None:
    """Make ``copy`` hold what ``ring`` holds now, and nothing older.

    There is one copy for all backups of a store, overwritten, so what an erasure destroyed in the
    ring is destroyed here too. New objects come before old ones go: a crash leaves too many, never
    too few.
    """
    names = ring.names()
    for name in names:
        data = ring.read(name)
        while data is not None and not copy.put(name, data):
            present = copy.read(name)
            if present == data or (present is not None and copy.replace(name, present, data)):
                break
    for name in set(copy.names()) - set(ring.names()):
        copy.delete(name)


def mirror_all(ring: KeyRing, places: Sequence[str], objects: Objects) -> None:
    """Bring every copy up to date.

    Raises:
        StoreUnavailable: a place cannot be reached; the message says what to do.
    """
    for place in places:
        try:
            if not is_bucket(place) and not Path(place).is_dir():
                raise StoreUnavailable(f"{place} is not there")
            mirror(ring, open_ring(place, objects))
        except AnalectError as error:
            raise StoreUnavailable(
                f"the copy of the key ring in {place} cannot be reached ({error}): make it "
                "reachable, or say that it is gone with `analect backup forget DEST`"
            ) from error


def store_of(ring: KeyRing) -> str | None:
    """Whose ring it is; None when it is empty."""
    data = ring.read(HEADER)
    return None if data is None else msgspec.json.decode(data, type=RingHeader).store


@dataclass(slots=True)
class KeyPlan:
    """What becomes of a backup's data keys: the ring has the last word.

    A shard that is in a later generation by now was part of an erasure; the keys it still has are
    taken as the ring holds them, the others are gone.
    """

    generations: dict[int, int]
    kept: dict[int, dict[int, DataKeyRow]]
    gone: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, backed_up: Mapping[int, int], shards: Shards) -> KeyPlan:
        """Plan for shards in the generations they had at the backup.

        Raises:
            KeyUnavailable: the ring lacks a shard, or is older than the backup.
        """
        present = shards.generations()
        generations = {}
        kept = {}
        for shard, generation in backed_up.items():
            there = present.get(shard, [])
            last = there[-1] if there else generation
            found = shards.kept(shard, max(last, generation))
            if last > generation:
                kept[shard] = {row.key_id: row for row in found}
            generations[shard] = max(last, generation)
        return cls(generations, kept)

    def key(self, row: DataKeyRow) -> DataKeyRow | None:
        """The row to restore, None when the key is gone."""
        if row.shard not in self.kept:
            return row
        found = self.kept[row.shard].get(row.key_id)
        if found is None:
            self.gone.add(row.key_id)
        return found
