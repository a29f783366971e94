"""Care of the key-encryption key: change it, and keep a copy of it for the day it is lost.

Running programs follow a key file that changes. But one of them may be about to write an object of
the ring with the key it read a moment ago, so a rotation has two steps, and between them both keys
are in the file.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from analect.model.errors import ConfigurationError, InvalidInput, KeyUnavailable
from analect.model.ids import RandomBytes
from analect.privacy.kek import (
    KEY_BYTES,
    FileKek,
    LocalKek,
    kek_from_passphrase,
    kek_path,
    open_kek,
    read_key_file,
    write_key_file,
)
from analect.privacy.keyring import FolderKeyRing
from analect.privacy.shards import HEADER, RingHeader, pseudonym_key, rotate_kek
from analect.settings import Settings

_FORMAT = "analect recovery key 1"


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """What ``keys export-recovery`` writes: whoever has it and the ring can read everything."""

    format: str
    store: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """``rewrapped``: objects of the ring that were wrapped anew. ``old_keys``: how many keys of
    before are still accepted.
    """

    rewrapped: int
    old_keys: int


class Custody:
    """Works on the ring and the key-encryption key that the settings name."""

    def __init__(
        self,
        settings: Settings,
        random_bytes: RandomBytes,
        spread: Callable[[], None] = lambda: None,
    ) -> None:
        """``spread`` brings the copies of the ring up to date, or raises: a copy that only the key
        of before opens is lost with that key.
        """
        self._spread = spread
        self._settings = settings
        self._random_bytes = random_bytes
        self._ring = FolderKeyRing(settings.ring)

    def rotate(self) -> Rotation:
        """Begin to use a fresh key (of a file), or the first of the keys (of the environment).

        Raises:
            ConfigurationError: the key is a passphrase; use :meth:`change_passphrase`.
            KeyUnavailable: the present key does not open the ring.
            StoreUnavailable: a copy of the ring cannot be reached.
        """
        if self._settings.keys.kek == "passphrase":
            raise ConfigurationError(
                "the key-encryption key is a passphrase: give the new one on standard input",
                field="keys.passphrase",
            )
        kek = self._open()
        if self._settings.keys.kek == "env":
            return self._everywhere(rotate_kek(self._ring, kek, kek, kek.wraps))
        path = kek_path(self._settings)
        keys = [self._random_bytes(KEY_BYTES), *read_key_file(path)]
        write_key_file(path, keys)
        both = LocalKek(str(path), keys, self._random_bytes)
        return Rotation(rotate_kek(self._ring, both, both, both.wraps), len(keys) - 1)

    def finish(self) -> Rotation:
        """Wrap anew what a process may still have written with an old key; forget the old keys.

        Raises:
            ConfigurationError: the key is not in a file.
            StoreUnavailable: a copy of the ring cannot be reached, so the old keys stay.
        """
        self._need_file()
        kek = self._open()
        done = self._everywhere(rotate_kek(self._ring, kek, kek, kek.wraps))
        path = kek_path(self._settings)
        write_key_file(path, read_key_file(path)[:1])
        return done

    def change_passphrase(self, fresh: str) -> Rotation:
        """Wrap the ring with another passphrase; the setting is the caller's to change.

        Raises:
            InvalidInput: it is empty.
            StoreUnavailable: a copy of the ring cannot be reached: that one needs the passphrase of
                before.
        """
        if not fresh:
            raise InvalidInput("the new passphrase is empty", field="passphrase")
        new = kek_from_passphrase(fresh, self._store().encode(), self._random_bytes)
        return self._everywhere(rotate_kek(self._ring, self._open(), new, new.wraps))

    def export_recovery(self) -> bytes:
        """The key to put away in a safe place: one line of JSON.

        Raises:
            ConfigurationError: the key is not in a file; then it is yours to keep already.
        """
        self._need_file()
        self._open()
        keys = read_key_file(kek_path(self._settings))
        texts = tuple(base64.b64encode(key).decode() for key in keys)
        return msgspec.json.encode(RecoveryKey(_FORMAT, self._store(), texts)) + b"\n"

    def import_recovery(self, exported: bytes) -> int:
        """Put the exported key back in its file; how many keys the file holds now.

        Raises:
            InvalidInput: it is no recovery key, or one of another store.
            KeyUnavailable: it does not open the ring (the key was changed after the export).
        """
        self._need_file()
        recovered = _parse(exported)
        if recovered.store != self._store():
            raise InvalidInput(
                f"this is the recovery key of store {recovered.store}, and the ring "
                f"{self._ring.place} is of store {self._store()}",
                field="recovery",
            )
        try:
            keys = [base64.b64decode(text, validate=True) for text in recovered.keys]
        except binascii.Error as error:
            raise InvalidInput("the recovery key is damaged", field="recovery") from error
        path = kek_path(self._settings)
        kek = LocalKek("the recovery key", keys, self._random_bytes)
        pseudonym_key(self._ring, kek, recovered.store, self._random_bytes, create=False)
        write_key_file(path, keys)
        return len(keys)

    def _everywhere(self, rewrapped: int) -> Rotation:
        self._spread()
        return Rotation(rewrapped, 0)

    def _open(self) -> LocalKek | FileKek:
        """The present key, known to open the ring."""
        store = self._store()
        kek = open_kek(self._settings, store, self._random_bytes, fresh=False)
        pseudonym_key(self._ring, kek, store, self._random_bytes, create=False)
        return kek

    def _store(self) -> str:
        data = self._ring.read(HEADER)
        if data is None:
            raise KeyUnavailable(
                f"there is no key ring at {self._ring.place}: name it with keys.ring "
                "(ANALECT_KEYS__RING)"
            )
        return msgspec.json.decode(data, type=RingHeader).store

    def _need_file(self) -> None:
        if self._settings.keys.kek != "file":
            raise ConfigurationError(
                f"the key-encryption key comes from the {self._settings.keys.kek} setting, not "
                "from a file of Analect's: keep a copy of it where you keep the original",
                field="keys.kek",
            )


def _parse(exported: bytes) -> RecoveryKey:
    try:
        found = msgspec.json.decode(exported, type=RecoveryKey)
    except msgspec.DecodeError as error:
        raise InvalidInput("this is not a recovery key", field="recovery") from error
    if found.format != _FORMAT or not found.keys:
        raise InvalidInput("this is not a recovery key of this release", field="recovery")
    return found
