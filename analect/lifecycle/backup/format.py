"""The form of a backup's objects.

An object is a stream of chunks, encrypted by Tink's streaming AEAD (AES-256-GCM-HKDF, segments of
1 MB, the last one marked). It is bound to its link (a backup, or a segment of the log behind one)
and its name, so an object that was cut, changed, swapped, moved or renamed does not open. A chunk
is a head (table, what is done, length) and a zstd frame of a msgpack list of rows, each packed by
itself. The keyset is wrapped by a key derived from the key ring's, so changing the key-encryption
key leaves backups readable.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import msgspec
import tink
import zstandard
from tink import secret_key_access, streaming_aead

from analect.lifecycle.places.place import Place
from analect.model.errors import AnalectError, Corrupt, NotFound

ROWS = 500
BYTES = 1 << 19
"""Of one chunk, about: it stays in a processor's cache while it is packed, compressed and sealed."""
LEVEL = -10
"""Payloads are sealed and do not shrink; the columns beside them do at any level. This one takes
half the time of level 1 for 3 % more bytes.
"""
MOST = 1 << 30
"""Bytes of one chunk, unpacked."""
BLAKE2B, SHA256 = "blake2b", "sha256"
"""What rows are hashed by. Until format 3 it was the former; the latter is in the instruction sets
of processors, and takes half as long there."""
ADDED, REMOVED = 0, 1
"""What a chunk holds: rows (in place of those of the same key), or keys of rows that are gone."""

_HEAD = struct.Struct(">HBI")
_MODULUS = 1 << 128
_BLOCK = 64
"""Bytes that SHA-256 takes at once: the key fills the first ones."""

Row = tuple[Any, ...]
Packed = bytes | msgspec.Raw
Summing = Callable[[Iterable[Packed]], tuple[int, int]]
"""Counts rows, and sums their hashes."""

_pack = msgspec.msgpack.Encoder().encode
_unpack_list = msgspec.msgpack.Decoder(list[bytes]).decode
_unpack_row = msgspec.msgpack.Decoder(tuple[Any, ...]).decode


class RowHash(NamedTuple):
    """How the rows of a chain of links are hashed: by which function, with which key."""

    name: str
    key: bytes


class Tally:
    """Counts rows and sums their keyed hashes: the same for the same rows in any order."""

    __slots__ = ("_sum", "_total", "rows")

    def __init__(self, how: RowHash) -> None:
        self._sum = _SUMS[how.name](how.key)
        self._total = 0
        self.rows = 0

    def add(self, packed: Iterable[Packed]) -> None:
        """More rows."""
        self.add_summed(*self._sum(packed))

    def add_summed(self, rows: int, total: int) -> None:
        """Rows whose hashes were summed already."""
        self._total += total
        self.rows += rows

    def take(self, packed: bytes) -> None:
        """One row less."""
        count, total = self._sum((packed,))
        self.add_summed(-count, -total)

    def hash(self) -> str:
        """The sum, in hex."""
        return f"{self._total % _MODULUS:032x}"

    @property
    def sum(self) -> tuple[int, str]:
        """How many rows, and :meth:`hash`."""
        return self.rows, self.hash()


def _by_blake2b(key: bytes) -> Summing:
    return partial(_summed_blake2b, key)


def _summed_blake2b(key: bytes, packed: Iterable[Packed]) -> tuple[int, int]:
    # One call a row: a keyed state that is copied costs nearly twice as much (measured).
    keyed, number = hashlib.blake2b, int.from_bytes
    total = count = 0
    for one in packed:
        total += number(keyed(one, digest_size=16, key=key).digest(), "big")
        count += 1
    return count, total


def _by_sha256(key: bytes) -> Summing:
    return partial(_summed_sha256, hashlib.sha256(key.ljust(_BLOCK, b"\0")))


def _summed_sha256(keyed: Any, packed: Iterable[Packed]) -> tuple[int, int]:
    # HMAC would hash twice; half of a digest is no state from which somebody could go on.
    begin, number = keyed.copy, int.from_bytes
    total = count = 0
    for one in packed:
        state = begin()
        state.update(one)
        total += number(state.digest(), "big")
        count += 1
    return count, total


_SUMS: dict[str, Callable[[bytes], Summing]] = {BLAKE2B: _by_blake2b, SHA256: _by_sha256}


def pack_row(row: Sequence[Any]) -> bytes:
    """One row, as it is hashed and stored."""
    return _pack(row)


def unpack_row(packed: bytes) -> Row:
    """The row again."""
    return _unpack_row(packed)


class Part(NamedTuple):
    """Rows of one chunk: of which ``table`` (by number), what is ``done`` with them, which of its
    columns ``held`` anything, and of every row these. Columns that are empty in all of them are not
    carried along: a record has twenty, and each costs a database as much as one that is full.
    """

    table: int
    done: int
    held: tuple[int, ...]
    rows: list[Row]


