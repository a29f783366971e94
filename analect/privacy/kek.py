"""Key-encryption keys: what opens the key ring, and where it comes from.

A :class:`KeyStore` wraps and unwraps short secrets with associated data and never shows its key.
:class:`FileKek` keeps it in a file, :class:`LocalKek` in memory (:func:`kek_from_passphrase` and
:func:`kek_from_text` make one). An external key service implements the same two methods.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from analect.model.errors import ConfigurationError, KeyUnavailable
from analect.model.ids import RandomBytes
from analect.settings import Settings

KEY_BYTES = 32
NONCE_BYTES = 12
NAME_BYTES = 8
_VERSION = b"\x01"
_HEADER = len(_VERSION) + NAME_BYTES

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 1
"""OWASP's password storage recommendation for scrypt: 128 MiB for a moment at start."""


class KeyStore(Protocol):
    """Wraps the ring's secrets. Thread-safe."""

    @property
    def name(self) -> str:
        """Where the key is, for people: never the key."""
        ...

    def wrap(self, plain: bytes, associated: bytes) -> bytes:
        """Encrypt; the result opens only with the same ``associated`` bytes."""
        ...

    def unwrap(self, wrapped: bytes, associated: bytes) -> bytes:
        """Decrypt.

        Raises:
            KeyUnavailable: this key does not open it; the message names the key.
        """
        ...


class LocalKek:
    """AES-256-GCM with keys in memory: the first one wraps, any of them unwraps.

    A wrapped secret is: version byte, name of the key (8 bytes of its SHA-256), nonce (12),
    ciphertext and tag.
    """

    def __init__(self, name: str, keys: Sequence[bytes], random_bytes: RandomBytes) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KeyUnavailable(f"{name} must hold keys of {KEY_BYTES} bytes")
        self._name = name
        self._random_bytes = random_bytes
        self._ciphers = {_short_name(key): AESGCM(key) for key in keys}
        self._current = _short_name(keys[0])

    def __repr__(self) -> str:
        return f"LocalKek({self._name!r})"

    @property
    def name(self) -> str:
        """Where the key came from."""
        return self._name

    @property
    def names(self) -> list[str]:
        """What each key is called, the present one first: 16 hex digits, of which nothing of the
        key can be told.
        """
        return [name.hex() for name in self._ciphers]

    def wrap(self, plain: bytes, associated: bytes) -> bytes:
        """Encrypt with the present key."""
        header = _VERSION + self._current
        nonce = self._random_bytes(NONCE_BYTES)
        cipher = self._ciphers[self._current]
        return header + nonce + cipher.encrypt(nonce, plain, header + associated)

    def unwrap(self, wrapped: bytes, associated: bytes) -> bytes:
        """Decrypt with whichever of the keys wrapped it.

        Raises:
            KeyUnavailable: none of them did.
        """
        header, rest = wrapped[:_HEADER], wrapped[_HEADER:]
        cipher = self._ciphers.get(header[1:]) if header[:1] == _VERSION else None
        if cipher is not None and len(rest) > NONCE_BYTES:
            try:
                return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], header + associated)
            except InvalidTag as error:
                raise self._refused(header) from error
        raise self._refused(header)

    def wraps(self, wrapped: bytes) -> bool:
        """Whether ``wrapped`` names the present key."""
        return wrapped[1:_HEADER] == self._current

    def _refused(self, header: bytes) -> KeyUnavailable:
        wanted = header[1:].hex() if header[:1] == _VERSION else "unknown"
        return KeyUnavailable(
            f"the key-encryption key ({self._name}: {', '.join(self.names)}) does not open this "
            f"key ring, which needs key {wanted}: give that one, or import its recovery key"
        )


def kek_from_text(name: str, text: str, random_bytes: RandomBytes) -> LocalKek:
    """One key, or several on lines of their own (the first wraps), each 32 bytes in base64.

    Raises:
        KeyUnavailable: it is not that.
    """
    try:
        keys = [base64.b64decode(line, validate=True) for line in text.split()]
    except (binascii.Error, ValueError) as error:
        raise KeyUnavailable(f"{name} is not base64: it must hold 32 bytes in base64") from error
    return LocalKek(name, keys, random_bytes)


def kek_from_passphrase(passphrase: str, salt: bytes, random_bytes: RandomBytes) -> LocalKek:
    """A key stretched from a passphrase (RFC 7914); takes about half a second."""
    stretched = Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P)
    return LocalKek("passphrase", [stretched.derive(passphrase.encode())], random_bytes)


