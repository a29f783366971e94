"""A process beside this one that reads backups and hashes rows: a restore is as quick as the slower
of both, for one of them holds the interpreter's lock of each.

Keys go to it over a pipe, not in its arguments or its environment.
"""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, cast

import msgspec

from analect.lifecycle.backup.channel import (
    BEGIN,
    END,
    ERROR,
    READ,
    ROWS,
    SLOT,
    Channel,
    shared_memory,
)
from analect.lifecycle.backup.format import Part, Row, RowHash
from analect.lifecycle.backup.read import Reading
from analect.lifecycle.places.place import Place
from analect.model.errors import StoreUnavailable

_FULL = SLOT // 4
"""Bytes of rows from which on they are sent."""
_LIST = 0xDD
"""In msgpack: a list follows, its length in four bytes."""

_encoder = msgspec.msgpack.Encoder()
_decode_part = msgspec.msgpack.Decoder(Part).decode
_decode_sum = msgspec.msgpack.Decoder(tuple[int, str]).decode


class Beside:
    """That process, as long as it runs. An :class:`analect.lifecycle.backup.read.Unsealer`."""

    def __init__(self, process: subprocess.Popen[bytes], memory: int) -> None:
        self._process = process
        self._channel = Channel(process.stdout, process.stdin, memory, first=True)
        self._ready = False
        self._speaks = select.poll()
        self._speaks.register(cast("IO[bytes]", process.stdout), select.POLLIN)

    def begin(self, place: Place, hashing: RowHash) -> None:
        """Tell it the place of the backups, and how their rows are hashed."""
        self._send(BEGIN, pickle.dumps((place, hashing)))

    def ready(self) -> bool:
        """Whether it is there by now, which takes it a while."""
        if not self._ready and self._speaks.poll(0):
            self._await()
        return self._ready

    def parts(self, reading: Reading, behind: int) -> Iterator[Part]:
        """The chunks of these objects behind the first so many, read ahead of who asks."""
        self._send(READ, _encoder.encode((reading.keyset, reading.objects, behind)))
        while (told := self._receive())[0] != END:
            yield _decode_part(told[1])

    def summed(self, rows: Iterable[Row]) -> tuple[int, str]:
        """How many rows, and the sum of their hashes."""
        pack = _encoder.encode_into
        body, count = _list(), 0
        for row in rows:
            pack(row, body, -1)
            count += 1
            if len(body) >= _FULL:
                self._send_rows(body, count)
                body, count = _list(), 0
        if count:
            self._send_rows(body, count)
        self._send(END)
        return _decode_sum(self._receive()[1])

    def _send_rows(self, body: bytearray, count: int) -> None:
        body[1:5] = count.to_bytes(4, "big")
        self._send(ROWS, body)

    def _send(self, kind: int, body: bytes | bytearray = b"") -> None:
        try:
            self._channel.send(kind, body)
        except BrokenPipeError as error:
            raise self._gone() from error

    def _await(self) -> None:
        self._hear()
        self._ready = True

    def _receive(self) -> tuple[int, memoryview]:
        if not self._ready:
            self._await()
        return self._hear()

    def _hear(self) -> tuple[int, memoryview]:
        try:
            told = self._channel.receive()
        except BrokenPipeError as error:
            raise self._gone() from error
        if told is None:
            raise self._gone()
        if told[0] == ERROR:
            raise pickle.loads(told[1])  # noqa: S301  (of the process that was started here)
        return told

    def _gone(self) -> StoreUnavailable:
        code = self._process.wait()
        return StoreUnavailable(
            f"the process that reads the backup ended by itself, with code {code} (-9: it was killed,"
            " perhaps for want of memory); nothing was restored: try again"
        )


def _list() -> bytearray:
    return bytearray((_LIST, 0, 0, 0, 0))


@contextmanager
def beside(place: Place, hashing: RowHash) -> Iterator[Beside]:
    """Start that process, for the backups in a place and the way their rows are hashed; it is gone
    when the block ends.

    Raises:
        StoreUnavailable: the system gives no process.
    """
    memory = shared_memory()
    try:
        with _started(memory) as process:
            try:
                helper = Beside(process, memory)
                helper.begin(place, hashing)
                yield helper
            finally:
                process.kill()
    finally:
        os.close(memory)


def _started(memory: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  (our own command, without a shell)
            [sys.executable, "-P", "-m", "analect.lifecycle.backup.helping", str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=(memory,),
            # In a session of its own: what interrupts this process is told by this process.
            start_new_session=True,
        )
    except OSError as error:
        raise StoreUnavailable(f"cannot start a process: {error.strerror}") from error
