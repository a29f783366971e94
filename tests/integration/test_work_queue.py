"""The cluster's processes, real ones, over a real Postgres and a real Valkey: nothing is lost
between them and nothing is done twice, whichever of them dies.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from analect.model.errors import ConfigurationError
from analect.service import AnalysisService
from analect.settings import Settings

pytest.importorskip("rq", reason="needs the extra `engines`")

from analect_processors.pool import EntryPool
from tests import asking
from tests.integration.clusters import (
    Cluster,
    alive,
    children,
    kill,
    kill_number,
    wait_for,
    whole,
)
from tests.valkey import valkey_server


@pytest.fixture
def valkey():
    with valkey_server() as server:
        yield server


@pytest.fixture
def cluster(tmp_path, postgres_url, valkey):
    cluster = Cluster(tmp_path, postgres_url, f"redis://127.0.0.1:{valkey.port}/0")
    yield cluster
    cluster.close()


@pytest.fixture
def service(cluster):
    with AnalysisService.open(Settings(**cluster.values)) as service:
        yield service


def test_records_flow_from_the_outbox_to_the_indexes(cluster, service):
    dispatcher = cluster.start("dispatch")
    workers = [cluster.start("work", name) for name in ("text", "graph")]
    cluster.store(service, 60)
    wait_for(lambda: whole(service, 60))
    for process in (dispatcher, *workers):
        with asking.client(process.url) as probe:
            assert probe.get("/healthz").json() == {"status": "ok"}
            assert probe.get("/readyz").json() == {"ready": True, "reasons": []}
            shown = "analect_queue_up_state" in probe.get("/metrics").text
            assert shown is (process is dispatcher)
    status = asking.get(f"{dispatcher.url}/v1/status").json()
    assert status["leads"] is True
    jobs = {"queued": 0, "started": 0, "failed": 0, "stuck": 0, "workers": 1}
    assert status["queues"]["text"] == jobs
    assert status["engines"] == {
        name: {"state": "ok"} for name in ("database", "queue", "search", "graph")
    }
    for process in (*workers, dispatcher):
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


@pytest.mark.parametrize("kind", ["pool", "fork"])
def test_workers_below_one_process(cluster, service, kind):
    cluster.store(service, 40)
    cluster.start("dispatch")
    above = cluster.start("work", "text", "--worker", kind, "--processes", "2")
    cluster.start("work", "graph")
    wait_for(lambda: whole(service, 40))
    counted = 'analect_processing_records_total{processor="text"} 40.0'
    wait_for(lambda: counted in asking.get(f"{above.url}/metrics").text)
    below = children(above.pid)
    assert len(below) >= 2
    kill_number(below[0])
    wait_for(lambda: len(set(children(above.pid)) - set(below)) >= 1)
    above.send_signal(signal.SIGTERM)
    assert above.wait(20) == 0
    assert not [pid for pid in below if alive(pid)]


def test_a_worker_is_told_to_end_that_was_just_being_started(cluster, monkeypatch):
    """The signal comes when the process runs and the pool does not know of it yet."""
    pool = EntryPool(Settings(**cluster.values), "text", "pool", None, threading.Event())
    begun = []

    def start():
        begun.append(subprocess.Popen(["sleep", "60"]))
        process.pid = begun[0].pid
        pool.request_stop()

    process = SimpleNamespace(start=start)
    monkeypatch.setattr(pool, "get_worker_process", lambda *_, **__: process)
    pool.start_worker()
    assert begun[0].wait(30) == -signal.SIGTERM
    pool.connection.close()


def test_workers_end_with_the_process_above(cluster, service):
    above = cluster.start("work", "text", "--worker", "pool", "--processes", "1")
    below = wait_for(lambda: children(above.pid))
    wait_for(lambda: asking.get(f"{above.url}/v1/status").json()["queues"]["text"]["workers"])
    kill(above)
    wait_for(lambda: not any(map(alive, below)))


def test_whoever_dies_in_the_end_everything_is_done_once(cluster, service, valkey):
    dispatchers = [cluster.start("dispatch"), cluster.start("dispatch")]
    worker = cluster.start("work", "text")
    cluster.start("work", "graph")
    cluster.store(service, 100, entry=5)
    kill(worker)
    cluster.store(service, 100, entry=5)
    leader = next(p for p in dispatchers if asking.get(f"{p.url}/v1/status").json()["leads"])
    kill(leader)
    valkey.client().flushall()
    cluster.store(service, 100, entry=5)
    cluster.start("work", "text")
    wait_for(lambda: whole(service, 300))


def test_without_the_queue_records_are_taken_and_wait(cluster, service, valkey):
    port = valkey.port
    dispatcher = cluster.start("dispatch")
    for name in ("text", "graph"):
        cluster.start("work", name)
    cluster.store(service, 20)
    wait_for(lambda: whole(service, 20))
    valkey.stop()
    cluster.store(service, 20)
    wait_for(lambda: not asking.get(f"{dispatcher.url}/readyz").is_success)
    assert service.status()["processors"]["text"]["entries"]
    with valkey_server(port):
        wait_for(lambda: whole(service, 40))
        # The server that came back knew of no worker, and both were there all the time.
        wait_for(lambda: workers_of(dispatcher) == {"text": 1, "graph": 1})


def workers_of(dispatcher):
    status = asking.get(f"{dispatcher.url}/v1/status").json()
    return {name: queue["workers"] for name, queue in status["queues"].items()}


@pytest.mark.parametrize("setting", ["queue", "cache"])
def test_an_address_that_is_none_is_named(cluster, setting):
    settings = Settings(**{**cluster.values, setting: {"url": "http://localhost"}})
    named = rf"{setting}\.url \(ANALECT_{setting.upper()}__URL\) must look like redis://"
    with pytest.raises(ConfigurationError, match=named):
        AnalysisService.open(settings)


def test_sweep_gives_back_what_the_queue_lost(cluster, service, valkey):
    dispatcher = cluster.start("dispatch")
    cluster.store(service, 10)
    wait_for(lambda: asking.get(f"{dispatcher.url}/v1/status").json()["queues"]["text"]["queued"])
    kill(dispatcher)
    valkey.client().flushall()

    def swept():
        done = subprocess.run(
            [sys.executable, "-m", "analect.cli", "sweep", "--json"],
            env=cluster.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)["returned"] == 2

    wait_for(swept)
    service.process()
    assert whole(service, 10)
