"""Hot to warm and what comes after, on both databases.

    python -m benchmarks.tiers [--records 100000 | --full] [--only sqlite|postgres] [--own-months]

One month of records of about 1 KB (as benchmarks/store_reads.py fills it) becomes warm: read,
written, read back, compared and published, then removed. Beside it the same rows go to JSON Lines,
as they are and with the same proof: read back, parsed, each compared. On Postgres the month's
partition is then dropped. Records and threads are read back by id and by thread. For the aggregate
the month's files stand in 24 months, as many as make 10,000,000 rows; it goes the way of
`analect aggregate`, and once through DuckDB alone. `--full` takes 1,000,000 records. Few records
do not make 10,000,000 rows that way; with `--own-months` each month gets as many files of its own
as it takes, of the same rows with their times and ids moved: some minutes, and some 9 GB.

Before all that, on Postgres, a month of as many records expires: `then: delete`, by a whole run of
retention. It is expired once it is dropped, and it begins when it is detached: what comes before
is done while everybody sees it. Meanwhile another process reads and writes all the time and says
how long it waited.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine, text

from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.retention.run import Retention
from analect.lifecycle.tiers.copying import Copier, Going
from analect.lifecycle.tiers.moving import Mover
from analect.lifecycle.tiers.part import WARM, row_groups
from analect.lifecycle.tiers.shelf import Shelf
from analect.lifecycle.tiers.warm import WarmReads
from analect.model.ids import RecordId, id_floor, month_bounds
from analect.model.query import RecordFilter
from analect.store.choosing import Choice
from analect.store.cursor import Cursors
from analect.store.engine import is_postgres, open_engine, read_transaction, write_transaction
from analect.store.filters import Span
from analect.store.leaving import Leaving
from analect.store.migrate import migrate
from analect.store.reads import RecordReads
from analect.store.rows import StoredRecord
from analect.store.tier_files import TierFiles, publish
from benchmarks.ending import end_whole
from benchmarks.store_reads import databases, fill
from benchmarks.waiting import waiting

MONTH = "2026-01"
PAGES = 200
ROWS = 10_000_000
"""Of the aggregate."""


def say(name: str, value: str, asked: str = "") -> None:
    print(f"  {name:34} {value:>20}   {asked}", flush=True)


def run(engine: Engine, folder: Path, records: int, *, own_months: bool) -> None:
    migrate(engine)
    fill(engine, records)
    files, place = TierFiles(engine), FolderPlace(folder / "tiers")
    mover = Mover(engine, files, place, clock=lambda: 0, random_bytes=os.urandom)
    with read_transaction(engine) as connection:
        kinds = list(connection.execute(text("SELECT DISTINCT kind FROM records")).scalars())
    plain = to_json_lines(engine, folder, verified=False)
    proven = to_json_lines(engine, folder, verified=True)
    began, cpu = time.perf_counter(), time.process_time()
    end = id_floor(month_bounds(MONTH)[1])
    copier = Copier(engine, files, mover, clock=lambda: 0)
    every = [Leaving([Choice()], [], 0, kind, MONTH, end) for kind in kinds]
    copied = copier.copy([Going(one, "none", indexed=True, limit=10**12) for one in every])
    rate = copied / (time.perf_counter() - began)
    own = copied / (time.process_time() - cpu)
    say("hot to warm, verified", f"{rate:,.0f} rows/s", f"asked 60,000; {own:,.0f} a CPU second")
    say("to JSON Lines, read back", f"{proven:,.0f} rows/s", f"{rate / proven:.1f} times, asked 3")
    say("to JSON Lines, not read back", f"{plain:,.0f} rows/s", f"{rate / plain:.1f} times")
    began = time.perf_counter()
    mover.remove_copied(MONTH)
    say("removed from hot", f"{time.perf_counter() - began:.2f} s", "asked 1 s a million, Postgres")
    warm = WarmReads(files, Shelf(place, files))
    reads(warm, records)
    (fill_months if own_months else link_months)(mover, engine, files, folder / "tiers")
    aggregate(folder / "tiers", warm)


def to_json_lines(engine: Engine, folder: Path, *, verified: bool) -> float:
    """Rows a second of the plain way, payloads as base64; ``verified``: read back and compared."""
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(StoredRecord).decode
    reader = RecordReads(engine, Cursors(b"b" * 32))
    path, kept = folder / "plain.jsonl", []
    began, count = time.perf_counter(), 0
    with path.open("wb") as lines:
        for batch in reader.scan(RecordFilter(), 8192):
            lines.writelines(encode(stored) + b"\n" for stored in batch)
            count += len(batch)
            kept += batch if verified else []
        lines.flush()
        os.fsync(lines.fileno())
    if verified:
        with path.open("rb") as lines:
            assert all(decode(line) == one for line, one in zip(lines, kept, strict=True))
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


def months() -> Iterator[tuple[str, int]]:
    """24 months, and how many rows there are to be with those of each."""
    for number in range(24):
        yield f"{2024 + number // 12}-{number % 12 + 1:02}", ROWS * (number + 1) // 24


def link_months(_mover: Mover, engine: Engine, files: TierFiles, place: Path) -> None:
    """The files once more in each of 24 months, of as many as make 10,000,000 rows together."""
    rows = 0
    month_of_files = files.standing()
    for month, enough in months():
        for file in month_of_files:
            if rows >= enough:
                break
            name = file.name.replace(f"month={file.month}", f"month={month}")
            if not (place / name).exists():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(place / file.name, place / name)
                fresh = replace(file, name=name, month=month)
                with write_transaction(engine) as connection:
                    publish(connection, [(fresh, files.locator(file.name) or b"")], [])
            rows += file.rows


def fill_months(mover: Mover, _engine: Engine, files: TierFiles, _place: Path) -> None:
    """Files of its own in each of 24 months, through the writer, read back and verified."""
    rows, known = 0, files.standing()
    for month, enough in months():
        for copy in count():
            if rows >= enough:
                break
            for file in known:
                moved = row_groups(later(mover.load(file), month, copy))
                mover.publish([mover.write(moved, WARM, (file.kind, month), indexed=True)], [])
                rows += file.rows


def later(table: Any, month: str, copy: int) -> Any:
    """The same rows in another month, at other milliseconds for each ``copy``."""
    millis = (month_bounds(month)[0] - month_bounds(MONTH)[0]) // 1000 + copy
    for name in ("occurred_at", "received_at"):
        moments = pc.add(table.column(name).cast(pa.int64()), millis * 1000)
        field = table.schema.field(name)
        table = table.set_column(
            table.schema.get_field_index(name), field, moments.cast(field.type)
        )
    ids = [
        f"{int(one[:8] + one[9:13], 16) + millis:012x}" + one[13:]
        for one in table.column("id").to_pylist()
    ]
    whole = pa.array([f"{one[:8]}-{one[8:]}" for one in ids], pa.string())
    return table.set_column(0, table.schema.field("id"), whole)


def aggregate(place: Path, warm: WarmReads) -> None:
    began = time.perf_counter()
    groups = warm.grouped(RecordFilter(), ["service", "month"], lambda _ids: set())
    found = sum(figures["records"] for _, figures in groups)
    took = time.perf_counter() - began
    say(f"aggregate of 24 months, {found:,}", f"{took:.2f} s", "asked 5 s for 10,000,000")
    began = time.perf_counter()
    duckdb.sql(
        "SELECT month, service, count(*), avg(duration_ms), sum(input_tokens),"
        " count(*) FILTER (success), quantile_cont(duration_ms, 0.95)"
        f" FROM read_parquet('{place}/warm/*/*/*.parquet', hive_partitioning = true)"
        " GROUP BY month, service"
    ).fetchall()
    say("the same by DuckDB alone", f"{time.perf_counter() - began:.2f} s")


def expire(engine: Engine, folder: Path, records: int) -> None:
    """A whole month is deleted straight from the tables, while others read and write."""
    migrate(engine)
    fill(engine, records)
    reached: dict[str, float] = {}
    now = month_bounds(MONTH)[1] + 40 * 86_400_000_000
    retention = Retention(
        engine,
        FolderPlace(folder / "expired"),
        clock=lambda: now,
        random_bytes=os.urandom,
        processors=("text", "vectors", "graph"),
        step=lambda name: reached.setdefault(name, time.perf_counter()) and None,
    )
    rule = {"name": "old", "hotDays": 30, "then": "delete"}
    with waiting(engine.url.render_as_string(hide_password=False)) as waits:
        alone = waits(2.0)
        began = time.perf_counter()
        report = retention.run([parse_policy({"rules": [rule]})])
        took = time.perf_counter() - began
        beside = waits(0.1)
    going = reached["month dropped"] - reached["month compared"]
    say(f"expiry of {report.deleted:,}", f"{going:.2f} s", "asked 1 s a million")
    compared = reached["month compared"] - reached["month counted"]
    say("compared, journal made before it", f"{compared:.2f} s")
    counted = reached["month counted"] - began
    say("planned and counted before that", f"{counted:.2f} s", f"the whole run {took:.2f} s")
    say("others waited at most", f"{beside:.0f} ms", f"asked 100 ms; {alone:.0f} ms without it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--full", action="store_true", help="1,000,000 records")
    parser.add_argument("--own-months", action="store_true", help="10,000,000 rows in any case")
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    options = parser.parse_args()
    end_whole()
    records = 1_000_000 if options.full else options.records
    with databases(options.only) as urls:
        for url in urls:
            print(f"{url.split(':')[0]}, {records:,} records", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                engine = open_engine(url)
                if is_postgres(engine):
                    expire(engine, Path(folder), records)
                run(engine, Path(folder), records, own_months=options.own_months)
                engine.dispose()


if __name__ == "__main__":
    main()
