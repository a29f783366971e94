"""TLS in front of a server that has none: what clients trust, and what they do not."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def tls_before(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """The port of loopback at which the server at ``port`` is found behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = threading.Event()
    found: list[int] = []
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            both = [
                asyncio.ensure_future(_pump(reader, back)),
                asyncio.ensure_future(_pump(there, writer)),
            ]
            ended = asyncio.ensure_future(over.wait())
            await asyncio.wait([*both, ended], return_when=asyncio.FIRST_COMPLETED)
            for task in (*both, ended):
                task.cancel()
            await asyncio.gather(*both, ended, return_exceptions=True)
            for one in (back, writer):
                one.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
        found.append(server.sockets[0].getsockname()[1])
        listening.set()
        await over.wait()
        server.close()
        await asyncio.sleep(0)

    def run() -> None:
        loop.set_exception_handler(lambda _loop, _context: None)  # handshakes that a client ended
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(serve())
        waiting = asyncio.all_tasks(loop)
        for task in waiting:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert listening.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
