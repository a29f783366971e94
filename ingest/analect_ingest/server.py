"""Serves until told to stop: ``analect serve``."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn

from analect.access.api_keys import ApiKeys
from analect.model.errors import AnalectError, ConfigurationError
from analect.service import AnalysisService
from analect.settings import Settings
from analect.telemetry.buffered import BufferedLines
from analect.telemetry.logs import configure_logging
from analect_ingest.app import create_app
from analect_ingest.protocol import ListeningProtocol
from analect_ingest.roles import Role
from analect_ingest.serving import Serving

log = structlog.get_logger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 1024
_M_ARENA_MAX = -8
"""Of ``mallopt`` (malloc.h of glibc)."""
_ARENAS = 2


def run(
    settings: Settings,
    *,
    role: Role = Role.ALL,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; returns when everything acked is durable and closed.

    Args:
        settings: where to listen and what to open.
        role: what it answers.
        on_ready: called with the address once it is listening.

    Raises:
        ConfigurationError: a setting is wrong, or the address cannot be listened on.
        AnalectError: the store cannot be opened.
    """
    _share_heaps()
    lines = BufferedLines(sys.stderr)
    configure_logging(settings.log.level, settings.log.format, stream=lines)
    try:
        _run(settings, role, on_ready)
    finally:
        lines.close()


def _run(settings: Settings, role: Role, on_ready: Callable[[str], None] | None) -> None:
    keys = ApiKeys.from_settings(settings)
    with _listening(settings) as listener, AnalysisService.open(settings) as service:
        address = _address(listener, settings.http.host)
        serving = Serving(
            service.health, service.telemetry.http, grace=settings.http.shutdown_seconds / 2
        )
        app = create_app(service, settings, serving=serving, role=role)
        _warm_up(service)
        if settings.processing.auto:
            service.start(process=settings.queue_url is None)
        config = uvicorn.Config(
            app,
            loop="auto",
            http=ListeningProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            lifespan="on",
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(settings.http.shutdown_seconds * 3 / 4)),
        )
        log.info(
            "serving", address=address, role=str(role), keys=len(keys.digests), pid=os.getpid()
        )
        if not keys:
            log.info("no API key is set, so only this machine is listened to")
        _serve(_Server(config, serving, address, on_ready), listener)
    log.info("stopped")


def _share_heaps() -> None:
    """Glibc gives threads heaps of their own, and what one gave back is of no use to the others.
    Python runs one thread at a time, so two do as well: 9 MiB less after 50,000 records.
    """
    with suppress(OSError, AttributeError):  # another C library, without this call
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def _warm_up(service: AnalysisService) -> None:
    """What would otherwise be done while the first callers wait."""
    try:
        service.begin_keys()
    except AnalectError as error:
        log.warning("no keys could be made yet; records will ask for them", code=error.code)
    # What is there now stays: no collection need walk over it again while a batch waits.
    gc.collect()
    gc.freeze()


def _serve(server: _Server, listener: socket.socket) -> None:
    """Run ``server``; afterwards it raises the signal that stopped it once more, which is for
    us to swallow: a stop that was asked for is a success.
    """
    before = {number: signal.signal(number, _done) for number in _STOP_SIGNALS}
    try:
        server.run([listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _done(_number: int, _frame: FrameType | None) -> None:
    """The signal was heeded already."""


class _Server(uvicorn.Server):
    """Tells the application of the stop before the connections are wound down."""

    def __init__(
        self,
        config: uvicorn.Config,
        serving: Serving,
        address: str,
        on_ready: Callable[[str], None] | None,
    ) -> None:
        super().__init__(config)
        self._serving = serving
        self._address = address
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready(self._address)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._serving.stop()
        super().handle_exit(sig, frame)


def _listening(settings: Settings) -> socket.socket:
    host, port = settings.http.host, settings.http.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror or 'no such address'}; set "
            "http.host and http.port (ANALECT_HTTP__HOST, ANALECT_HTTP__PORT)",
            field="http.port",
        ) from error
    return listener


def _address(listener: socket.socket, host: str) -> str:
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
