"""The caller, in a process of its own: prebuilt requests over plain sockets.

    python -m benchmarks.client PORT FILE --connections 4 [--rate REQUESTS_A_SECOND]

Without a rate every connection sends its next request when the last is answered; with one,
requests are due at even moments and their time counts from then, whether or not a connection was
free: a server that stalls cannot hide it. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.material import read_requests


class Connection:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request; status and body of the answer."""
        self._socket.sendall(request)
        got = self._socket.recv(1 << 18)
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more()
        head = got[:end].lower()
        place = head.index(b"content-length:") + 15
        size = int(head[place:].split(b"\r\n", 1)[0])
        body = got[end + 4 :]
        while len(body) < size:
            body += self._more()
        return int(head[9:12]), body

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask for a path."""
        return self.exchange(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        piece = self._socket.recv(1 << 18)
        if not piece:
            raise ConnectionError("the server closed the connection")
        return piece


class Sending:
    """Connections that share one row of requests."""

    def __init__(self, requests: Iterator[bytes], rate: float | None, seconds: float) -> None:
        self._requests = requests
        self._rate = rate
        self._until = time.perf_counter() + seconds
        self._lock = threading.Lock()
        self._sent = 0
        self.began = time.perf_counter()
        self.answers: list[tuple[float, float]] = []
        self.refused: dict[int, int] = {}

    def run(self, port: int) -> None:
        """One connection, until the requests or the time run out."""
        connection = Connection(port)
        while (due := self._next()) is not None:
            request, start = due
            status, _ = connection.exchange(request)
            now = time.perf_counter()
            if status == 200:
                self.answers.append((now - self.began, now - start))
            else:
                self.refused[status] = self.refused.get(status, 0) + 1
        connection.close()

    def _next(self) -> tuple[bytes, float] | None:
        with self._lock:
            request = next(self._requests, None)
            number, self._sent = self._sent, self._sent + 1
        now = time.perf_counter()
        if request is None or now > self._until:
            return None
        if self._rate is None:
            return request, now
        start = self.began + number / self._rate
        if start > now:
            time.sleep(start - now)
        return request, start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=3600.0)
    options = parser.parse_args()
    sending = Sending(read_requests(options.file), options.rate, options.seconds)
    threads = [
        threading.Thread(target=sending.run, args=(options.port,))
        for _ in range(options.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump({"answers": sending.answers, "refused": sending.refused}, sys.stdout)


if __name__ == "__main__":
    main()
