"""A proxy whose connections can go silent without being closed, as behind a firewall that forgot."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

_BYTES = 65536


@dataclass
class _Pair:
    """A connection through it; ``asked_at`` is when its client last said something."""

    client: socket.socket
    server: socket.socket
    asked_at: float = field(default_factory=time.monotonic)
    hushed: bool = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):  # closed already
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Silencer:
    """Passes everything on to a port of this machine; ``hush`` silences some connections."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[_Pair] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._pairs:
            pair.close()

    def hush(self, older: float) -> int:
        """What the server says on connections whose client asked nothing for so many seconds is
        dropped from now on; how many these are.
        """
        now = time.monotonic()
        still = [pair for pair in self._pairs if now - pair.asked_at > older]
        for pair in still:
            pair.hushed = True
        return len(still)

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return  # it was closed
            pair = _Pair(client, socket.create_connection(("127.0.0.1", self._behind)))
            self._pairs.append(pair)
            for work in (self._ask, self._tell):
                threading.Thread(target=work, args=(pair,), daemon=True).start()

    def _ask(self, pair: _Pair) -> None:
        with suppress(OSError):  # one end is gone; the other follows
            while data := pair.client.recv(_BYTES):
                pair.asked_at = time.monotonic()
                pair.server.sendall(data)
        pair.close()

    def _tell(self, pair: _Pair) -> None:
        with suppress(OSError):
            while data := pair.server.recv(_BYTES):
                if not pair.hushed:
                    pair.client.sendall(data)
        if not pair.hushed:
            pair.close()
