"""The graph in a real Neo4j: the contract of every graph, and what only a server can do."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from analect.index.neo4j import generations
from analect.model.errors import ConfigurationError, EngineUnavailable, NotFound
from analect.settings import Graph
from analect.testing import graph
from tests.engines.faults import certificate
from tests.engines.graphs import ask, fresh_settings, graph_index, orphans
from tests.ports import free_port
from tests.tls import tls_before


@pytest.fixture
def settings(neo4j):
    return fresh_settings(neo4j)


@pytest.fixture
def index(settings):
    with closing(graph_index(settings)) as index:
        yield index


def tags_of(index, number):
    found = index.related(graph.record_id(number), 1, 50)
    return {node.key for node in found.nodes if node.type == "tag"}


@pytest.mark.parametrize("case", graph.CASES, ids=lambda case: case.__name__)
def test_contract(case, settings):
    case(lambda: graph_index(settings))


def test_what_comes_late_does_not_bring_back_what_was_deleted(index):
    index.upsert([graph.record(1, received_at=5)])
    index.delete([graph.record_id(1), graph.record_id(2)])
    index.upsert([graph.record(n, received_at=5, tags=("late",)) for n in (1, 2, 3)])
    assert [id_ for id_, _ in index.entries()] == [graph.record_id(3)]
    assert index.top_tags(5) == [("late", 1)]
    index.upsert([graph.record(1, received_at=graph.LATER)])
    assert index.count() == 2


def test_a_deletion_of_whose_clock_is_behind_counts_too(settings):
    with closing(graph_index(settings, clock=lambda: 10)) as behind:
        behind.upsert([graph.record(1, received_at=1000)])
        behind.delete([graph.record_id(1)])
        behind.upsert([graph.record(1, received_at=1000)])
        assert behind.count() == 0


def test_an_older_version_does_not_replace_a_newer_one(index):
    index.upsert([graph.record(1, received_at=7, tags=("new",))])
    index.upsert([graph.record(1, received_at=6, tags=("old",))])
    assert tags_of(index, 1) == {"new"}
    index.upsert([graph.record(1, received_at=7, tags=("again",))])
    assert tags_of(index, 1) == {"again"}


def test_deletions_of_long_ago_are_not_kept(neo4j, settings):
    times = [1_000_000]
    with closing(graph_index(settings, clock=lambda: times[-1])) as index:
        index.delete([graph.record_id(1)])
        times.append(times[0] + 2 * 86_400 * 1_000_000)
        index.delete([graph.record_id(2)])
    kept = ask(
        neo4j,
        "MATCH (f:Forgotten) WHERE f.graph STARTS WITH $prefix RETURN f.id",
        prefix=f"{settings.name}.",
    )
    assert kept == [[graph.record_id(2)]]


def test_what_somebody_else_wrote_does_not_end_a_walk(neo4j, settings, index):
    index.upsert([graph.record(2)])
    ids = [graph.record_id(n) for n in (1, 3, 4)]
    ask(
        neo4j,
        "UNWIND range(0, 2) AS n CREATE (r:Record {graph: $graph, id: $ids[n]}) "
        "SET r.content_hash = [null, 'no hash', 7][n]",
        graph=f"{settings.name}.1",
        ids=ids,
    )
    assert list(index.entries()) == [
        (graph.record_id(n), n.to_bytes(16, "big") if n == 2 else b"") for n in (1, 2, 3, 4)
    ]
    index.upsert([graph.record(3)])
    index.delete([ids[0], ids[2]])
    assert [int.from_bytes(hash_, "big") for _, hash_ in index.entries()] == [2, 3]


def test_writers_who_meet_neither_lose_nor_leave_anything(neo4j, settings):
    """Each record is put, put differently and perhaps deleted, by writers at the same nodes."""
    doomed = set(range(0, 120, 4))

    def write(worker):
        rng = random.Random(worker)
        with closing(graph_index(settings)) as index:
            for _ in range(6):
                numbers = rng.sample(range(120), 40)
                index.upsert(
                    [
                        graph.record(
                            n,
                            tags=tuple(rng.sample("abcdefgh", 3)),
                            parent_id=graph.record_id(n - 1),
                            thread_id=f"thread-{n // 10}",
                            received_at=1,
                        )
                        for n in numbers
                    ]
                )
                index.delete([graph.record_id(n) for n in numbers if n in doomed])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    with closing(graph_index(settings)) as index:
        kept = [n for n in range(120) if n not in doomed]
        index.upsert([graph.record(n, tags=("end",), parent_id=graph.record_id(n - 1),
                                   received_at=2) for n in kept])  # fmt: skip
        assert [id_ for id_, _ in index.entries()] == [graph.record_id(n) for n in kept]
        assert index.top_tags(10) == [("end", len(kept))]
        parents = ask(
            neo4j,
            "MATCH (c:Record)-[p:PARENT]->(:Record) WHERE c.graph STARTS WITH $prefix "
            "RETURN c.id, count(p) ORDER BY c.id",
            prefix=f"{settings.name}.",
        )
    assert parents == [[graph.record_id(n), 1] for n in kept if n - 1 in kept]
    assert orphans(neo4j, settings) == []


def test_what_a_builder_left_that_died_is_removed(neo4j, settings, index):
    index.upsert([graph.record(n) for n in range(10)])
    with closing(graph_index(settings)) as other:
        building = other.rebuilding()
        fresh = building.__enter__()
        fresh.upsert([graph.record(n) for n in range(5)])
        with pytest.raises(EngineUnavailable, match="already"), index.rebuilding():
            pass
        ask(neo4j, "MATCH (g:AnalectGraph {name: $name}) SET g.building_until = 0",
            name=settings.name)  # fmt: skip
        with index.rebuilding() as fresh:
            fresh.upsert([graph.record(n) for n in range(7)])
        with pytest.raises(EngineUnavailable, match="rebuild graph"):
            building.__exit__(None, None, None)
    assert index.count() == 7
    graphs = ask(
        neo4j,
        "MATCH (r:Record) WHERE r.graph STARTS WITH $prefix RETURN DISTINCT r.graph",
        prefix=f"{settings.name}.",
    )
    assert len(graphs) == 1


_KILLED = """
import sys
from analect.index import progress
from analect.settings import Graph
from analect.testing import graph
from tests.engines.faults import certificate
from tests.engines.graphs import graph_index

