"""Sealing: what a payload looks like at rest.

A sealed blob is::

    form (1) | dictionary (1) | key id (8, big-endian, signed) | nonce (12) | ciphertext and tag

The plain text is packed with the dictionary, then encrypted with AES-256-GCM; the first ten bytes
and what the blob belongs to are associated data, so a blob opens only in its own place.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidTag

from analect.model.errors import Corrupt, InvalidInput, KeyDestroyed
from analect.model.ids import RandomBytes, RecordId, id_bytes
from analect.model.record import Json
from analect.privacy.dictionary import PRESENT, Packer
from analect.privacy.keys import DataKey

Payload = tuple[Json, Json, Json, Json]
"""Input, output, variables, attributes."""

RECORD, BYTES = 1, 2
"""Forms: a record's payload, and anything else (what it belongs to is in the associated data)."""
MOST = 256 * 1024 * 1024
"""Bytes of one plain payload."""

_HEADER = struct.Struct(">BBq")
_NONCE = 12
_TAG = 16
_LEAST = _HEADER.size + _NONCE + _TAG


class Sealer:
    """Seals and opens. Thread-safe."""

    def __init__(self, random_bytes: RandomBytes, *, most: int = MOST) -> None:
        """``most``: bytes of one plain payload."""
        self._random_bytes = random_bytes
        self._packer = Packer(most)
        self._most = most
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder().decode

    def seal(self, key: DataKey, record_id: RecordId, payload: Payload) -> bytes:
        """Seal a record's payload.

        Raises:
            InvalidInput: it is not JSON, or too big.
        """
        try:
            plain = self._encode(payload)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidInput(
                "input, output, variables and attributes must be JSON: text without lone "
                "surrogates, numbers of at most 64 bits, lists, objects with text keys",
                field="input",
            ) from error
        return self._seal(RECORD, key, id_bytes(record_id), plain)

    def open(self, blob: bytes, record_id: RecordId, keys: Mapping[int, DataKey]) -> Payload:
        """Open a record's payload with the one of ``keys`` that sealed it.

        Raises:
            KeyDestroyed: its key is not among them.
            Corrupt: it does not verify as this record's.
        """
        key_id = key_id_of(blob)
        key = keys.get(key_id)
        if key is None:
            raise KeyDestroyed("the key of this payload was erased; its content is gone for good")
        try:
            plain = self._open(RECORD, key, id_bytes(record_id), blob)
            given, answer, variables, attributes = self._decode(plain)
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            raise Corrupt(f"the payload of record {record_id} does not decode") from error
        except Corrupt as error:
            raise Corrupt(f"the payload of record {record_id}: {error}") from error
        return given, answer, variables, attributes

    def reseal(self, blob: bytes, record_id: RecordId, old: DataKey, new: DataKey) -> bytes:
        """The same payload under another key.

        Raises:
            Corrupt: it does not verify as this record's.
        """
        return self._seal(
            RECORD, new, id_bytes(record_id), self._open(RECORD, old, id_bytes(record_id), blob)
        )

    def seal_bytes(self, key: DataKey, associated: bytes, plain: bytes) -> bytes:
        """Seal bytes that belong to ``associated`` (see the ``*_binding`` functions).

        Raises:
            InvalidInput: it is too big.
        """
        return self._seal(BYTES, key, associated, plain)

    def open_bytes(self, key: DataKey, associated: bytes, blob: bytes) -> bytes:
        """Open what :meth:`seal_bytes` sealed.

        Raises:
            KeyDestroyed: another key sealed it.
            Corrupt: it does not verify in this place.
        """
        if key_id_of(blob) != key.key_id:
            raise KeyDestroyed("another key than the one given sealed this")
        return self._open(BYTES, key, associated, blob)

    def _seal(self, form: int, key: DataKey, associated: bytes, plain: bytes) -> bytes:
        if len(plain) > self._most:
            raise InvalidInput(f"a payload may have at most {self._most} bytes", field="input")
        header = _HEADER.pack(form, PRESENT, key.key_id)
        nonce = self._random_bytes(_NONCE)
        sealed = key.cipher.encrypt(nonce, self._packer.pack(plain), header + associated)
        return header + nonce + sealed

    def _open(self, form: int, key: DataKey, associated: bytes, blob: bytes) -> bytes:
        if len(blob) < _LEAST or blob[0] != form:
            raise Corrupt("what is sealed is cut short or of another form")
        header, nonce = blob[: _HEADER.size], blob[_HEADER.size : _HEADER.size + _NONCE]
        try:
            packed = key.cipher.decrypt(nonce, blob[_HEADER.size + _NONCE :], header + associated)
        except InvalidTag as error:
            raise Corrupt("what is sealed does not verify in this place") from error
        return self._packer.unpack(packed, header[1])


def key_id_of(blob: bytes) -> int:
    """The data key that sealed a blob.

    Raises:
        Corrupt: it is no sealed blob.
    """
    if len(blob) < _LEAST:
        raise Corrupt("what is sealed is cut short")
    return int(_HEADER.unpack_from(blob)[2])


def document_binding(kind: str, document_id: str) -> bytes:
    """What a document's body belongs to."""
    return b"document\0" + kind.encode() + b"\0" + document_id.encode()


def annotation_binding(record_id: RecordId, processor: str, name: str) -> bytes:
    """What an annotation's text belongs to."""
    return b"\0".join((b"annotation", record_id.encode(), processor.encode(), name.encode()))


def vault_binding(token: str) -> bytes:
    """What a vault's value belongs to."""
    return b"vault\0" + token.encode()