def compacted(rows: list[Row]) -> tuple[tuple[int, ...], list[Row]]:
    """Which columns hold anything, and the rows with these alone."""
    empty = (None,) * len(rows)
    columns = [
        (place, values) for place, values in enumerate(zip(*rows, strict=True)) if values != empty
    ]
    held = tuple(place for place, _ in columns)
    if not rows or len(held) == len(rows[0]):
        return held, rows
    return held, list(zip(*(values for _, values in columns), strict=True))


def widened(held: Sequence[int], rows: list[Row], width: int) -> list[Row]:
    """The rows that :func:`compacted` made so, of ``width`` columns again."""
    if len(held) == width:
        return rows
    columns: list[Sequence[Any]] = [(None,) * len(rows)] * width
    for place, values in zip(held, zip(*rows, strict=True), strict=False):
        columns[place] = values
    return list(zip(*columns, strict=True))


def binding(link: str, name: str) -> bytes:
    """What an object belongs to."""
    return f"{link}\0{name}".encode()


class ChunkWriter:
    """Packs rows into chunks of one object."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._zstd = zstandard.ZstdCompressor(level=LEVEL)
        self._held: list[bytes] = []
        self._size = 0
        self._of = (0, ADDED)

    def add(self, table: int, done: int, packed: Sequence[bytes]) -> int:
        """More rows of a table; their bytes."""
        if self._of != (table, done):
            self.flush()
            self._of = (table, done)
        size = sum(map(len, packed))
        self._held += packed
        self._size += size
        if self._size >= BYTES or len(self._held) >= ROWS:
            self.flush()
        return size

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            frame = self._zstd.compress(_pack(self._held))
            self._stream.write(_HEAD.pack(*self._of, len(frame)))
            self._stream.write(frame)
            self._held, self._size = [], 0


def open_object(place: Place, path: str) -> BinaryIO:
    """Read an object of a backup.

    Raises:
        Corrupt: it is not there.
    """
    try:
        return place.open(path)
    except NotFound as error:
        raise Corrupt(f"the backup lacks its object {path}") from error


def cipher_of(keyset: bytes) -> streaming_aead.StreamingAead:
    """What a plain keyset encrypts and decrypts with."""
    streaming_aead.register()
    handle = tink.proto_keyset_format.parse(keyset, secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def unsealed(
    place: Place, path: str, cipher: streaming_aead.StreamingAead, bound: bytes
) -> Iterator[tuple[int, int, list[bytes]]]:
    """(table, what is done, packed rows) of every chunk of the object at ``path``.

    Raises:
        Corrupt: it is missing, cut, changed, or not the one that belongs here.
        StoreUnavailable: the place does not give it.
    """
    with open_object(place, path) as beneath:
        source = Remembering(beneath)
        try:
            with cipher.new_decrypting_stream(source, bound) as stream:
                yield from read_chunks(stream, path)
        except (tink.TinkError, Corrupt) as error:
            if source.error is not None:
                raise source.error from error
            if isinstance(error, Corrupt):
                raise
            raise Corrupt(f"the backup's object {path} is no object of a backup") from error


def read_chunks(source: BinaryIO, named: str) -> Iterator[tuple[int, int, list[bytes]]]:
    """(table, what is done, packed rows) of every chunk.

    Raises:
        Corrupt: the object is cut, changed, or not the one that belongs here.
    """
    try:
        while head := exactly(source, _HEAD.size):
            table, done, length = _HEAD.unpack(head)
            plain = zstandard.decompress(exactly(source, length), max_output_size=MOST)
            yield table, done, _unpack_list(plain)
    except (tink.TinkError, zstandard.ZstdError, msgspec.MsgspecError, struct.error) as error:
        raise Corrupt(
            f"the backup's object {named} does not verify: it was cut, changed, or swapped with "
            "another"
        ) from error


class Remembering:
    """A stream for a library that swallows what goes wrong beneath it: the error is kept."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0
        self.closed = False
        self.error: Exception | None = None

    def readable(self) -> bool:
        """It is asked."""
        return True

    def writable(self) -> bool:
        """It is asked."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read, and keep what goes wrong."""
        try:
            return self._stream.read(size)
        except (AnalectError, OSError) as error:
            self.error = error
            raise

    def write(self, data: bytes) -> int:
        """Write, and keep what goes wrong."""
        try:
            self._stream.write(data)
        except (AnalectError, OSError) as error:
            self.error = error
            raise
        self.count += len(data)
        return len(data)

    def close(self) -> None:
        """The stream beneath stays open: it is synced, or closed, by who opened it."""
        self.closed = True


@contextmanager
def telling(stream: Remembering) -> Iterator[None]:
    """Raise what went wrong beneath a library that swallowed it."""
    try:
        yield
    except (AnalectError, OSError):
        raise
    except Exception as error:
        if stream.error is not None:
            raise stream.error from error
        raise


def exactly(stream: BinaryIO, count: int) -> bytes:
    """So many bytes, fewer only where the stream ends."""
    parts = bytearray()
    while len(parts) < count and (part := stream.read(count - len(parts))):
        parts += part
    return bytes(parts)
