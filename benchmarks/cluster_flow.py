"""How fast work moves from the outbox through RQ, and how the dispatcher bears a deep backlog."""

from __future__ import annotations

import statistics
import time
from typing import Any

import psycopg

from analect.model.record import Draft
from analect.service import AnalysisService
from analect.store.handover import AT_ONCE, Handover
from benchmarks.cluster_world import World, resident_mib, wait_until

RECORDS = 40_000
SMALL = 4_000
ENTRIES = 500_000
HELD = 10
CLAIMS = 100


def flow(world: World) -> dict[str, dict[str, Any]]:
    """One worker, entries of 100 and of 1; the store is filled before."""
    world.add_noop()
    found: dict[str, dict[str, Any]] = {}
    with AnalysisService.open(world.settings()) as service:
        for name, records, size in (("flow_100", RECORDS, 100), ("flow_1", SMALL, 1)):
            _fill(service, records, size)
            worker = world.start("work", "noop")
            began = time.perf_counter()
            dispatcher = world.start("dispatch")
            started = time.perf_counter()
            wait_until(lambda: not service.store.outbox.depth())
            seconds = time.perf_counter() - started
            note = (
                f"{records:,} records, one worker, {seconds:.1f} s from the dispatcher's readiness"
                f" ({started - began:.1f} s to start it), records opened"
            )
            found[name] = {"value": records / seconds, "note": note}
            world.stop(worker, dispatcher)
    return found


def _fill(service: AnalysisService, records: int, size: int) -> None:
    for first in range(0, records, size):
        drafts = [Draft(input=f"pelican number {first + n} " * 20) for n in range(size)]
        assert service.ingest(drafts).accepted == size


def depth(world: World) -> dict[str, dict[str, Any]]:
    """A dispatcher and its claims with half a million entries before it."""
    world.add_noop()
    with AnalysisService.open(world.settings()) as service:
        _deepen(world)
        dispatcher = world.start("dispatch")
        worker = world.start("work", "noop")
        before = service.store.outbox.depth()["noop"].entries
        most = 0.0
        end = time.monotonic() + 30
        while time.monotonic() < end:
            most = max(most, resident_mib(dispatcher.pid))
            time.sleep(0.2)
        moved = before - service.store.outbox.depth()["noop"].entries
        world.stop(dispatcher, worker)
        handover = Handover(service.store.engine)
        took = []
        for _ in range(CLAIMS):
            now = time.time_ns() // 1000
            began = time.perf_counter()
            bundles = handover.claim("noop", room=50, partial=4, batch=500, now=now)
            took.append((time.perf_counter() - began) * 1000)
            assert bundles
    p95 = statistics.quantiles(took, n=20)[18]
    return {
        "depth_memory": {
            "value": most,
            "note": f"most seen in 30 s beside one worker, {moved:,} entries moved meanwhile",
        },
        "depth_claim": {
            "value": p95,
            "note": f"{CLAIMS} claims of {AT_ONCE} entries each at most, median {statistics.median(took):.1f} ms",
        },
    }


def _deepen(world: World) -> None:
    """Entries of ids that no record has: what is claimed and handed over is the same."""
    uri = world.variables["ANALECT_DATABASE_URL"].replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(
            """
            WITH made AS (
                INSERT INTO commits (txid, operation, ids, committed_at)
                SELECT 0, 'put', decode(repeat(replace(uuidv7()::text, '-', ''), %s), 'hex'), n
                FROM generate_series(1, %s) AS n RETURNING seq, committed_at
            )
            INSERT INTO outbox (processor, commit_seq, operation, state, priority, attempts,
                                not_before, created_at)
            SELECT 'noop', seq, 'put', 'pending', 1, 0, committed_at, committed_at FROM made
            """,
            (HELD, ENTRIES),
        )
        connection.execute("ANALYZE")


MEASURES = {"flow": flow, "depth": depth}
