"""A proxy before an object store on which things go wrong, in turn and as told."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import urlsplit

FAULTS = ("drop", "drop answer", "delay", "duplicate", "500", "503", "partial")
"""Not answered and not done; done and not answered; late; done twice; refused; half an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        fault = self.server.fault()  # type: ignore[attr-defined]
        if fault == "drop":
            return self._hang_up()
        if fault in {"500", "503"}:
            return self._answer(int(fault), [("Content-Type", "application/xml")], b"<Error/>")
        if fault == "delay":
            time.sleep(0.05)
        if fault == "duplicate":
            self._forward(body)
        status, headers, answer = self._forward(body)
        if fault == "drop answer":
            return self._hang_up()
        if fault == "partial" and len(answer) > 1:
            self._answer(status, headers, answer, half=True)
            return self._hang_up()
        return self._answer(status, headers, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        made = http.client.HTTPConnection(self.server.behind, timeout=30)  # type: ignore[attr-defined]
        try:
            made.request(self.command, self.path, body, dict(self.headers))
            found = made.getresponse()
            return found.status, found.getheaders(), found.read()
        finally:
            made.close()

    def _answer(
        self, status: int, headers: Sequence[tuple[str, str]], body: bytes, *, half: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        length = {n.lower(): v for n, v in headers}.get("content-length", str(len(body)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if half else body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Nobody listens."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behind: str, faults: Sequence[str], every: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(behind).netloc
        self._faults = faults
        self._every = every
        self._number = count(1)
        self.seen: list[str] = []

    def fault(self) -> str | None:
        """What goes wrong with the request at hand."""
        number = next(self._number)
        if number % self._every:
            return None
        fault = self._faults[number // self._every % len(self._faults)]
        self.seen.append(fault)
        return fault

    def handle_error(self, *_: object) -> None:
        """A caller that hung up as well is no news."""


@contextmanager
def faulty(behind: str, faults: Sequence[str] = FAULTS, every: int = 3) -> Iterator[_Server]:
    """A proxy before the server at ``behind``; every so manieth request meets a fault."""
    server = _Server(behind, faults, every)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
