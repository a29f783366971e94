"""A real ``analect serve`` and the other commands, as processes on one folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests import asking
from tests.waiting import pauses

DEADLINE = 60.0


def wait_for(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """What ``condition`` returns once that is true."""
    end = time.monotonic() + seconds
    pause, event = pauses(), threading.Event()
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true in time"
        event.wait(next(pause))
    return found


@dataclass(slots=True)
class Server:
    """A started server; ``log`` is what it writes to standard error."""

    process: subprocess.Popen[str]
    log: Path
    url: str = ""
    _client: httpx.Client | None = None

    @property
    def http(self) -> httpx.Client:
        """A client of it, opened when first asked for."""
        if self._client is None:
            self._client = asking.client(self.url, timeout=DEADLINE)
        return self._client

    def listen(self) -> str:
        """Wait until it says where it listens; its address, or nothing when it ended before."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.url = json.loads(line)["url"] if line else ""
        return self.url

    def ready(self) -> bool:
        """Whether it is ready now."""
        return self.http.get("/readyz").status_code == httpx.codes.OK

    def status(self) -> dict[str, Any]:
        """What ``/v1/status`` says."""
        found: dict[str, Any] = self.http.get("/v1/status").json()
        return found

    def settle(self, seconds: float = DEADLINE) -> dict[str, Any]:
        """Wait until every outbox entry is done and every index answers; the status then."""

        def settled() -> dict[str, Any] | None:
            status = self.status()
            entries = sum(one["entries"] for one in status["processors"].values())
            whole = all(one["state"] == "ok" for one in status["indexes"].values())
            return status if whole and not entries else None

        found: dict[str, Any] = wait_for(settled, seconds)
        return found

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """SIGKILL, and no trace of the process is left."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it, however it is, and let go of what it held."""
        if self._client is not None:
            self._client.close()
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def lines(self) -> list[dict[str, Any]]:
        """Its log, a line each."""
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]


@dataclass(slots=True)
class Place:
    """A home folder, its key ring and the settings of the processes on it."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    started: int = 0

    @property
    def home(self) -> Path:
        """The data folder."""
        return self.root / "home"

    @property
    def ring(self) -> Path:
        """The key ring."""
        return self.root / "ring"

    @property
    def environment(self) -> dict[str, str]:
        """What the processes are started with."""
        others = {k: v for k, v in os.environ.items() if not k.startswith("ANALECT_")}
        return {
            **others,
            "ANALECT_HOME": str(self.home),
            "ANALECT_KEYS__RING": str(self.ring),
            "ANALECT_INDEX__VECTORS": "false",
            "ANALECT_PROCESSING__INTERVAL_SECONDS": "0.1",
            "ANALECT_PROCESSING__BACKOFF_SECONDS": "0.2",
            **self.variables,
        }

    def start(self) -> Server:
        """Start a server on a free port, without waiting for anything."""
        self.started += 1
        self.root.mkdir(exist_ok=True)
        log = self.root / f"server-{self.started}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "analect.cli", "serve", "--port", "0", "--json"],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        return Server(process, log)

    @contextmanager
    def server(self) -> Iterator[Server]:
        """A server that is ready; ended in the end."""
        server = self.start()
        try:
            assert server.listen(), server.log.read_text("utf-8")
            wait_for(server.ready)
            yield server
        finally:
            server.close()

    def run(self, *words: object, send: str = "", seconds: float = DEADLINE) -> str:
        """A command that ends well; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "analect.cli", *map(str, words)],
            env=self.environment,
            input=send,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *words: object, **options: Any) -> Any:
        """The same with ``--json``, read."""
        return json.loads(self.run(*words, "--json", **options))
