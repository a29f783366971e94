"""How two processes hand rows to each other: through memory that both see, told of over pipes.

A pipe alone copies every byte twice in pieces of a page, which takes as long as to unpack a row.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import Any

BEGIN, READY, READ, ROWS, PART, END, SUM, ERROR, FREE = range(9)
"""What a message holds: the place and the key of hashes; that this was heard; objects to read; rows to be hashed, or
where they end; rows of a chunk, and the end of them; a count and a sum; what went wrong; a slot
that is free again.
"""

SLOT = 2 << 20
"""Bytes of a message that goes through the memory: a larger one goes over the pipe."""
SLOTS = 4
"""Messages on their way at once, each way."""
ROOM = 2 * SLOTS * SLOT

_HEAD = struct.Struct(">BBI")
_NONE = 0xFF


def shared_memory() -> int:
    """A file of :data:`ROOM` bytes that is in memory alone, where the system has such, and has no
    name anywhere.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("analect-restore")
    else:
        with tempfile.TemporaryFile() as whole:
            file = os.dup(whole.fileno())
    os.ftruncate(file, ROOM)
    return file


class Channel:
    """One end. What :meth:`receive` returns holds until it is called again."""

    def __init__(self, source: Any, sink: Any, memory: int, *, first: bool) -> None:
        """``source`` and ``sink`` are raw streams of the pipes, ``memory`` is the file of
        :func:`shared_memory`; the ``first`` end writes its first half.
        """
        self._source = source
        self._sink = sink
        whole = memoryview(mmap.mmap(memory, ROOM))
        half = SLOTS * SLOT
        self._out, self._in = whole[:half], whole[half:]
        if not first:
            self._out, self._in = self._in, self._out
        self._free = list(range(SLOTS))
        self._held = _NONE

    def send(self, kind: int, body: bytes | bytearray = b"") -> None:
        """Tell the other end; waits while all slots are full.

        Raises:
            BrokenPipeError: the other process is gone.
        """
        length = len(body)
        if not 0 < length <= SLOT:
            _write(self._sink, _HEAD.pack(kind, _NONE, length) + body)
            return
        while not self._free:
            self._release()
            if (head := self._head()) is None:
                raise BrokenPipeError
            self._free.append(head[1])
        slot = self._free.pop()
        start = slot * SLOT
        self._out[start : start + length] = body
        _write(self._sink, _HEAD.pack(kind, slot, length))

    def receive(self) -> tuple[int, memoryview] | None:
        """What the other end tells; None when it is gone.

        Raises:
            BrokenPipeError: as above.
        """
        self._release()
        while (head := self._head()) is not None:
            kind, slot, length = head
            if kind == FREE:
                self._free.append(slot)
            elif slot == _NONE:
                body = _read(self._source, length)
                return None if body is None else (kind, memoryview(body))
            else:
                self._held = slot
                return kind, self._in[slot * SLOT : slot * SLOT + length]
        return None

    def _release(self) -> None:
        """The last message is done with."""
        if self._held != _NONE:
            _write(self._sink, _HEAD.pack(FREE, self._held, 0))
            self._held = _NONE

    def _head(self) -> tuple[int, int, int] | None:
        head = _read(self._source, _HEAD.size)
        return None if head is None else _HEAD.unpack(head)


def _write(stream: Any, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]


def _read(stream: Any, length: int) -> bytearray | None:
    """So many bytes; None where the stream ends before."""
    data = bytearray(length)
    view = memoryview(data)
    there = 0
    while there < length:
        count = stream.readinto(view[there:])
        if not count:
            return None
        there += count
    return data
