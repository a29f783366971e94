"""A process beside this one that reads backups and hashes rows: a restore is as quick as the slower
of both, for one of them holds the interpreter's lock of each.

Keys go to it over a pipe, not in its arguments or its environment.
"""

from __future__ import annotations

import fcntl
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

import msgspec

from analect.lifecycle.backup.format import Part, Row
from analect.lifecycle.backup.frames import BEGIN, END, ERROR, READ, ROWS, receive, send
from analect.lifecycle.backup.read import Reading
from analect.lifecycle.places.place import Place
from analect.model.errors import StoreUnavailable

_ROOM = 1 << 20
"""Bytes of a pipe, where the system lets it have so many: about a chunk."""

_encode = msgspec.msgpack.Encoder().encode
_decode_part = msgspec.msgpack.Decoder(Part).decode
_decode_sum = msgspec.msgpack.Decoder(tuple[int, str]).decode


class Beside:
    """That process, as long as it runs. An :class:`analect.lifecycle.backup.read.Unsealer`."""

    def __init__(self, process: subprocess.Popen[bytes], place: Place, key: bytes) -> None:
        self._process = process
        self._send(BEGIN, pickle.dumps((place, key)))

    def parts(self, reading: Reading) -> Iterator[Part]:
        """Every chunk of these objects, read ahead of who asks."""
        self._send(READ, _encode((reading.keyset, reading.objects)))
        while (frame := self._receive())[0] != END:
            yield _decode_part(frame[1])

    def summed(self, batches: Iterable[Sequence[Row]]) -> tuple[int, str]:
        """How many rows, and the sum of their hashes."""
        for rows in batches:
            self._send(ROWS, _encode(rows))
        self._send(END)
        return _decode_sum(self._receive()[1])

    def _send(self, kind: int, body: bytes = b"") -> None:
        try:
            send(self._process.stdin, kind, body)
        except BrokenPipeError as error:
            raise self._gone() from error

    def _receive(self) -> tuple[int, bytearray]:
        frame = receive(self._process.stdout)
        if frame is None:
            raise self._gone()
        if frame[0] == ERROR:
            raise pickle.loads(frame[1])  # noqa: S301  (of the process that was started here)
        return frame

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"the process that reads the backup ended by itself ({self._process.wait()}; -9: killed,"
            " perhaps for want of memory): try again"
        )


@contextmanager
def beside(place: Place, key: bytes) -> Iterator[Beside]:
    """Start that process, for the backups in a place and the key of their hashes; it is gone when the
    block ends.

    Raises:
        StoreUnavailable: the system gives no process.
    """
    with _started() as process:
        try:
            yield Beside(process, place, key)
        finally:
            process.kill()


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "analect.lifecycle.backup.helping"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    try:
        # In a session of its own: what interrupts this process is told by this process.
        process = subprocess.Popen(command, start_new_session=True, **pipes)  # noqa: S603  (no shell)
    except OSError as error:
        raise StoreUnavailable(f"cannot start a process: {error.strerror}") from error
    for pipe in (process.stdin, process.stdout):
        with suppress(AttributeError, OSError):  # not Linux, or there is no room for more
            fcntl.fcntl(cast("IO[bytes]", pipe), fcntl.F_SETPIPE_SZ, _ROOM)
    return process
