"""The form of a backup's objects.

An object holds the rows of one table in primary-key order: chunks of a 4-byte length and a zstd
frame of a msgpack list of rows, encrypted by Tink's streaming AEAD (AES-256-GCM-HKDF, segments of
1 MB, the last one marked). Each is bound to its backup, its place and its name, so an object that
was cut, changed, swapped or renamed does not open. The keyset is wrapped by a key derived from the
key ring's, so changing the key-encryption key leaves backups readable.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar

import msgspec
import tink
import zstandard
from tink import secret_key_access, streaming_aead

from analect.model.errors import Corrupt
from analect.model.ids import RandomBytes
from analect.privacy.kek import LocalKek

ROWS = 500
"""Rows of a chunk."""
LEVEL = 3
"""Payloads are sealed and do not shrink; the columns beside them do at any level."""
MOST = 1 << 30
"""Bytes of one chunk."""

_LENGTH = struct.Struct(">I")
_MODULUS = 1 << 128

T = TypeVar("T")
Row = list[Any]


@dataclass(slots=True)
class Tally:
    """Counts rows and sums their keyed hashes: the same for the same rows in any order."""

    key: bytes = field(repr=False)
    rows: int = 0
    total: int = 0

    def add(self, row: Sequence[Any]) -> None:
        """One more row."""
        digest = hashlib.blake2b(msgspec.msgpack.encode(row), digest_size=16, key=self.key)
        self.rows += 1
        self.total = (self.total + int.from_bytes(digest.digest(), "big")) % _MODULUS

    def hash(self) -> str:
        """The sum, in hex."""
        return f"{self.total:032x}"


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


def binding(backup: str, place: int, name: str) -> bytes:
    """What an object belongs to."""
    return f"{backup}\0{place}\0{name}".encode()


def write_chunk(stream: BinaryIO, rows: list[Row]) -> None:
    """Append rows."""
    packed = zstandard.compress(msgspec.msgpack.encode(rows), LEVEL)
    stream.write(_LENGTH.pack(len(packed)))
    stream.write(packed)


def read_chunks(stream: BinaryIO, name: str) -> Iterator[list[Row]]:
    """The rows again, some at a time.

    Raises:
        Corrupt: the object is cut, changed, or not the one that belongs here.
    """
    try:
        while head := _exactly(stream, _LENGTH.size):
            packed = _exactly(stream, _LENGTH.unpack(head)[0])
            plain = zstandard.decompress(packed, max_output_size=MOST)
            yield msgspec.msgpack.decode(plain, type=list[Row])
    except (tink.TinkError, zstandard.ZstdError, msgspec.MsgspecError, struct.error) as error:
        raise Corrupt(
            f"the backup's object {name} does not verify: it was cut, changed, or swapped with "
            "another"
        ) from error


def _exactly(stream: BinaryIO, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count and (part := stream.read(count - len(parts))):
        parts += part
    return bytes(parts)


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, b"backup\0" + purpose, "sha256").digest()
