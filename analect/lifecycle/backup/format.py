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
import hmac
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

import msgspec
import tink
import zstandard
from tink import secret_key_access, streaming_aead

from analect.model.errors import AnalectError, Corrupt
from analect.model.ids import RandomBytes
from analect.privacy.kek import LocalKek

ROWS = 1_000
BYTES = 1 << 20
"""Of one chunk, about."""
LEVEL = -10
"""Payloads are sealed and do not shrink; the columns beside them do at any level. This one takes
half the time of level 1 for 3 % more bytes.
"""
MOST = 1 << 30
"""Bytes of one chunk, unpacked."""
ADDED, REMOVED = 0, 1
"""What a chunk holds: rows (in place of those of the same key), or keys of rows that are gone."""

_HEAD = struct.Struct(">HBI")
_MODULUS = 1 << 128

T = TypeVar("T")
Row = tuple[Any, ...]

_pack = msgspec.msgpack.Encoder().encode
_unpack_list = msgspec.msgpack.Decoder(list[bytes]).decode
_unpack_row = msgspec.msgpack.Decoder(tuple[Any, ...]).decode


class Tally:
    """Counts rows and sums their keyed hashes: the same for the same rows in any order."""

    __slots__ = ("_key", "_total", "rows")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._total = 0
        self.rows = 0

    def add(self, packed: Iterable[bytes]) -> None:
        """More rows."""
        # One call a row: a keyed state that is copied costs nearly twice as much (measured).
        keyed, number, key = hashlib.blake2b, int.from_bytes, self._key
        total = count = 0
        for one in packed:
            total += number(keyed(one, digest_size=16, key=key).digest(), "big")
            count += 1
        self.add_summed(count, total)

    def add_summed(self, rows: int, total: int) -> None:
        """Rows whose hashes were summed already."""
        self._total += total
        self.rows += rows

    def take(self, packed: bytes) -> None:
        """One row less."""
        digest = hashlib.blake2b(packed, digest_size=16, key=self._key).digest()
        self._total -= int.from_bytes(digest, "big")
        self.rows -= 1

    def hash(self) -> str:
        """The sum, in hex."""
        return f"{self._total % _MODULUS:032x}"


def pack_row(row: Sequence[Any]) -> bytes:
    """One row, as it is hashed and stored."""
    return _pack(row)


def unpack_row(packed: bytes) -> Row:
    """The row again."""
    return _unpack_row(packed)


class BackupKeys:
    """What encrypts, hashes and signs the backups of one store."""

    def __init__(self, pseudonym_key: bytes, random_bytes: RandomBytes) -> None:
        self._wrapping = LocalKek(
            "the key ring's backup key", [_derived(pseudonym_key, b"keyset")], random_bytes
        )
        self._signing = _derived(pseudonym_key, b"manifest")
        self.hashing = _derived(pseudonym_key, b"rows")

    def fresh(self, backup: str) -> tuple[streaming_aead.StreamingAead, bytes]:
        """A cipher for one backup, and its wrapped keyset."""
        streaming_aead.register()
        template = streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
        handle = tink.new_keyset_handle(template)
        plain = tink.proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
        return handle.primitive(streaming_aead.StreamingAead), self._wrapping.wrap(
            plain, backup.encode()
        )

    def open(self, backup: str, wrapped: bytes) -> streaming_aead.StreamingAead:
        """The cipher of a backup.

        Raises:
            KeyUnavailable: this store's keys do not open it.
        """
        streaming_aead.register()
        plain = self._wrapping.unwrap(wrapped, backup.encode())
        handle = tink.proto_keyset_format.parse(plain, secret_key_access.TOKEN)
        return handle.primitive(streaming_aead.StreamingAead)

    def sign(self, name: str, value: object) -> bytes:
        """JSON and, on a line of its own, its MAC; bound to the object's name."""
        body = msgspec.json.encode(value)
        return body + b"\n" + self._mac(name, body).encode()

    def digest(self, signed: bytes) -> str:
        """What a later link says of the one it goes on from."""
        return hashlib.blake2b(signed, digest_size=16, key=self.hashing).hexdigest()

    def verified(self, name: str, signed: bytes, type_: type[T]) -> T:
        """What :meth:`sign` signed under this name.

        Raises:
            Corrupt: it does not verify.
        """
        body, _, mac = signed.rpartition(b"\n")
        if not hmac.compare_digest(mac, self._mac(name, body).encode()):
            raise Corrupt(f"{name} was changed, or belongs to another store or backup")
        try:
            return msgspec.json.decode(body, type=type_)
        except msgspec.DecodeError as error:
            raise Corrupt(f"{name} is of a form this release does not know") from error

    def _mac(self, name: str, body: bytes) -> str:
        return hmac.new(self._signing, name.encode() + b"\0" + body, "sha256").hexdigest()


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

    def add(self, table: int, done: int, packed: Sequence[bytes]) -> None:
        """More rows of a table."""
        if not packed:
            return
        if self._of != (table, done):
            self.flush()
            self._of = (table, done)
        self._held += packed
        self._size += sum(map(len, packed))
        if self._size >= BYTES or len(self._held) >= ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            frame = self._zstd.compress(_pack(self._held))
            self._stream.write(_HEAD.pack(*self._of, len(frame)) + frame)
            self._held, self._size = [], 0


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


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, b"backup\0" + purpose, "sha256").digest()
