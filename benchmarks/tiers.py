"""Hot to warm and what comes after, on both databases.

    python -m benchmarks.tiers [--records 100000 | --full] [--only sqlite|postgres]

One month of records of about 1 KB (as benchmarks/store_reads.py fills it) becomes warm: read,
written, read back, compared and published, then removed. Beside it the same rows go to JSON Lines.
On Postgres the month's partition is then dropped. Records and threads are read back by id and by
thread, and DuckDB groups 24 months, for which the month's files are linked 24 times. `--full` takes
1,000,000 records, and so 24,000,000 rows for the last.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import msgspec
from sqlalchemy import Engine, text

from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.tiers.moving import Mover
from analect.lifecycle.tiers.shelf import Shelf
from analect.lifecycle.tiers.warm import WarmReads
from analect.model.ids import RecordId, id_floor, month_bounds
from analect.model.query import RecordFilter
from analect.store.choosing import Choice
from analect.store.cursor import Cursors
from analect.store.engine import open_engine, read_transaction
from analect.store.filters import Span
from analect.store.leaving import Leaving
from analect.store.migrate import migrate
from analect.store.reads import RecordReads
from analect.store.tier_files import TierFiles
from benchmarks.store_reads import databases, fill

MONTH = "2026-01"
PAGES = 200


def say(name: str, value: str, asked: str = "") -> None:
    print(f"  {name:34} {value:>20}   {asked}", flush=True)


def run(engine: Engine, folder: Path, records: int) -> None:
    migrate(engine)
    fill(engine, records)
    files, place = TierFiles(engine), FolderPlace(folder / "tiers")
    mover = Mover(engine, files, place, clock=lambda: 0, random_bytes=os.urandom)
    with read_transaction(engine) as connection:
        kinds = list(connection.execute(text("SELECT DISTINCT kind FROM records")).scalars())
    plain = to_json_lines(engine, folder)
    began, cpu, copied = time.perf_counter(), time.process_time(), 0
    end = id_floor(month_bounds(MONTH)[1])
    for kind in kinds:
        leaving = Leaving([Choice()], [], 0, kind, MONTH, end)
        copied += mover.copy_hot(leaving, "none", indexed=True, limit=10**12).copied
    rate = copied / (time.perf_counter() - began)
    own = copied / (time.process_time() - cpu)
    say("hot to warm, verified", f"{rate:,.0f} rows/s", f"asked 60,000; {own:,.0f} a CPU second")
    say("the same to JSON Lines", f"{plain:,.0f} rows/s", f"{rate / plain:.1f} times, asked 3")
    began = time.perf_counter()
    mover.remove_copied(MONTH)
    say("removed from hot", f"{time.perf_counter() - began:.2f} s", "asked 1 s a million, Postgres")
    reads(WarmReads(files, Shelf(place, files)), records)
    aggregate(folder, copied)


def to_json_lines(engine: Engine, folder: Path) -> float:
    """Rows a second of the plain way, payloads as base64, not read back."""
    encode = msgspec.json.Encoder().encode
    reader = RecordReads(engine, Cursors(b"b" * 32))
    began, count = time.perf_counter(), 0
    with (folder / "plain.jsonl").open("wb") as lines:
        for batch in reader.scan(RecordFilter(), 8192):
            lines.writelines(encode(stored) + b"\n" for stored in batch)
            count += len(batch)
        lines.flush()
        os.fsync(lines.fileno())
    return count / (time.perf_counter() - began)


def reads(warm: WarmReads, records: int) -> None:
    rng = random.Random(1)
    sample = [one.record.id for one in warm.within(RecordFilter(), Span(), 5000, descending=True)]

    def by_id() -> None:
        assert warm.get([RecordId(rng.choice(sample))])

    def by_thread() -> None:
        thread = f"t{rng.randrange(records // 10)}"
        assert warm.thread(thread, None, 51, descending=False)

    for name, ask, asked in (("by id", by_id, 30), ("by thread", by_thread, 100)):
        ask()
        say(f"warm record {name}, p95", f"{p95(ask):.1f} ms", f"asked {asked} ms")


def p95(ask: Callable[[], None]) -> float:
    times = []
    for _ in range(PAGES):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.quantiles(times, n=20)[-1]


def aggregate(folder: Path, rows: int) -> None:
    many = folder / "many"
    for number in range(24):
        month = f"{2024 + number // 12}-{number % 12 + 1:02}"
        for path in (folder / "tiers" / "warm").rglob("*.parquet"):
            link = many / path.parent.parent.name / f"month={month}" / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)
    began = time.perf_counter()
    found = duckdb.sql(
        "SELECT month, service, count(*), avg(duration_ms), sum(input_tokens),"
        " count(*) FILTER (success), quantile_cont(duration_ms, 0.95)"
        f" FROM read_parquet('{many}/*/*/*.parquet', hive_partitioning = true)"
        " GROUP BY month, service"
    ).fetchall()
    took = time.perf_counter() - began
    assert sum(row[2] for row in found) == 24 * rows
    say(f"24 months, {24 * rows:,} rows", f"{took:.2f} s", "asked 5 s for 10,000,000")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--full", action="store_true", help="1,000,000 records")
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    options = parser.parse_args()
    records = 1_000_000 if options.full else options.records
    with databases(options.only) as urls:
        for url in urls:
            print(f"{url.split(':')[0]}, {records:,} records", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                engine = open_engine(url)
                run(engine, Path(folder), records)
                engine.dispose()


if __name__ == "__main__":
    main()
