"""What encrypts the backups of one store, hashes their rows and signs what they say of themselves.

The keyset of a backup is wrapped by a key derived from the key ring's, so changing the
key-encryption key leaves backups readable.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TypeVar

import msgspec
import tink
from tink import secret_key_access, streaming_aead

from analect.lifecycle.backup.format import RowHash, cipher_of
from analect.model.errors import Corrupt
from analect.model.ids import RandomBytes
from analect.privacy.kek import LocalKek

T = TypeVar("T")


class BackupKeys:
    """Those of one store."""

    def __init__(self, pseudonym_key: bytes, random_bytes: RandomBytes) -> None:
        self._wrapping = LocalKek(
            "the key ring's backup key", [_derived(pseudonym_key, b"keyset")], random_bytes
        )
        self._signing = _derived(pseudonym_key, b"manifest")
        self._hashing = _derived(pseudonym_key, b"rows")

    def row_hash(self, name: str) -> RowHash:
        """How rows are hashed by the function of this name."""
        return RowHash(name, self._hashing)

    def fresh(self, backup: str) -> tuple[streaming_aead.StreamingAead, bytes]:
        """A cipher for one backup, and its wrapped keyset."""
        streaming_aead.register()
        template = streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
        handle = tink.new_keyset_handle(template)
        plain = tink.proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
        return handle.primitive(streaming_aead.StreamingAead), self._wrapping.wrap(
            plain, backup.encode()
        )

    def keyset(self, backup: str, wrapped: bytes) -> bytes:
        """The plain keyset of a backup.

        Raises:
            KeyUnavailable: this store's keys do not open it.
        """
        return self._wrapping.unwrap(wrapped, backup.encode())

    def open(self, backup: str, wrapped: bytes) -> streaming_aead.StreamingAead:
        """The cipher of a backup.

        Raises:
            KeyUnavailable: this store's keys do not open it.
        """
        return cipher_of(self.keyset(backup, wrapped))

    def sign(self, name: str, value: object) -> bytes:
        """JSON and, on a line of its own, its MAC; bound to the object's name."""
        body = msgspec.json.encode(value)
        return body + b"\n" + self._mac(name, body).encode()

    def digest(self, signed: bytes) -> str:
        """What a later link says of the one it goes on from."""
        return hashlib.blake2b(signed, digest_size=16, key=self._hashing).hexdigest()

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


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, b"backup\0" + purpose, "sha256").digest()
