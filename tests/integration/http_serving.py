"""A server of a fresh store, in a thread of this process, on a free port of loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from analect.service import AnalysisService
from analect.settings import Settings
from analect_ingest.app import create_app
from tests import asking

DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class Running:
    """One server; ``app.state.serving.stop()`` tells it to stop."""

    url: str
    port: int
    app: Any
    service: Any
    client: httpx.Client


def settings_in(folder: Path, **changes: Any) -> Settings:
    """A store of its own; the vector index, which takes a second to load, is left out."""
    return Settings(
        **{
            "home": folder / "home",
            "keys": {"ring": folder / "ring"},
            "index": {"vectors": False},
            "processing": {"interval_seconds": 0.05, "backoff_seconds": 0.01},
            **changes,
        }
    )


@contextmanager
def running(
    settings: Settings, service: Any = None, headers: dict[str, str] | None = None
) -> Iterator[Running]:
    """Serve ``settings``, with another service than theirs where one is given."""
    if service is None:
        with AnalysisService.open(settings) as opened:
            opened.start()
            with running(settings, opened, headers) as found:
                yield found
        return
    app = create_app(service, settings)
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    try:
        with asking.client(url, headers=headers, timeout=DEADLINE) as client:
            yield Running(url, port, app, service, client)
    finally:
        app.state.serving.stop()
        server.should_exit = True
        thread.join(DEADLINE)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """What ``condition`` returns once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)
    return found
