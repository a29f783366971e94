"""Proving a backup: restore it into a scratch file, read payloads with the ring's keys."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, func, select

from analect.lifecycle.backup.erased import Erased
from analect.lifecycle.backup.manifest import VERIFIED, Catalog, Drill
from analect.lifecycle.backup.restore import restore
from analect.lifecycle.backup.rings import KeyPlan
from analect.lifecycle.backup.write import Progress
from analect.model.errors import Corrupt
from analect.model.ids import Clock, Micros, RandomBytes
from analect.privacy.keys import DataKey, DataKeys
from analect.privacy.seal import Sealer, key_id_of
from analect.privacy.shards import Shards
from analect.store.engine import open_engine, read_transaction
from analect.store.key_rows import KEY_ROWS, SqlKeyRows, key_row
from analect.store.tables import commits, data_keys, key_shards, metadata, records

SAMPLE = 200
"""Payloads that are opened, spread over the whole of the records."""


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
    ) -> None:
        self._catalog = catalog
        self._shards = shards
        self._erased = erased
        self._clock = clock
        self._random_bytes = random_bytes
        self._timer = timer

    def drill(
        self,
        backup: str | None,
        scratch: Path | None = None,
        progress: Progress = lambda _done, _total: None,
    ) -> Drill:
        """Restore into a file below ``scratch``, throw it away, and note that it went well.

        Raises:
            Corrupt: the backup does not verify, or a payload does not open.
            StoreUnavailable: there is no room for the scratch file.
        """
        backup = backup or self._catalog.newest()
        link = (self._catalog.segments(backup) or [backup])[-1]
        with tempfile.TemporaryDirectory(prefix="analect-drill-", dir=scratch) as folder:
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
                recovery = self._timer() - began
                opened = self._open_some(engine)
            finally:
                engine.dispose()
        now = self._clock()
        done = Drill(
            backup=backup,
            link=link,
            drilled_at=now,
            rows=sum(restored.rows.values()),
            dropped=sum(restored.dropped.values()),
            opened=opened,
            recovery=recovery,
            age=(now - restored.at) / 1_000_000,
        )
        if self._catalog.drill(backup) is None:
            self._catalog.write(backup, VERIFIED, done)
        return done

    def _open_some(self, engine: Engine) -> int:
        """Open payloads spread evenly over the records; how many were opened."""
        columns = (records.c.id, records.c.payload)
        sealed = records.c.key_id.is_not(None)
        with read_transaction(engine) as connection:
            total = connection.execute(select(func.count()).where(sealed)).scalar_one()
            ids = select(records.c.id).where(sealed).order_by(records.c.id)
            with connection.execute(ids.execution_options(yield_per=1_000)) as answer:
                step = max(1, total // SAMPLE)
                wanted = list(islice(answer.scalars(), 0, None, step))[:SAMPLE]
            found = connection.execute(select(*columns).where(records.c.id.in_(wanted))).all()
        keys = DataKeys(
            SqlKeyRows(engine),
            self._shards,
            b"",
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        sealer = Sealer(self._random_bytes)
        for record_id, blob in found:
            # Restoring leaves no record whose key is gone: one that does not open is damage.
            opened = sealer.open(blob, record_id, keys.by_ids([key_id_of(blob)]))
            if len(opened) != len(("input", "output", "variables", "attributes")):
                raise Corrupt(f"the payload of record {record_id} is not whole")
        return len(found)


def open_some(engine: Engine, shards: Shards, random_bytes: RandomBytes) -> tuple[int, Micros, int]:
    """Read from a database that is as it was some time ago, with the ring as it is now: how many
    rows there are, when the last was committed, and how many payloads were opened. Those whose
    keys an erasure has destroyed since stay shut.

    Raises:
        Corrupt: a payload does not open under a key that stands.
    """
    with read_transaction(engine) as connection:
        rows = sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        )
        last = connection.execute(select(func.max(commits.c.committed_at))).scalar() or 0
        sealed = select(records.c.id, records.c.payload).where(records.c.payload.is_not(None))
        some = connection.execute(sealed.order_by(records.c.id.desc()).limit(SAMPLE)).all()
        wanted = {key_id_of(blob) for _, blob in some}
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
    sealer = Sealer(random_bytes)
    standing_ones = [(id_, blob) for id_, blob in some if key_id_of(blob) in opened]
    for record_id, blob in standing_ones:
        sealer.open(blob, record_id, opened)
    return rows, last, len(standing_ones)
