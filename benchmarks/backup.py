"""Megabytes of row data a second: a full backup, an increment after 1% changed, a restore.

    python -m benchmarks.backup [RECORDS]

SQLite and folders; times are of the wall, and of the processor for what a core can do.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

import structlog

from analect.lifecycle.backup.format import BackupKeys
from analect.lifecycle.backup.job import BackupJob
from analect.lifecycle.backup.manifest import Catalog
from analect.lifecycle.backup.restore import restore
from analect.lifecycle.places.folder import FolderPlace
from analect.model.record import Draft
from analect.privacy.keys import open_data_keys
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.engine import open_engine, write_transaction
from analect.store.key_rows import SqlKeyRows
from benchmarks.store_append import clock, prose


def drafts(count: int, rng: random.Random, words: list[str]) -> list[Draft]:
    return [
        Draft(
            input=" ".join(rng.choices(words, k=120)),
            output=" ".join(rng.choices(words, k=60)),
            tags=("a", "b", "c"),
            subject=f"person {rng.randrange(2000)}",
            thread_id=f"thread {rng.randrange(count)}",
            service="assistant",
            model="gpt-4o-mini",
            duration_ms=812.5,
        )
        for _ in range(count)
    ]


def timed(title: str, plain: int | None, call):
    wall, cpu = time.perf_counter(), time.process_time()
    done = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = (done.plain if plain is None else plain) / 1_000_000
    print(f"{title}: {size:.1f} MB of rows, {size / wall:.0f} MB/s, {size / cpu:.0f} MB/s a core")
    return done, wall


def main(records: int) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    rng, words = random.Random(1), prose().split()
    with tempfile.TemporaryDirectory(prefix="analect-bench-") as name:
        root = Path(name)
        settings = Settings(home=root / "home", keys={"ring": root / "ring"})
        with AnalysisService.open(settings) as service:
            for _ in range(records // 1_000):
                service.ingest(drafts(1_000, rng, words))
        engine = open_engine(f"sqlite:///{root}/home/analect.db")
        keys = open_data_keys(settings, SqlKeyRows(engine), clock=clock, random_bytes=os.urandom)
        store = SqlKeyRows(engine).store_id() or ""
        place = FolderPlace(root / "backups")
        catalog = Catalog(place, store, BackupKeys(keys.pseudonym_key, os.urandom))
        job = BackupJob(engine, catalog, clock, os.urandom)
        full, whole = timed("full backup", None, job.full)
        some = f"SELECT id FROM records ORDER BY random() LIMIT {records // 200}"
        with write_transaction(engine) as connection:
            connection.exec_driver_sql(f"UPDATE records SET status = 'new' WHERE id IN ({some})")
        with AnalysisService.open(settings) as service:
            service.ingest(drafts(records // 200, rng, words))
        link, part = timed("increment after 1%", None, job.incremental)
        print(
            f"  {part / whole:.1%} of the full one's time, {link.size / link.plain:.2f} of its rows"
        )
        target = open_engine(f"sqlite:///{root}/restored/analect.db")
        timed(
            "restore with indexes",
            full.plain,
            lambda: restore(target, catalog, full.id, keys.shards),
        )
        target.dispose()
        engine.dispose()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
