"""The graph end to end, from the outbox through RQ into Neo4j, beside the same rows put there bare."""

from __future__ import annotations

import random
import time
from typing import Any

from neo4j import Driver, GraphDatabase

from analect.index.graph.parts import TYPE_NUMBERS, HubType
from analect.index.neo4j.schema import RELATIONS, hub_number
from analect.index.neo4j.writing import rows_of
from analect.index.projection import facets_of
from analect.index.protocols import GraphRecord
from analect.model.record import Draft, Record
from analect.service import AnalysisService
from benchmarks.cluster_world import World, drained, ingested
from tests.engines.neo4j.server import Neo4jServer

RECORDS = 20_000
FIRST = 4_000
BATCH = 500


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
    """One worker that has worked before; the store is filled while there is no dispatcher. What the
    server does bare is measured before and after: it still becomes quicker.
    """
    server = Neo4jServer(heap="768m", quick_start=False)
    world.variables |= {
        "ANALECT_INDEX__GRAPH": "true",
        "ANALECT_GRAPH__URL": server.url,
        "ANALECT_GRAPH__PASSWORD": server.password,
    }
    try:
        server.wait()
        auth = ("neo4j", server.password)
        with (
            GraphDatabase.driver(server.url, auth=auth, notifications_min_severity="OFF") as driver,
            AnalysisService.open(world.settings()) as service,
        ):
            worker = world.start("work", "graph")
            ingested(service, drafts(FIRST), BATCH)
            drained(world, service)
            parts = service._parts  # noqa: SLF001
            records = parts.opener.open(parts.reads.get(ingested(service, drafts(RECORDS), BATCH)))
            _bare(driver, records, "Warm")
            before = _bare(driver, records, "Before")
            ours = drained(world, service)
            world.stop(worker)
            assert service.verify("graph").clean
            after = _bare(driver, records, "After")
            least = _bare(driver, records, "Least", sparing=True)
    finally:
        server.close()
    theirs = (before + after) / 2
    note = (
        f"{RECORDS:,} records with 7 relations each: {RECORDS / ours:,.0f}/s through one worker, "
        f"bare {RECORDS / before:,.0f}/s before and {RECORDS / after:,.0f}/s after, in batches of "
        f"{BATCH}; {RECORDS / least:,.0f}/s when nodes have but a key and a hash, relations but a "
        "time, and no index of relations is kept"
    )
    return {"graph": {"value": 100 * theirs / ours, "note": note}}


def _bare(driver: Driver, records: list[Record], label: str, *, sparing: bool = False) -> float:
    """Seconds to MERGE the same nodes and relations, constraints and indexes made and rows ready
    before; ``sparing``: with hardly any properties.
    """
    for each in ("Record", *(name.title() for name in TYPE_NUMBERS)):
        driver.execute_query(
            f"CREATE CONSTRAINT IF NOT EXISTS FOR (n:{label}{each}) REQUIRE n.key IS UNIQUE"
        )
    for relation in () if sparing else RELATIONS:
        driver.execute_query(
            f"CREATE INDEX IF NOT EXISTS FOR ()-[r:{label}{relation}]-() ON (r.hub, r.place)"
        )
    driver.execute_query("CALL db.awaitIndexes(60)")
    batches = [
        _rows(records[start : start + BATCH], sparing=sparing)
        for start in range(0, len(records), BATCH)
    ]
    began = time.perf_counter()
    with driver.session() as session:
        for rows, ties in batches:
            session.execute_write(_merge, label, rows, ties)
    return time.perf_counter() - began


def _rows(
    records: list[Record], *, sparing: bool
) -> tuple[list[dict[str, Any]], dict[HubType, list[dict[str, Any]]]]:
    """Nodes, and by type of hub the relations."""
    rows = []
    ties: dict[HubType, list[dict[str, Any]]] = {}
    for row in rows_of([GraphRecord(facets_of(record)) for record in records]):
        said = row.values
        kept = {"content_hash": said["content_hash"]} if sparing else said
        rows.append({"key": row.id, "values": kept})
        for hub_type, key in row.hubs:
            tie = {"at": said["occurred_at"]}
            if not sparing:
                tie |= {"hub": hub_number("bare", hub_type.name, key), "place": said["place"]}
            ties.setdefault(hub_type, []).append({"record": row.id, "key": key, "values": tie})
    return rows, ties


def _merge(
    transaction: Any, label: str, rows: Any, ties: dict[HubType, list[dict[str, Any]]]
) -> None:
    transaction.run(
        f"UNWIND $rows AS row MERGE (r:{label}Record {{key: row.key}}) SET r += row.values",
        rows=rows,
    ).consume()
    for hub_type, each in ties.items():
        transaction.run(
            f"UNWIND $rows AS row MATCH (r:{label}Record {{key: row.record}}) "
            f"MERGE (h:{label}{hub_type.name.title()} {{key: row.key}}) "
            f"MERGE (r)-[tie:{label}{hub_type.relation}]->(h) ON CREATE SET tie += row.values",
            rows=each,
        ).consume()


MEASURES = {"graph": graph}
