"""The graph end to end, from the outbox through RQ into Neo4j, beside the same rows put there bare."""

from __future__ import annotations

import random
import time
from typing import Any

from neo4j import Driver, GraphDatabase

from analect.model.record import Draft
from analect.service import AnalysisService
from benchmarks.cluster_world import World, wait_until
from tests.engines.neo4j.server import Neo4jServer

RECORDS = 20_000
BATCH = 500
TIES = {
    "thread_id": ("Thread", "IN"),
    "session_id": ("Session", "IN"),
    "subject": ("Subject", "IN"),
    "service": ("Service", "OF"),
    "model": ("Model", "OF"),
    "tags": ("Tag", "TAGGED"),
}
"""Field of a record -> label of what it is tied to, and the relation's type."""


def drafts(records: int) -> list[Draft]:
    """Threads of ten, sessions of thirty, few services and models, two tags of fifty each."""
    rng = random.Random(1)
    return [
        Draft(
            input=f"pelican number {n}",
            thread_id=f"thread {n // 10}",
            session_id=f"session {n // 30}",
            subject=f"person {rng.randrange(records // 40)}",
            service=f"service-{rng.randrange(5)}",
            model=f"model-{rng.randrange(4)}",
            tags=[f"one-{rng.randrange(50)}", f"other-{rng.randrange(50)}"],
        )
        for n in range(records)
    ]


def graph(world: World) -> dict[str, dict[str, Any]]:
    """One worker; the store is filled before, and both sides find the server warm."""
    server = Neo4jServer(heap="768m", quick_start=False)
    try:
        server.wait()
        auth = ("neo4j", server.password)
        with GraphDatabase.driver(
            server.url, auth=auth, notifications_min_severity="OFF"
        ) as driver:
            made = drafts(RECORDS)
            _bare(driver, made[: RECORDS // 2], "Warm")
            ours = _end_to_end(world, server, made)
            theirs = _bare(driver, made, "Bare")
    finally:
        server.close()
    note = (
        f"{RECORDS:,} records with 7 relations each: {RECORDS / ours:,.0f} records/s through one "
        f"worker, {RECORDS / theirs:,.0f} records/s bare, in batches of {BATCH}"
    )
    return {"graph": {"value": 100 * theirs / ours, "note": note}}


def _end_to_end(world: World, server: Neo4jServer, made: list[Draft]) -> float:
    """Seconds from the dispatcher's readiness until nothing waits."""
    world.variables |= {
        "ANALECT_INDEX__GRAPH": "true",
        "ANALECT_GRAPH__URL": server.url,
        "ANALECT_GRAPH__PASSWORD": server.password,
    }
    with AnalysisService.open(world.settings()) as service:
        for start in range(0, len(made), BATCH):
            accepted = service.ingest(made[start : start + BATCH]).accepted
            assert accepted == len(made[start : start + BATCH])
        assert not service.verify("graph").clean  # and its constraints and indexes are made
        worker = world.start("work", "graph")
        dispatcher = world.start("dispatch")
        began = time.perf_counter()
        wait_until(lambda: not service.store.outbox.depth())
        seconds = time.perf_counter() - began
        world.stop(worker, dispatcher)
        assert service.verify("graph").clean
    return seconds


def _bare(driver: Driver, made: list[Draft], label: str) -> float:
    """Seconds to MERGE the same nodes and relations, constraints made and rows ready before."""
    for each in ("Record", *(name for name, _ in TIES.values())):
        driver.execute_query(
            f"CREATE CONSTRAINT IF NOT EXISTS FOR (n:{label}{each}) REQUIRE n.key IS UNIQUE"
        )
    driver.execute_query("CALL db.awaitIndexes(60)")
    batches = [_rows(made[start : start + BATCH], start) for start in range(0, len(made), BATCH)]
    began = time.perf_counter()
    with driver.session() as session:
        for rows, ties in batches:
            session.execute_write(_merge, label, rows, ties)
    return time.perf_counter() - began


def _rows(made: list[Draft], start: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Records, and per field what they are tied to."""
    rows = [
        {"key": f"record {start + n}", "at": start + n, "hash": bytes(16)} for n in range(len(made))
    ]
    ties: dict[str, Any] = {}
    for field in TIES:
        ties[field] = [
            {"record": row["key"], "key": value, "at": row["at"]}
            for row, one in zip(rows, made, strict=True)
            for value in (one.tags if field == "tags" else [getattr(one, field)])
        ]
    return rows, ties


def _merge(transaction: Any, label: str, rows: Any, ties: dict[str, Any]) -> None:
    transaction.run(
        f"UNWIND $rows AS row MERGE (r:{label}Record {{key: row.key}}) "
        "SET r.at = row.at, r.hash = row.hash",
        rows=rows,
    ).consume()
    for field, (name, relation) in TIES.items():
        transaction.run(
            f"UNWIND $rows AS row MATCH (r:{label}Record {{key: row.record}}) "
            f"MERGE (h:{label}{name} {{key: row.key}}) "
            f"MERGE (r)-[tie:{relation}]->(h) ON CREATE SET tie.at = row.at",
            rows=ties[field],
        ).consume()


MEASURES = {"graph": graph}
