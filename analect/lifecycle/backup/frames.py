"""How two processes talk: frames of a kind and a length, over pipes without buffers of Python's."""

from __future__ import annotations

import struct
from typing import Any

BEGIN, READ, ROWS, PART, END, SUM, ERROR = range(7)
"""What a frame holds: the place and the key of hashes; objects to read; rows to be hashed, or where
they end; rows of a chunk, and the end of them; a count and a sum; what went wrong.
"""

_HEAD = struct.Struct(">BI")


def send(stream: Any, kind: int, body: bytes = b"") -> None:
    """Write a frame.

    Raises:
        BrokenPipeError: the other process is gone.
    """
    _write(stream, _HEAD.pack(kind, len(body)))
    if body:
        _write(stream, body)


def receive(stream: Any) -> tuple[int, bytearray] | None:
    """The next frame; None where there is no more, or not the whole of one."""
    head = _read(stream, _HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack(head)
    body = _read(stream, length)
    return None if len(body) < length else (kind, body)


def _write(stream: Any, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[stream.write(left) :]


def _read(stream: Any, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    there = 0
    while there < length and (count := stream.readinto(view[there:])):
        there += count
    return data if there == length else data[:there]
