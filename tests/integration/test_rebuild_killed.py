"""A rebuild that is killed is gone on with, over the warm tier too."""

import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry

from analect.index import generations, progress
from analect.index.breaker import Breaker
from analect.index.graph.embedded import EmbeddedGraphIndex
from analect.index.qdrant import QdrantServer, QdrantVectorIndex, state
from analect.index.vectors.embedded import EmbeddedVectorIndex
from analect.lifecycle.retention.loading import parse_policy
from analect.model.errors import ConfigurationError
from analect.model.record import Draft
from analect.service import AnalysisService, upkeep
from analect.settings import Settings
from analect.telemetry.engines import EngineMetrics
from analect.testing import graph, vectors

DAY = 86_400_000_000
WARM, HOT, TASKS = 600, 100, 100


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def place(home, tmp_path):
    return {"ANALECT_HOME": str(home), "ANALECT_KEYS__RING": str(tmp_path / "ring")}


@pytest.fixture
def service(home, tmp_path):
    settings = Settings(home=home, keys={"ring": tmp_path / "ring"})
    with AnalysisService.open(settings) as service:
        now = service.clock()
        for kind, count, days in (("a", WARM, 120), ("a", HOT, 2), ("task", TASKS, 2)):
            at = now - days * DAY
            service.ingest(
                [Draft(kind=kind, occurred_at=at + n, session_id=f"s{n % 7}", input=f"plum {n}")
                 for n in range(count)]
            )  # fmt: skip
        assert aged(service, {"name": "all", "hotDays": 90}).archived == WARM
        service.process()
        yield service


def aged(service, rule):
    policy = parse_policy({"rules": [rule]})
    return service.retention.run([policy], lambda _done, _total: None)


def killed(place, index, share):
    """A rebuild in another process, killed when so much of it is done; (done, in all)."""
    others = {k: v for k, v in os.environ.items() if not k.startswith("ANALECT_")}
    command = [sys.executable, "-m", "tests.integration.rebuilding_victim", index]
    with subprocess.Popen(
        command, env=others | place, stdout=subprocess.PIPE, text=True
    ) as builder:
        for line in builder.stdout:
            done, total = map(int, line.split())
            if done > share * total:
                break
        os.kill(builder.pid, signal.SIGKILL)
    return done, total


@pytest.mark.parametrize("index", ["text", "graph", "vectors"])
def test_it_is_gone_on_with(service, place, home, index, monkeypatch):
    monkeypatch.setattr(upkeep, "BATCH", 20)
    done, total = killed(place, index, 0.6)
    assert total == WARM + HOT + TASKS
    (fresh,) = service.ingest([Draft(input="plum meanwhile")]).ids
    gone = {"name": "tasks", "selector": {"kinds": ["task"]}, "hotDays": 1, "then": "delete"}
    assert aged(service, gone).deleted == TASKS
    service.process()
    steps = []
    count = service.rebuild(index, lambda done, _total: steps.append(done))
    assert count == WARM + HOT + 1
    assert steps[0] >= 0.95 * done
    assert len(steps) <= (count - done) / 20 + 5
    report = service.verify(index)
    assert report.clean
    assert report.indexed == report.truth == count
    assert fresh in dict(service._parts.indexes.named(index).entries())
    assert not list(home.rglob("*.reached"))


@pytest.mark.parametrize("index", ["text", "graph"])
def test_nothing_is_left_of_who_was_erased_meanwhile(service, place, home, index):
    killed(place, index, 0.3)
    assert list(home.rglob("*.reached"))
    service.process()
    assert service.erase("session", "s3").state == "final"
    assert not list(home.rglob("*.reached"))
    count = service.rebuild(index)
    report = service.verify(index)
    assert report.clean
    assert count == report.truth < WARM + HOT + TASKS


_LEFT = """
import sys
from pathlib import Path
from analect.index.vectors.embedded import EmbeddedVectorIndex
from analect.testing import vectors

rows = vectors.unit_vectors(3)
index = EmbeddedVectorIndex(Path(sys.argv[1]), model=sys.argv[2], dimension=vectors.DIMENSION)
with index.rebuilding() as fresh:
    fresh.upsert(vectors.documents(rows))
    fresh.reach(vectors.record_id(2))
    print("there", flush=True)
    sys.stdin.read()
"""