class FileKek:
    """The key in a file that only its owner may read: one key, or several while it is rotated.

    The file is read again before wrapping, and when something does not open, so that a running
    program follows a rotation.
    """

    def __init__(self, path: Path, random_bytes: RandomBytes, *, create: bool) -> None:
        """``create``: make the file when it is not there; only ever right for a new store.

        Raises:
            KeyUnavailable: it is not there, cannot be made, is not readable, or open to others.
        """
        if create:
            try:
                _create_key_file(path, random_bytes)
            except OSError as error:
                raise KeyUnavailable(
                    f"the key file {path} cannot be made: {error.strerror}; name a place for key "
                    "ring and key that can be written with keys.ring (ANALECT_KEYS__RING)"
                ) from error
        self._path = path
        self._random_bytes = random_bytes
        self._present = self._load()

    @property
    def name(self) -> str:
        """The file."""
        return str(self._path)

    def wrap(self, plain: bytes, associated: bytes) -> bytes:
        """Encrypt with the file's first key."""
        self._present = self._load()
        return self._present.wrap(plain, associated)

    def unwrap(self, wrapped: bytes, associated: bytes) -> bytes:
        """Decrypt with whichever of the file's keys wrapped it.

        Raises:
            KeyUnavailable: none of them did.
        """
        try:
            return self._present.unwrap(wrapped, associated)
        except KeyUnavailable:
            self._present = self._load()
            return self._present.unwrap(wrapped, associated)

    def wraps(self, wrapped: bytes) -> bool:
        """Whether ``wrapped`` names the first key."""
        return self._present.wraps(wrapped)

    def _load(self) -> LocalKek:
        path = self._path
        try:
            mode = path.stat().st_mode
            text = path.read_text("ascii")
        except FileNotFoundError as error:
            raise KeyUnavailable(
                f"the key-encryption key {path} is not there, and the key ring needs it: put it "
                "back, or import the recovery key"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise KeyUnavailable(f"the key-encryption key {path} cannot be read") from error
        if mode & 0o077:
            raise KeyUnavailable(f"others may read {path}: run `chmod 600 {path}`")
        return kek_from_text(str(path), text, self._random_bytes)


def write_key_file(path: Path, keys: Sequence[bytes]) -> None:
    """Put keys into the file, atomically and durably, and overwrite the bytes that were there; the
    first key wraps from now on.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    _write_durably(fresh, keys)
    with path.open("r+b") if path.exists() else nullcontext() as old:
        fresh.replace(path)
        _sync_folder(path.parent)
        if old is not None:
            old.write(bytes(os.fstat(old.fileno()).st_size))
            old.flush()
            os.fsync(old.fileno())


def name_of(wrapped: bytes) -> str:
    """The name of the key that wrapped a secret, as :attr:`LocalKek.names` has it."""
    return wrapped[len(_VERSION) : _HEADER].hex()


def read_key_file(path: Path) -> list[bytes]:
    """The keys in the file, the present one first.

    Raises:
        KeyUnavailable: it is not there or holds no keys.
    """
    try:
        return [base64.b64decode(line, validate=True) for line in path.read_text("ascii").split()]
    except (OSError, ValueError) as error:
        raise KeyUnavailable(f"the key-encryption key {path} cannot be read") from error


def open_kek(
    settings: Settings, store_id: str, random_bytes: RandomBytes, *, fresh: bool
) -> LocalKek | FileKek:
    """The key-encryption key that the settings name.

    Args:
        settings: ``keys.kek`` says where it is: a file beside the ring, a passphrase, or the
            environment.
        store_id: salts the passphrase; random, and different for every store.
        random_bytes: where nonces and a new key come from.
        fresh: the ring is new, so a key file may be made.

    Raises:
        ConfigurationError: the settings name none, or one inside the data folder.
        KeyUnavailable: it cannot be read.
    """
    keys = settings.keys
    if keys.kek == "env":
        if keys.kek_value is None:
            raise ConfigurationError(
                "keys.kek is env: set ANALECT_KEYS__KEK_VALUE to 32 bytes in base64",
                field="keys.kek_value",
            )
        return kek_from_text(
            "ANALECT_KEYS__KEK_VALUE", keys.kek_value.get_secret_value(), random_bytes
        )
    if keys.kek == "passphrase":
        return kek_from_passphrase(_passphrase(settings), store_id.encode(), random_bytes)
    path = kek_path(settings)
    refuse_inside_home(settings, path, "keys.kek_file")
    return FileKek(path, random_bytes, create=fresh)


def kek_path(settings: Settings) -> Path:
    """The key file: as set, or beside the ring."""
    ring = settings.ring
    return settings.keys.kek_file or ring.with_name(ring.name + ".kek")


def refuse_inside_home(settings: Settings, path: Path, field: str) -> None:
    """Keys next to the data they seal would be copied along with it.

    Raises:
        ConfigurationError: ``path`` lies in the data folder.
    """
    if path.resolve().is_relative_to(settings.home.resolve()):
        raise ConfigurationError(
            f"{field} ({path}) lies inside the data folder {settings.home}: a copy of the data "
            "would carry the keys that open it; choose a place outside",
            field=field,
        )


def _passphrase(settings: Settings) -> str:
    keys = settings.keys
    if keys.passphrase is not None:
        return keys.passphrase.get_secret_value()
    if keys.passphrase_file is None:
        raise ConfigurationError(
            "keys.kek is passphrase: set keys.passphrase or keys.passphrase_file",
            field="keys.passphrase",
        )
    try:
        return keys.passphrase_file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyUnavailable(
            f"the passphrase file {keys.passphrase_file} cannot be read"
        ) from error


def _create_key_file(path: Path, random_bytes: RandomBytes) -> None:
    """Make the file unless it is there; two processes agree on one."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{random_bytes(6).hex()}.new")
    _write_durably(fresh, [random_bytes(KEY_BYTES)])
    try:
        os.link(fresh, path)
    except FileExistsError:
        return  # another process was first: its key stands
    finally:
        fresh.unlink()
    _sync_folder(path.parent)


def _write_durably(path: Path, keys: Sequence[bytes]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(b"".join(base64.b64encode(key) + b"\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _short_name(key: bytes) -> bytes:
    return hashlib.sha256(b"analect kek name\0" + key).digest()[:NAME_BYTES]
