"""Where a thread or session is: a few bytes for each value that a file holds.

A value is known by its CRC-32; a collision costs a look at rows that are not of it, never a wrong
answer. Of threads and sessions the row groups are kept, of subjects, parents and data keys only
whether the file has them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa

GROUPED = ("thread_id", "session_id")
WHOLE = ("subject", "parent_id", "key_id")
SCOPES = (*GROUPED, *WHOLE)

_SIZES = struct.Struct(f"<{len(SCOPES)}I")


@dataclass(frozen=True, slots=True)
class Locator:
    """By scope the sorted hashes, and for :data:`GROUPED` the row group beside each."""

    hashes: Mapping[str, Any]
    groups: Mapping[str, Any]

    def has(self, scope: str, value: str | int) -> bool:
        """Whether the file may hold a row of this value."""
        hashes = self.hashes[scope]
        wanted = _hash(value)
        place = int(np.searchsorted(hashes, wanted))
        return place < len(hashes) and int(hashes[place]) == wanted

    def row_groups(self, scope: str, value: str) -> list[int]:
        """The row groups that may hold one, in order."""
        hashes = self.hashes[scope]
        wanted = np.uint32(_hash(value))
        low, high = (
            np.searchsorted(hashes, wanted, "left"),
            np.searchsorted(hashes, wanted, "right"),
        )
        return sorted(int(one) for one in self.groups[scope][low:high])

    def pack(self) -> bytes:
        """As :func:`unpack` takes it."""
        parts = [_SIZES.pack(*(len(self.hashes[scope]) for scope in SCOPES))]
        parts += [self.hashes[scope].astype("<u4").tobytes() for scope in SCOPES]
        parts += [self.groups[scope].astype("<u2").tobytes() for scope in GROUPED]
        return b"".join(parts)


def unpack(raw: bytes) -> Locator:
    """What :meth:`Locator.pack` made."""
    sizes = dict(zip(SCOPES, _SIZES.unpack_from(raw), strict=True))
    at = _SIZES.size
    hashes, groups = {}, {}
    for scope in SCOPES:
        hashes[scope] = np.frombuffer(raw, "<u4", sizes[scope], at)
        at += 4 * sizes[scope]
    for scope in GROUPED:
        groups[scope] = np.frombuffer(raw, "<u2", sizes[scope], at)
        at += 2 * sizes[scope]
    return Locator(hashes, groups)


def locate(tables: Sequence[Any]) -> Locator:
    """The locator of a file whose row groups are these tables."""
    hashes, groups = {}, {}
    for scope in GROUPED:
        every = [_hashes(table.column(scope)).astype(np.uint64) for table in tables]
        pairs = [(each << np.uint64(16)) | np.uint64(n) for n, each in enumerate(every)]
        ordered = np.unique(np.concatenate(pairs))
        hashes[scope] = (ordered >> np.uint64(16)).astype(np.uint32)
        groups[scope] = (ordered & np.uint64(0xFFFF)).astype(np.uint16)
    for scope in WHOLE:
        chunks = [chunk for table in tables for chunk in table.column(scope).chunks]
        hashes[scope] = _hashes(pa.chunked_array(chunks))
    return Locator(hashes, groups)


def _hashes(column: Any) -> Any:
    """Those of the values of a column, each once, in order."""
    values = column.unique().drop_null().to_pylist()
    return np.unique(np.fromiter(map(_hash, values), np.uint32, len(values)))


def _hash(value: str | int) -> int:
    return crc32(str(value).encode())
