"""Proving a backup: restore it into a scratch file, read payloads with the ring's keys, search."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, func, select

from analect.lifecycle.backup.erased import Erased
from analect.lifecycle.backup.files import FilesIn, OpenPlace, file_problem, nowhere
from analect.lifecycle.backup.manifest import VERIFIED, Catalog, Drill
from analect.lifecycle.backup.restore import restore
from analect.lifecycle.backup.rings import KeyPlan
from analect.lifecycle.backup.sampling import Looked, filed_sample, hot_sample, look, spread
from analect.lifecycle.backup.write import Progress
from analect.lifecycle.places.folder import FolderPlace
from analect.model.errors import Corrupt
from analect.model.ids import Clock, Micros, RandomBytes
from analect.privacy.keys import DataKey, DataKeys
from analect.privacy.seal import Sealer, key_id_of
from analect.privacy.shards import Shards
from analect.store.engine import open_engine, read_transaction
from analect.store.key_rows import KEY_ROWS, SqlKeyRows, key_row
from analect.store.tables import commits, data_keys, key_shards, metadata
from analect.store.tier_files import TierFiles


class Driller:
    """Drills backups of one store."""

    def __init__(
        self,
        catalog: Catalog,
        shards: Shards,
        *,
        erased: Sequence[Erased] = (),
        clock: Clock,
        random_bytes: RandomBytes,
        timer: Callable[[], float] = time.monotonic,
        open_place: OpenPlace = nowhere,
    ) -> None:
        """``open_place`` opens the places where backups by reference left files."""
        self._catalog = catalog
        self._shards = shards
        self._erased = erased
        self._clock = clock
        self._random_bytes = random_bytes
        self._timer = timer
        self._open_place = open_place

    def drill(
        self,
        backup: str | None,
        scratch: Path | None = None,
        progress: Progress = lambda _done, _total: None,
    ) -> Drill:
        """Restore into a file below ``scratch``, read every file of the tiers that belongs to it,
        open payloads, search, throw it away, and note that it went well.

        Raises:
            Corrupt: the backup does not verify, a payload does not open, or a search finds nothing.
            StoreUnavailable: there is no room for the scratch file.
        """
        backup = backup or self._catalog.newest()
        link = (self._catalog.segments(backup) or [backup])[-1]
        with tempfile.TemporaryDirectory(prefix="analect-drill-", dir=scratch) as name:
            folder = Path(name)
            engine = open_engine(f"sqlite:///{folder}/drill.db")
            try:
                began = self._timer()
                restored = restore(
                    engine,
                    self._catalog,
                    link,
                    self._shards,
                    erased=self._erased,
                    progress=progress,
                )
                files = self._read_files(link)
                recovery = self._timer() - began
                looked = self._look(engine, link, folder)
            finally:
                engine.dispose()
        now = self._clock()
        done = Drill(
            backup=backup,
            link=link,
            drilled_at=now,
            rows=sum(restored.rows.values()),
            dropped=sum(restored.dropped.values()),
            opened=looked.opened,
            recovery=recovery,
            age=(now - restored.at) / 1_000_000,
            files=files,
            found=looked.found,
        )
        if self._catalog.drill(backup) is None:
            self._catalog.write(backup, VERIFIED, done)
        return done

    def _read_files(self, link: str) -> int:
        """Read every file that the rows speak of; how many there are."""
        held = self._catalog.files(link) or ()
        for one in held:
            if (problem := file_problem(self._catalog, one, self._open_place)) is not None:
                raise Corrupt(problem)
        return len(held)

    def _look(self, engine: Engine, link: str, folder: Path) -> Looked:
        """Open payloads of every tier and search among them."""
        held = {one.name: one for one in self._catalog.files(link) or ()}
        files = spread([one for one in TierFiles(engine).standing() if one.name in held])
        tiers = FolderPlace(folder / "tiers")
        FilesIn(tiers, self._open_place).bring(self._catalog, [held[one.name] for one in files])
        hot = hot_sample(engine)
        sample = [*hot, *filed_sample(engine, tiers, files)]
        keys = DataKeys(
            SqlKeyRows(engine),
            self._shards,
            b"",
            clock=self._clock,
            random_bytes=self._random_bytes,
        ).by_ids(sorted({key_id_of(one.payload) for one in sample if one.payload}))
        for one in hot:
            # Restoring leaves no hot record whose key is gone: one that does not open is damage.
            if one.payload and key_id_of(one.payload) not in keys:
                raise Corrupt(f"the payload of record {one.record.id} has no key")
        return look(sample, keys, Sealer(self._random_bytes), folder / "index")


def open_some(
    engine: Engine, shards: Shards, random_bytes: RandomBytes, scratch: Path
) -> tuple[int, Micros, Looked]:
    """Read from a database that is as it was some time ago, with the ring as it is now: how many
    rows there are, when the last was committed, and what a sample gave. Payloads whose keys an
    erasure has destroyed since stay shut.

    Raises:
        Corrupt: a payload does not open under a key that stands, or a search finds nothing.
    """
    with read_transaction(engine) as connection:
        rows = sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        )
        last = connection.execute(select(func.max(commits.c.committed_at))).scalar() or 0
    sample = hot_sample(engine)
    keys = _standing_keys(engine, shards, {key_id_of(s.payload) for s in sample if s.payload})
    return rows, last, look(sample, keys, Sealer(random_bytes), scratch)


def _standing_keys(engine: Engine, shards: Shards, wanted: Collection[int]) -> dict[int, DataKey]:
    """Those that the ring still opens."""
    with read_transaction(engine) as connection:
        found = connection.execute(KEY_ROWS.where(data_keys.c.key_id.in_(wanted)))
        keys = [key_row(row) for row in found]
        standing = connection.execute(select(key_shards.c.shard, key_shards.c.generation))
        plan = KeyPlan.of({row.shard: row.generation for row in standing}, shards)
    opened: dict[int, DataKey] = {}
    for row in keys:
        present = plan.key(row)
        generation = plan.generations[row.shard]
        material = present and shards.unwrap(replace(present, generation=generation))
        if material:
            cipher = AESGCM(material)
            opened[row.key_id] = DataKey(row.key_id, row.shard, row.scope, material, cipher)
    return opened
