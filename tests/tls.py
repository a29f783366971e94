"""TLS in front of a server that has none: what clients trust, and what they do not."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def tls_before(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """The port of loopback at which the server at ``port`` is found behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = threading.Event()
    found: list[int] = []
    stop: list[Callable[[], object]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        with suppress(asyncio.CancelledError):
            ways = ((reader, back), (there, writer))
            pumps = [asyncio.ensure_future(_pump(*way)) for way in ways]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for task in pumps:
                task.cancel()
        back.close()
        writer.close()

    async def serve() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _loop, _context: None)  # of handshakes that were refused
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
        found.append(server.sockets[0].getsockname()[1])
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        listening.set()
        await over.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert listening.wait(10)
    try:
        yield found[0]
    finally:
        stop[0]()
        thread.join(10)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
