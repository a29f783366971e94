"""Shard keys: 256 of them, each an object in the key ring, and the only thing that opens the data
keys in SQL.

Erasing a data key moves its shard to the next *generation*: a new shard key, under which every
other data key of the shard is wrapped again. The old generation is then deleted from the ring, and
every copy of the erased data key that anyone ever made is wrapped by a key that exists nowhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from analect.model.errors import Corrupt, KeyUnavailable, StoreUnavailable
from analect.model.ids import Micros, RandomBytes
from analect.privacy.kek import KEY_BYTES, NONCE_BYTES, KeyStore, name_of
from analect.privacy.keyring import KeyRing

SHARDS = 256
HEADER = "store"
PSEUDONYM = "pseudonym"
ERASED = "erased"
"""The list of whom was erased; it holds no key."""
_PREFIX = "shard-"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DataKeyRow:
    """A data key as SQL holds it: ``wrapped`` opens with ``generation`` of its shard's key."""

    key_id: int
    shard: int
    scope: bytes
    wrapped: bytes
    created_at: Micros
    generation: int


@dataclass(frozen=True, slots=True)
class RingHeader:
    """Whose ring it is."""

    store: str
    format: int = 1


@dataclass(frozen=True, slots=True)
class WrappedSecret:
    """A secret of the store, wrapped by the key-encryption key."""

    store: str
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class ShardObject:
    """One generation: its key, wrapped, and the data keys as they stood when it began. ``erasures``
    began it (ids of receipts), and ``destroyed`` are the ids of the keys that they left out.
    """

    store: str
    shard: int
    generation: int
    wrapped: bytes
    keys: tuple[DataKeyRow, ...] = ()
    erasures: tuple[str, ...] = ()
    destroyed: tuple[int, ...] = ()


