"""The demonstration's own server: a real ``analect serve`` on a free port of loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx


class DemoFailed(Exception):
    """The demonstration did not show what it promises."""


@dataclass(slots=True)
class Server:
    """A running server and where its things are."""

    process: subprocess.Popen[bytes]
    url: str
    home: Path
    log: Path
    folders: tuple[Path, ...] = ()
    """Where else its data are."""
    environment: dict[str, str] = field(default_factory=dict)
    """With which commands work on the same store."""

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=15)


def start(
    home: Path, ring: Path, log: Path, variables: Mapping[str, str], folders: Sequence[Path] = ()
) -> Server:
    """Start a server on a fresh folder and wait until it is ready.

    Raises:
        DemoFailed: it ended, or was not ready within half a minute; the message ends with its log.
    """
    port = _free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("ANALECT_")},
        **variables,
        "ANALECT_HOME": str(home),
        "ANALECT_KEYS__RING": str(ring),
        "ANALECT_HTTP__PORT": str(port),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "analect.cli", "serve"],
            env=environment,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    server = Server(process, url, home, log, tuple(folders), environment)
    deadline = time.monotonic() + 30
    with httpx.Client(base_url=url, timeout=2) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.get("/readyz").is_success:
                    return server
            except httpx.TransportError:
                time.sleep(0.1)
    process.kill()
    raise DemoFailed(f"the server did not become ready:\n{log.read_text('utf-8')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
