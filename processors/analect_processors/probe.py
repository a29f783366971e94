"""What a process without an API of its own says of itself: health, metrics, status."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from analect.access.api_keys import ApiKeys
from analect.model.errors import AnalectError, ConfigurationError
from analect.settings import Settings

log = structlog.get_logger(__name__)

Reasons = Callable[[], tuple[str, ...]]
"""Why the process is not ready; nothing when it is."""

_JSON = "application/json"
_SOCKET_SECONDS = 10


class Probe:
    """Answers ``/healthz``, ``/readyz``, ``/metrics`` and ``/v1/status``; the last two ask for an
    API key as the server does.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        registry: CollectorRegistry,
        reasons: Reasons,
        status: Callable[[], dict[str, Any]],
    ) -> None:
        """
        Raises:
            ConfigurationError: the keys are wrong, or missing where they are needed.
        """
        self._keys = ApiKeys.from_settings(settings)
        self._registry = registry
        self._reasons = reasons
        self._status = status
        self._open = {"/healthz", "/readyz"} | (
            {"/metrics"} if settings.http.open_metrics else set()
        )

    def answer(self, path: str, authorization: str | None) -> tuple[int, str, bytes]:
        """Status code, content type and body of a GET."""
        if path not in self._open and not self._keys.allow(authorization):
            return _json(401, {"detail": "send an API key: `Authorization: Bearer KEY`"})
        try:
            if path == "/healthz":
                return _json(200, {"status": "ok"})
            if path == "/readyz":
                reasons = self._reasons()
                return _json(503 if reasons else 200, {"ready": not reasons, "reasons": reasons})
            if path == "/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            if path == "/v1/status":
                return _json(200, self._status())
        except AnalectError as error:
            return _json(503, {"code": error.code, "detail": str(error)})
        return _json(404, {"detail": "there are /healthz, /readyz, /metrics and /v1/status"})


@contextmanager
def listening(probe: Probe, host: str, port: int) -> Iterator[str]:
    """Answer on ``host`` and ``port`` (0: a free one) within the block; the address.

    Raises:
        ConfigurationError: it cannot be listened on.
    """
    try:
        server = _Server((host, port), _handler(probe))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror or 'no such address'}; set "
            "http.host and http.port (ANALECT_HTTP__HOST, ANALECT_HTTP__PORT)",
            field="http.port",
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="analect-probe", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A caller that hangs up is no news, and a traceback may hold values."""
        log.debug("probe not answered")


def _handler(probe: Probe) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SOCKET_SECONDS

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            code, kind, body = probe.answer(path, self.headers.get("authorization"))
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds."""

    return Handler


def _json(code: int, body: dict[str, Any]) -> tuple[int, str, bytes]:
    return code, _JSON, json.dumps(body).encode()
