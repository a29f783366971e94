"""Graphs in a Neo4j, for tests."""

from __future__ import annotations

import time
import uuid

from neo4j import GraphDatabase
from prometheus_client import CollectorRegistry

from analect.index.breaker import Breaker
from analect.index.neo4j import Neo4jGraphIndex
from analect.settings import Graph
from analect.telemetry.engines import EngineMetrics


def wall_clock():
    return time.time_ns() // 1000


def graph_index(settings, clock=wall_clock, failures=1000):
    metrics = EngineMetrics(CollectorRegistry())
    breaker = Breaker("neo4j", metrics, failures=failures, rest_seconds=0.2)
    return Neo4jGraphIndex(settings, breaker, clock)


def fresh_settings(server, **changes):
    """A graph of its own for each test."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    return Graph(**{"url": server.url, "password": server.password, "name": name, **changes})


def ask(server, statement, **parameters):
    """The rows of a statement, past the index."""
    auth = ("neo4j", server.password)
    with GraphDatabase.driver(server.url, auth=auth, notifications_min_severity="OFF") as driver:
        return [row.values() for row in driver.execute_query(statement, parameters).records]


def orphans(server, settings):
    """Nodes of this graph that nothing is tied to and that are no records."""
    found = ask(
        server,
        "MATCH (h:Hub) WHERE h.graph STARTS WITH $prefix AND NOT EXISTS { (h)<--() } "
        "RETURN h.type, h.key",
        prefix=f"{settings.name}.",
    )
    return [tuple(row) for row in found]
