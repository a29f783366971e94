"""A service whose graph is in Neo4j: nothing is lost, doubled or brought back, whatever ends when."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry

from analect.index.breaker import Breaker
from analect.index.neo4j import Neo4jGraphIndex
from analect.model.errors import EngineUnavailable
from analect.model.query import PageRequest, RecordFilter, SearchRequest
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.service.finding import wait_until
from analect.settings import Settings
from analect.telemetry.engines import EngineMetrics
from analect.testing.graph import record, record_id
from tests.engines.graphs import ask, fresh_settings, orphans, wall_clock
from tests.integration.sending_again import what_is_sent_again_stays_found

PATIENCE = 60.0


@pytest.fixture
def graph(neo4j):
    return fresh_settings(neo4j, connect_seconds=1, timeout_seconds=10)


@pytest.fixture
def settings(graph, tmp_path):
    return Settings(
        home=tmp_path / "home",
        keys={"ring": tmp_path / "ring"},
        index={"vectors": False},
        graph=graph,
        processing={"interval_seconds": 0.05, "backoff_seconds": 0.05, "max_attempts": 1000},
    )


@pytest.fixture
def service(settings):
    with AnalysisService.open(settings) as service:
        service.start()
        yield service


def draft(number, subject="anna"):
    return Draft(
        input=f"number {number}",
        thread_id=f"thread {number // 5}",
        subject=subject,
        service="shop",
        tags=["all", f"tag-{number % 7}"],
    )


def backlog(service):
    return sum(part["entries"] for part in service.status()["processors"].values())


def test_what_is_stored_is_related_and_rebuilt_while_it_answers(service, neo4j, graph):
    result = service.ingest([draft(n) for n in range(20)], wait_indexed=PATIENCE)
    found = service.related(result.ids[0], depth=1)
    assert {node.type for node in found.nodes} >= {"thread", "subject", "service", "tag"}
    (subject,) = (node.key for node in found.nodes if node.type == "subject")
    assert "anna" not in subject
    assert service.rebuild("graph") == 20
    assert service.verify("graph").clean
    assert service.status()["indexes"]["graph"]["records"] == 20
    ask(neo4j, "MATCH (r:Record {id: $id}) DETACH DELETE r", id=result.ids[3])
    assert service.verify("graph", repair=True).missing == 1
    assert service.verify("graph").clean
    assert orphans(neo4j, graph) == []


@pytest.mark.faults
def test_killed_while_records_flow_it_has_each_of_them_once_in_the_end(service, neo4j, graph):
    stop = threading.Event()
    stored = []

    def flow():
        while not stop.is_set():
            stored.extend(service.ingest([draft(len(stored) + n) for n in range(20)]).ids)
            stop.wait(0.1)

    flowing = threading.Thread(target=flow)
    flowing.start()
    try:
        assert wait_until(lambda: len(stored) > 200, PATIENCE)
        neo4j.kill()
        neo4j.start()
    finally:
        stop.set()
        flowing.join()
        neo4j.wait()
    assert wait_until(lambda: not backlog(service), PATIENCE)
    report = service.verify("graph")
    assert report.clean
    assert report.indexed == len(stored)
    assert service.status()["quarantine"] == []
    ((tied,),) = ask(
        neo4j,
        "MATCH (:Tag {key: 'all'})<-[t:TAGGED]-(r:Record) WHERE r.graph STARTS WITH $prefix "
        "RETURN count(t)",
        prefix=f"{graph.name}.",
    )
    assert tied == len(stored)
    assert orphans(neo4j, graph) == []


@pytest.mark.faults
def test_while_it_is_away_only_relations_are(service, neo4j):
    (first,) = service.ingest([draft(1)], wait_indexed=PATIENCE).ids
    neo4j.stop()
    try:
        (second,) = service.ingest([draft(2)]).ids
        with pytest.raises(EngineUnavailable):
            service.related(first)
        assert service.get(second).input == "number 2"
        request = SearchRequest("number")
        assert wait_until(lambda: len(service.search(request).items) == 2, PATIENCE)
        assert service.status()["indexes"]["graph"]["state"] == "unavailable"
    finally:
        neo4j.start()
        neo4j.wait()
    assert wait_until(lambda: not backlog(service), PATIENCE)
    assert service.verify("graph").clean
    assert service.related(second).nodes


def test_who_is_erased_while_the_records_come_does_not_come_back(service, neo4j, graph):
    stop = threading.Event()

    def flow():
        number = 0
        while not stop.is_set():
            service.ingest([draft(number + n, f"person {n % 3}") for n in range(30)])
            number += 30
            stop.wait(0.1)

    flowing = threading.Thread(target=flow)
    flowing.start()
    try:
        assert wait_until(lambda: service.status()["store"]["records"] > 200, PATIENCE)
        service.erase("subject", "person 1")
    finally:
        stop.set()
        flowing.join()
    assert wait_until(lambda: not backlog(service), PATIENCE)
    receipt = service.erase("subject", "person 1")
    assert {one.state for one in service.erasures()} == {"final"}
    assert service.verify("graph").clean
    kept = service.list(RecordFilter(), PageRequest(limit=1000)).items
    assert kept
    subjects = ask(
        neo4j,
        "MATCH (s:Subject) WHERE s.graph STARTS WITH $prefix RETURN s.key",
        prefix=f"{graph.name}.",
    )
    assert len(subjects) == 2
    assert [receipt.target] not in subjects
    assert orphans(neo4j, graph) == []


def test_what_a_sleeping_worker_brings_after_an_erasure_does_not_come_back(service, monkeypatch):
    (kept,) = service.ingest([draft(1, "other")], wait_indexed=PATIENCE).ids
    index = service._parts.indexes.named("graph")
    late = []
    upsert = type(index).upsert
    monkeypatch.setattr(type(index), "upsert", lambda _self, records: late.extend(records) or [])
    (erased,) = service.ingest([draft(2, "gone")], wait_indexed=PATIENCE).ids
    monkeypatch.undo()
    assert [one.facets.id for one in late] == [erased]
    service.erase("subject", "gone")
    assert upsert(index, late) == []
    report = service.verify("graph")
    assert (report.truth, report.indexed, report.orphaned) == (1, 1, 0)
    assert [id_ for id_, _ in index.entries()] == [kept]
    assert wait_until(lambda: service.erasures()[0].state == "final", PATIENCE)


def resting_long(neo4j, **changes):
    """A graph whose breaker stays open once it is, and the server beneath it."""
    breaker = Breaker("neo4j", EngineMetrics(CollectorRegistry()), rest_seconds=600.0)
    return Neo4jGraphIndex(fresh_settings(neo4j, **changes), breaker, wall_clock)


@pytest.mark.faults
def test_who_asks_a_server_that_hangs_is_told_so_and_nobody_waits_again(neo4j, monkeypatch):
    monkeypatch.setattr("analect.index.neo4j.server._GRACE_SECONDS", 0.1)
    with closing(resting_long(neo4j, answer_seconds=PATIENCE)) as index:
        index.upsert([record(1, thread_id="t")])
        assert index.related(record_id(1), 1, 10).nodes
        threads = threading.active_count()
        hurried = index._server._settings.model_copy(update={"answer_seconds": 0.1})
        monkeypatch.setattr(index._server, "_settings", hurried)
        neo4j.freeze()
        try:
            with pytest.raises(EngineUnavailable, match="said nothing within"):
                index.related(record_id(1), 1, 10)
            with pytest.raises(EngineUnavailable, match="asked again"):
                index.top_tags(1)
        finally:
            neo4j.thaw()
        assert wait_until(lambda: threading.active_count() <= threads, PATIENCE)


def test_a_question_that_takes_too_long_is_given_up_and_holds_nobody_else_up(neo4j, monkeypatch):
    monkeypatch.setattr("analect.index.neo4j.server._GRACE_SECONDS", PATIENCE)
    with closing(resting_long(neo4j, answer_seconds=0.2)) as index:

        def long(transaction):
            transaction.run("UNWIND range(1, 1000000000000) AS n RETURN count(n)").consume()

        with pytest.raises(EngineUnavailable, match="answer_seconds"):
            index._server.answer(long)
        assert index._server._breaker.state == "closed"


def test_what_is_deleted_and_sent_again_is_related(settings):
    with AnalysisService.open(settings) as service:
        what_is_sent_again_stays_found(service)