class Shards:
    """The shard keys of one ring. Thread-safe.

    A data key is wrapped as nonce (12 bytes), ciphertext and tag, bound to its shard and id.
    """

    def __init__(
        self, ring: KeyRing, kek: KeyStore, store_id: str, random_bytes: RandomBytes
    ) -> None:
        self._ring = ring
        self._kek = kek
        self._store_id = store_id
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._ciphers: dict[tuple[int, int], AESGCM] = {}

    def place(self) -> str:
        """Where the ring is, for people."""
        return self._ring.place

    def wrap(self, material: bytes, shard: int, generation: int, key_id: int) -> bytes:
        """Wrap a data key.

        Raises:
            KeyUnavailable: the ring does not have that generation.
        """
        cipher = self._cipher(shard, generation)
        if cipher is None:
            raise self._missing(shard, generation)
        return self._wrap_with(cipher, material, shard, key_id)

    def unwrap(self, row: DataKeyRow) -> bytes | None:
        """The data key; None when the ring does not have (or no longer has) the generation.

        Raises:
            Corrupt: the row does not verify.
        """
        cipher = self._cipher(row.shard, row.generation)
        if cipher is None:
            return None
        try:
            return cipher.decrypt(
                row.wrapped[:NONCE_BYTES],
                row.wrapped[NONCE_BYTES:],
                _binding(row.shard, row.key_id),
            )
        except (InvalidTag, ValueError) as error:
            raise Corrupt(
                f"data key {row.key_id} does not verify under generation {row.generation} of "
                f"shard {row.shard}: restore the database or the key ring {self._ring.place} "
                "from copies that belong together"
            ) from error

    def generations(self) -> dict[int, list[int]]:
        """Which generations the ring holds of each shard, ascending."""
        found: dict[int, list[int]] = {}
        for name in self._ring.names():
            if name.startswith(_PREFIX):
                shard, generation = name.removeprefix(_PREFIX).split(".")
                found.setdefault(int(shard), []).append(int(generation))
        return {shard: sorted(numbers) for shard, numbers in found.items()}

    def begin(self, shards: Sequence[int]) -> dict[int, int]:
        """The generations to use for shards that SQL has never heard of, made where the ring has
        none.
        """
        there = self.generations()
        absent = [shard for shard in shards if shard not in there]
        if absent:
            self._ring.put_all({_name(shard, 1): self._first(shard) for shard in absent})
        return {shard: there[shard][-1] if shard in there else 1 for shard in shards}

    def _first(self, shard: int) -> bytes:
        return _encode(self._object(self._random_bytes(KEY_BYTES), shard, 1))

    def advance(
        self,
        shard: int,
        generation: int,
        survivors: Sequence[DataKeyRow],
        *,
        erasures: Sequence[str] = (),
        destroyed: Sequence[int] = (),
    ) -> tuple[int, list[DataKeyRow]]:
        """Write the generation after ``generation`` with the survivors wrapped anew, and read it
        back.

        The caller holds the shard's lock in SQL. What a try that broke off has left stays, and a
        number behind it is taken: from here nobody can tell whether a newer database counts on it.

        Returns:
            The generation, and the survivors as SQL shall hold them.

        Raises:
            Corrupt: a survivor does not verify; nothing was changed.
            StoreUnavailable: the ring did not keep what was written.
        """
        following = max([generation, *self.generations().get(shard, ())]) + 1
        material = [self._survivor(row) for row in survivors]
        key = self._random_bytes(KEY_BYTES)
        cipher = AESGCM(key)
        rows = [
            replace(
                row,
                wrapped=self._wrap_with(cipher, secret, shard, row.key_id),
                generation=following,
            )
            for row, secret in zip(survivors, material, strict=True)
        ]
        whole = replace(
            self._object(key, shard, following),
            keys=tuple(rows),
            erasures=tuple(erasures),
            destroyed=tuple(destroyed),
        )
        data = _encode(whole)
        self._ring.put(_name(shard, following), data)
        if self._ring.read(_name(shard, following)) != data:
            raise StoreUnavailable(
                f"the key ring {self._ring.place} did not keep generation {following} of shard "
                f"{shard}; nothing was erased"
            )
        self.forget(shard)
        return following, rows

    def rewrap(self, row: DataKeyRow, generation: int) -> DataKeyRow | None:
        """A data key wrapped by another generation; None when the ring lacks the present one.

        Raises:
            Corrupt: the row does not verify.
            KeyUnavailable: the ring does not have that generation.
        """
        material = self.unwrap(row)
        if material is None:
            return None
        wrapped = self.wrap(material, row.shard, generation, row.key_id)
        return replace(row, wrapped=wrapped, generation=generation)

    def drop(self, shard: int, generation: int) -> None:
        """Destroy one generation."""
        self._ring.delete(_name(shard, generation))
        self.forget(shard)

    def kept(self, shard: int, generation: int) -> list[DataKeyRow]:
        """The data keys as they stood when ``generation`` began."""
        return list(self.told(shard, generation).keys)

    def told(self, shard: int, generation: int) -> ShardObject:
        """What the ring holds of a generation.

        Raises:
            KeyUnavailable: the ring does not have it.
        """
        data = self._ring.read(_name(shard, generation))
        if data is None:
            raise self._missing(shard, generation)
        return _decode(data, ShardObject, self._ring.place)

    def forget(self, shard: int) -> None:
        """Drop the shard's keys from memory."""
        with self._lock:
            for place in [place for place in self._ciphers if place[0] == shard]:
                del self._ciphers[place]

    def _survivor(self, row: DataKeyRow) -> bytes:
        material = self.unwrap(row)
        if material is None:
            raise self._missing(row.shard, row.generation)
        return material

    def _cipher(self, shard: int, generation: int) -> AESGCM | None:
        cipher = self._ciphers.get((shard, generation))
        if cipher is not None:
            return cipher
        data = self._ring.read(_name(shard, generation))
        if data is None:
            return None
        found = _decode(data, ShardObject, self._ring.place)
        key = self._kek.unwrap(found.wrapped, _place(self._store_id, shard, generation))
        with self._lock:
            return self._ciphers.setdefault((shard, generation), AESGCM(key))

    def _object(self, key: bytes, shard: int, generation: int) -> ShardObject:
        wrapped = self._kek.wrap(key, _place(self._store_id, shard, generation))
        return ShardObject(self._store_id, shard, generation, wrapped)

    def _wrap_with(self, cipher: AESGCM, material: bytes, shard: int, key_id: int) -> bytes:
        nonce = self._random_bytes(NONCE_BYTES)
        return nonce + cipher.encrypt(nonce, material, _binding(shard, key_id))

    def _missing(self, shard: int, generation: int) -> KeyUnavailable:
        return KeyUnavailable(
            f"generation {generation} of shard {shard} is not in the key ring {self._ring.place}: "
            "restore the ring that belongs to this database"
        )