progress.NOTED_SECONDS = 0.0
url, password, name = sys.argv[1:]
index = graph_index(Graph(url=url, password=password, name=name))
with index.rebuilding() as fresh:
    for n in range(0, 100_000, 25):
        records = [graph.record(m, tags=("new",)) for m in range(n, n + 25)]
        fresh.upsert(records)
        fresh.reach(records[-1].facets.id)
        print(n + 25, flush=True)
"""


def test_a_killed_rebuild_goes_on_where_it_was(neo4j, settings, index, monkeypatch):
    monkeypatch.setattr(generations, "SILENT_MILLIS", 1_000)
    index.upsert([graph.record(n, tags=("old",)) for n in (5, 6, 2000)])
    command = [sys.executable, "-c", _KILLED, settings.url, neo4j.password, settings.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        for line in builder.stdout:
            done = int(line)
            if done >= 600:
                break
        builder.kill()
    ask(neo4j, "MATCH (g:AnalectGraph {name: $name}) SET g.building_until = timestamp() - 1",
        name=settings.name)  # fmt: skip
    index.upsert([graph.record(5, tags=("meanwhile",), received_at=graph.LATER)])
    index.delete([graph.record_id(6)])
    assert index.top_tags(5) == [("meanwhile", 1), ("old", 1)]  # the old one answers
    with index.rebuilding() as fresh:
        assert fresh.reached() is not None
        assert fresh.reached() >= graph.record_id(int(0.95 * done))
        fresh.upsert([graph.record(n, tags=("new",)) for n in (5, 6, done, done + 1)])
    there = [record_id for record_id, _ in index.entries()]
    assert graph.record_id(6) not in there
    assert len(there) >= done + 1
    assert tags_of(index, 5) == {"meanwhile"}
    assert orphans(neo4j, settings) == []


def test_graphs_of_one_database_do_not_see_each_other(neo4j, index):
    with closing(graph_index(fresh_settings(neo4j))) as other:
        index.upsert([graph.record(1, tags=("mine",))])
        other.upsert([graph.record(1, tags=("theirs",)), graph.record(2)])
        assert index.count() == 1
        assert index.top_tags(5) == [("mine", 1)]
        other.delete([graph.record_id(1)])
        assert tags_of(index, 1) == {"mine"}


def test_text_of_every_kind_is_kept(index):
    strange = (
        "日本語 東京",
        "عربى",
        "🎉" * 64,
        "a\u0301",
        "'\"; MATCH (n) DETACH DELETE n //",
        "\u0000x",
    )
    index.upsert([graph.record(1, tags=strange)])
    assert tags_of(index, 1) == set(strange)


def test_what_is_wrong_with_the_address_is_said(neo4j, settings, tmp_path):
    for url in ("http://127.0.0.1:7474", "nowhere", "bolt+s://127.0.0.1:1"):
        wrong = settings.model_copy(update={"url": url, "ca_file": tmp_path / "none"})
        with pytest.raises(ConfigurationError) as raised:
            graph_index(wrong)
        assert raised.value.field in {"graph.url", "graph.ca_file"}
    password = fresh_settings(neo4j, password="not the one")
    with (
        closing(graph_index(password)) as index,
        pytest.raises(EngineUnavailable, match=r"graph\.password") as refused,
    ):
        index.count()
    assert "not the one" not in repr(refused.value)
    away = settings.model_copy(update={"url": f"bolt://127.0.0.1:{free_port()}"})
    with closing(graph_index(away)) as index, pytest.raises(EngineUnavailable, match="url"):
        index.check()


def test_the_address_of_a_cluster_leads_to_a_single_server_too(settings):
    routed = settings.model_copy(update={"url": settings.url.replace("bolt://", "neo4j://")})
    with closing(graph_index(routed)) as index:
        index.upsert([graph.record(n, tags=("routed",)) for n in range(3)])
        index.delete([graph.record_id(0)])
        assert index.top_tags(5) == [("routed", 2)]
        index.check()


def test_tls_by_an_authority_of_ones_own(neo4j, settings, tmp_path):
    authority, *pair = certificate(tmp_path)
    with tls_before(neo4j.port, *pair) as port:
        url = f"bolt+s://127.0.0.1:{port}"
        trusted = settings.model_copy(update={"url": url, "ca_file": authority})
        with closing(graph_index(trusted)) as index:
            index.upsert([graph.record(1)])
            assert index.count() == 1
        stranger = settings.model_copy(update={"url": url})
        with (
            closing(graph_index(stranger)) as index,
            pytest.raises(EngineUnavailable, match=r"graph\.ca_file"),
        ):
            index.count()


def test_a_password_comes_from_a_file_too(neo4j, settings, tmp_path):
    path = tmp_path / "password"
    path.write_text(f"{neo4j.password}\n")
    given = Graph(url=settings.url, name=settings.name, password_file=path)
    with closing(graph_index(given)) as index:
        index.check()
        with pytest.raises(NotFound):
            index.causal_chain("none", 5)
    with pytest.raises(ConfigurationError, match="password_file"):
        graph_index(given.model_copy(update={"password_file": tmp_path / "no"}))