def left_behind(folder, model):
    """A rebuild that was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _LEFT, str(folder), model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as builder:
        builder.stdout.readline()
        builder.kill()


def opened(folder, model):
    return closing(EmbeddedVectorIndex(folder, model=model, dimension=vectors.DIMENSION))


def test_what_was_left_with_another_model_is_in_nobodys_way(tmp_path):
    rows = vectors.unit_vectors(3)
    with opened(tmp_path, "one") as index:
        index.upsert(vectors.documents(rows[:1]))
        left_behind(tmp_path, "two")
        index.upsert(vectors.documents(rows))
        assert index.count() == 3
        left_behind(tmp_path, "two")
        with index.rebuilding() as fresh:
            assert fresh.reached() is None
        assert index.count() == 0
    with opened(tmp_path, "two") as index, pytest.raises(ConfigurationError):
        index.count()


def test_what_was_left_for_a_day_is_dropped(tmp_path, monkeypatch):
    with opened(tmp_path, "one") as index:
        left_behind(tmp_path, "one")
        index.upsert([])
        index.delete([vectors.record_id(1)])
        assert list(tmp_path.glob("*.reached"))
        monkeypatch.setattr(generations, "ABANDONED_SECONDS", 0.0)
        index.delete([vectors.record_id(1)])
        assert not list(tmp_path.glob("*.reached"))
        with index.rebuilding() as fresh:
            assert fresh.reached() is None


def test_a_purge_does_not_go_on_with_a_rebuild(tmp_path):
    with closing(EmbeddedGraphIndex(tmp_path)) as index:
        index.upsert([graph.record(1)])
        building = index.rebuilding()
        fresh = building.__enter__()
        fresh.upsert([graph.record(2)])
        fresh.reach(graph.record_id(2))
        assert building.__exit__(ValueError, ValueError(), None) is False
        assert index.count() == 1
        index.purge()
        assert [id_ for id_, _ in index.entries()] == [graph.record_id(1)]


_QDRANT = """
import sys, time
from prometheus_client import CollectorRegistry
from qdrant_client import QdrantClient
from analect.index import progress
from analect.testing import vectors
from tests.integration.test_rebuild_killed import qdrant

progress.NOTED_SECONDS = 0.0
rows = vectors.unit_vectors(5000)
with qdrant(sys.argv[1]) as index, index.rebuilding() as fresh:
    for n in range(0, 5000, 20):
        fresh.upsert(vectors.documents(rows[n : n + 20], n))
        fresh.reach(vectors.record_id(n + 19))
        print(n + 20, flush=True)
"""


def qdrant(folder):
    from qdrant_client import QdrantClient

    breaker = Breaker("qdrant", EngineMetrics(CollectorRegistry()), failures=1000)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        server = QdrantServer(QdrantClient(path=folder), breaker, "test")
    clock = lambda: time.time_ns() // 1000  # noqa: E731
    return closing(
        QdrantVectorIndex(server, clock, model=vectors.MODEL, dimension=vectors.DIMENSION)
    )


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_in_qdrant_it_is_gone_on_with_too(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "SILENT", 1_000_000)
    monkeypatch.setattr(progress, "NOTED_SECONDS", 0.0)
    with subprocess.Popen(
        [sys.executable, "-c", _QDRANT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as builder:
        for line in builder.stdout:
            done = int(line)
            if done >= 400:
                break
        builder.kill()
    with qdrant(str(tmp_path)) as index:
        index.delete([vectors.record_id(7)])
        with index.rebuilding() as fresh:
            reached = fresh.reached()
            assert reached is not None
            assert vectors.record_id(done - 1 - 20) <= reached
            there = dict(fresh.entries())
            assert vectors.record_id(7) not in there
            assert {vectors.record_id(n) for n in range(done) if n != 7} <= there.keys()
        assert index.count() == len(there)