def claim_ring(ring: KeyRing, known: str | None, proposal: str) -> str:
    """The id of the store that ring and database belong to.

    Args:
        ring: the ring; an empty one takes the id of a new store.
        known: the id in the database, None when it is new.
        proposal: the id for a store that is new altogether.

    Raises:
        ConfigurationError: the ring is another store's.
        KeyUnavailable: the database is not new, and the ring is empty.
    """
    data = ring.read(HEADER)
    if data is None:
        if known is not None:
            raise KeyUnavailable(
                f"the key ring {ring.place} is empty, and this database (store {known}) needs its "
                "own: name it with keys.ring (ANALECT_KEYS__RING), or restore a copy of it"
            )
        ring.put(HEADER, _encode(RingHeader(proposal)))
        data = ring.read(HEADER)
    if data is None:
        raise KeyUnavailable(f"the key ring {ring.place} did not keep what was written to it")
    return _decode(data, RingHeader, ring.place).store


def pseudonym_key(
    ring: KeyRing, kek: KeyStore, store_id: str, random_bytes: RandomBytes, *, create: bool
) -> bytes:
    """The key of this store's pseudonyms, 32 bytes; made when absent and ``create``.

    Raises:
        KeyUnavailable: it is not there, or the key-encryption key does not open it.
    """
    data = ring.read(PSEUDONYM)
    if data is None and create:
        wrapped = kek.wrap(random_bytes(KEY_BYTES), _pseudonym_place(store_id))
        ring.put(PSEUDONYM, _encode(WrappedSecret(store_id, wrapped)))
        data = ring.read(PSEUDONYM)
    if data is None:
        raise KeyUnavailable(
            f"the key ring {ring.place} has lost its pseudonym key: restore a copy of the ring"
        )
    secret = _decode(data, WrappedSecret, ring.place)
    return kek.unwrap(secret.wrapped, _pseudonym_place(store_id))


def wrapped_by(ring: KeyRing) -> str | None:
    """The name of the key-encryption key that the ring is opened with; None when it is empty."""
    data = ring.read(PSEUDONYM)
    return None if data is None else name_of(_decode(data, WrappedSecret, ring.place).wrapped)


def rotate_kek(ring: KeyRing, old: KeyStore, new: KeyStore, wraps: Callable[[bytes], bool]) -> int:
    """Wrap every object of the ring with ``new`` instead of ``old``; no data is touched.

    Restartable: what ``wraps`` says ``new`` has wrapped already is left alone. The pseudonym key
    comes last, for it tells which of the two keys the ring is opened with: as long as something
    is left to do, ``old`` is.

    Returns:
        How many objects were wrapped anew.

    Raises:
        KeyUnavailable: ``old`` does not open the ring.
    """
    changed = 0
    for name in sorted(ring.names(), key=lambda name: (name == PSEUDONYM, name)):
        while name not in {HEADER, ERASED} and (data := ring.read(name)) is not None:
            found, place = _wrapped(name, data, ring.place)
            if wraps(found.wrapped):
                break
            wrapped = new.wrap(old.unwrap(found.wrapped, place), place)
            # Not done: an erasure has put another object, or none, there since. Look again.
            if ring.replace(name, data, _encode(replace(found, wrapped=wrapped))):
                changed += 1
                break
    return changed


def _wrapped(name: str, data: bytes, ring: str) -> tuple[ShardObject | WrappedSecret, bytes]:
    """An object of the ring and what its secret is bound to."""
    if name == PSEUDONYM:
        secret = _decode(data, WrappedSecret, ring)
        return secret, _pseudonym_place(secret.store)
    found = _decode(data, ShardObject, ring)
    return found, _place(found.store, found.shard, found.generation)


def _encode(value: RingHeader | WrappedSecret | ShardObject) -> bytes:
    return msgspec.json.encode(value)


def _decode(data: bytes, type_: type[T], place: str) -> T:
    try:
        return msgspec.json.decode(data, type=type_)
    except msgspec.DecodeError as error:
        raise Corrupt(f"an object of the key ring {place} is damaged: restore a copy") from error


def _name(shard: int, generation: int) -> str:
    return f"{_PREFIX}{shard:03d}.{generation:08d}"


def _place(store_id: str, shard: int, generation: int) -> bytes:
    return f"{store_id}/shard/{shard}/{generation}".encode()


def _pseudonym_place(store_id: str) -> bytes:
    return f"{store_id}/pseudonym".encode()


def _binding(shard: int, key_id: int) -> bytes:
    return b"data key\0" + bytes([shard]) + key_id.to_bytes(8, "big")
