"""Zstandard in seekable frames: ``zstdcat`` reads all of it, and one frame can be read alone.

The last frame is a skippable one with the size of every other: the seekable format of Zstandard's
own repository (``contrib/seekable_format``), without checksums of its own, for each frame has one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import zstandard

from analect.lifecycle.places.place import Place
from analect.model.errors import Corrupt

LEVEL = 12

_SKIPPABLE = 0x184D2A5E
_MAGIC = 0x8F92EAB1
_HEAD = struct.Struct("<II")
_ENTRY = struct.Struct("<II")
_FOOT = struct.Struct("<IBI")


class FrameWriter:
    """Writes frames to a stream; :meth:`finish` writes the table of them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._sizes: list[tuple[int, int]] = []

    def frame(self, data: bytes) -> None:
        """One frame."""
        packed = self._compressor.compress(data)
        self._stream.write(packed)
        self._sizes.append((len(packed), len(data)))

    def finish(self) -> None:
        """The table."""
        table = b"".join(_ENTRY.pack(*sizes) for sizes in self._sizes)
        size = len(table) + _FOOT.size
        foot = _FOOT.pack(len(self._sizes), 0, _MAGIC)
        self._stream.write(_HEAD.pack(_SKIPPABLE, size) + table + foot)


def frame_sizes(place: Place, name: str) -> Sequence[tuple[int, int]]:
    """Bytes of every frame, packed and unpacked.

    Raises:
        NotFound: there is no such object.
        Corrupt: it does not end in a table.
    """
    size = place.size(name) or 0
    foot = place.read(name, max(size - _FOOT.size, 0), _FOOT.size)
    if len(foot) < _FOOT.size or _FOOT.unpack(foot)[2] != _MAGIC:
        raise Corrupt(f"{name} is not a whole file of seekable frames")
    count = _FOOT.unpack(foot)[0]
    raw = place.read(name, size - _FOOT.size - count * _ENTRY.size, count * _ENTRY.size)
    sizes = list(_ENTRY.iter_unpack(raw))
    if sum(packed for packed, _ in sizes) + len(raw) + _FOOT.size + _HEAD.size != size:
        raise Corrupt(f"{name} is cut short or longer than its table says")
    return sizes


def read_frames(place: Place, name: str) -> Iterator[bytes]:
    """Every frame, unpacked.

    Raises:
        NotFound: there is no such object.
        Corrupt: a frame does not verify.
    """
    sizes = frame_sizes(place, name)
    decompressor = zstandard.ZstdDecompressor()
    with place.open(name) as stream:
        for packed, size in sizes:
            try:
                data = decompressor.decompress(stream.read(packed), max_output_size=size)
            except zstandard.ZstdError as error:
                raise Corrupt(f"a frame of {name} does not verify") from error
            if len(data) != size:
                raise Corrupt(f"a frame of {name} is not as long as its table says")
            yield data
