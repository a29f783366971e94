"""Data keys: one per subject (else session, thread, month), what payloads are sealed with.

They are rows in SQL, wrapped by their shard's key. A key for a new scope is a *candidate* until
the transaction that stores the first thing sealed with it has also stored its row; that
transaction finds out whether another process was first, or an erasure came between.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from analect.model.errors import ConfigurationError, KeyUnavailable
from analect.model.ids import Clock, RandomBytes
from analect.privacy.kek import KEY_BYTES, KeyStore, open_kek, refuse_inside_home
from analect.privacy.keyring import FolderKeyRing, KeyRing
from analect.privacy.shards import SHARDS, DataKeyRow, Shards, claim_ring, pseudonym_key
from analect.settings import Settings

__all__ = ["DataKey", "DataKeyRow", "DataKeys", "KeyRows", "open_data_keys"]

CACHED = 20_000
"""Opened data keys held in memory."""
_ATTEMPTS = 3
"""Reads of a row whose shard moved to another generation meanwhile."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """An opened key of 32 bytes; ``cipher`` is ready to use and safe between threads."""

    key_id: int
    shard: int
    scope: bytes
    material: bytes = field(repr=False)
    cipher: AESGCM = field(repr=False, compare=False)


class KeyRows(Protocol):
    """The SQL side. Rows carry the generation that stood when they were read, together."""

    def store_id(self) -> str | None:
        """The store's id, None in a new database."""
        ...

    def register_store(self, store_id: str) -> str:
        """Insert if absent; what stands."""
        ...

    def find_scopes(self, scopes: Sequence[bytes]) -> list[DataKeyRow]:
        """The keys of these scopes that exist."""
        ...

    def find_ids(self, key_ids: Sequence[int]) -> list[DataKeyRow]:
        """The keys of these ids that exist."""
        ...

    def generations(self) -> dict[int, int]:
        """Every shard that was ever used, and its generation."""
        ...

    def register_shards(self, generations: Mapping[int, int]) -> dict[int, int]:
        """Insert those that are absent; what stands for each."""
        ...


@dataclass(slots=True)
class _Entry:
    key: DataKey
    pending: DataKeyRow | None = None


class DataKeys:
    """Finds, makes and remembers data keys. Thread-safe; SQL is asked only for what is not cached."""

    def __init__(
        self,
        rows: KeyRows,
        shards: Shards,
        pseudonym_key: bytes,
        *,
        clock: Clock,
        random_bytes: RandomBytes,
        capacity: int = CACHED,
    ) -> None:
        self.pseudonym_key = pseudonym_key
        self._rows = rows
        self._shards = shards
        self._clock = clock
        self._random_bytes = random_bytes
        self._capacity = capacity
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._by_scope: dict[bytes, int] = {}
        self._generations: dict[int, int] = {}

    @property
    def shards(self) -> Shards:
        """The shard keys beneath."""
        return self._shards

    def for_scopes(self, scopes: Sequence[bytes]) -> dict[bytes, DataKey]:
        """The key of each scope (16 bytes, a keyed hash), candidates made where there is none.

        Raises:
            StoreUnavailable: the database or the key ring does not answer.
            KeyUnavailable: the ring lacks a shard's key.
        """
        found, missing = self._cached(scopes)
        if not missing:
            return found
        with self._loading:
            again, missing = self._cached(missing)
            found.update(again)
            if missing:
                stored = self._open_all(lambda: self._rows.find_scopes(missing))
                entries = [_Entry(key) for key in stored.values()]
                known = {entry.key.scope for entry in entries}
                entries += self._candidates([scope for scope in missing if scope not in known])
                self._remember(entries)
                found.update((entry.key.scope, entry.key) for entry in entries)
        return found

    def by_ids(self, key_ids: Sequence[int]) -> dict[int, DataKey]:
        """The keys of these ids; destroyed ones are absent.

        Raises:
            StoreUnavailable: the database does not answer.
            KeyUnavailable: the ring lacks a shard's key.
        """
        found: dict[int, DataKey] = {}
        with self._lock:
            for key_id in key_ids:
                entry = self._entries.get(key_id)
                if entry is not None:
                    found[key_id] = entry.key
                    self._entries.move_to_end(key_id)
        missing = [key_id for key_id in key_ids if key_id not in found]
        if missing:
            stored = self._open_all(lambda: self._rows.find_ids(missing))
            self._remember([_Entry(key) for key in stored.values()])
            found.update(stored)
        return found

    def pending_rows(self, key_ids: Iterable[int]) -> list[DataKeyRow]:
        """Rows of those that are not yet known to be stored: they go into the transaction that
        stores what they seal.
        """
        with self._lock:
            entries = [self._entries[key_id] for key_id in key_ids if key_id in self._entries]
            return [entry.pending for entry in entries if entry.pending is not None]

    def committed(self, key_ids: Iterable[int]) -> None:
        """Their rows are stored."""
        with self._lock:
            for key_id in key_ids:
                entry = self._entries.get(key_id)
                if entry is not None:
                    entry.pending = None

    def discard(self, key_ids: Iterable[int]) -> None:
        """Forget keys that do not stand, and what was known of their shards."""
        with self._lock:
            for key_id in key_ids:
                entry = self._drop(key_id)
                if entry is not None:
                    self._generations.pop(entry.key.shard, None)

    def moved(self, shard: int) -> None:
        """The shard has another generation now."""
        with self._lock:
            self._generations.pop(shard, None)
        self._shards.forget(shard)

    def refresh(self) -> None:
        """Forget the keys of shards that another process moved to a new generation."""
        present = self._rows.generations()
        with self._lock:
            moved = {
                shard
                for shard, generation in self._generations.items()
                if present.get(shard) != generation
            }
            for shard in moved:
                del self._generations[shard]
            for key_id in [i for i, entry in self._entries.items() if entry.key.shard in moved]:
                self._drop(key_id)
        for shard in moved:
            self._shards.forget(shard)

    def begin(self) -> None:
        """Make the keys of shards that were never used now, all together, rather than a few with
        every batch of a new store.

        Raises:
            StoreUnavailable: the database or the key ring does not answer.
        """
        self._present_generations(set(range(SHARDS)))

    def _cached(self, scopes: Sequence[bytes]) -> tuple[dict[bytes, DataKey], list[bytes]]:
        found: dict[bytes, DataKey] = {}
        missing: list[bytes] = []
        with self._lock:
            for scope in scopes:
                key_id = self._by_scope.get(scope)
                if key_id is None:
                    missing.append(scope)
                else:
                    found[scope] = self._entries[key_id].key
                    self._entries.move_to_end(key_id)
        return found, missing

    def _open_all(self, fetch: Callable[[], list[DataKeyRow]]) -> dict[int, DataKey]:
        """Unwrap rows; read them again where the shard moved on between reading and unwrapping."""
        for _ in range(_ATTEMPTS):
            rows = fetch()
            opened = [self._open(row) for row in rows]
            if None not in opened:
                with self._lock:
                    self._generations.update((row.shard, row.generation) for row in rows)
                return {key.key_id: key for key in opened if key is not None}
        lost = next(row for row, key in zip(rows, opened, strict=True) if key is None)
        raise KeyUnavailable(
            f"generation {lost.generation} of shard {lost.shard} is not in the key ring "
            f"{self._shards.place()}: restore the ring that belongs to this database"
        )

    def _open(self, row: DataKeyRow) -> DataKey | None:
        material = self._shards.unwrap(row)
        if material is None:
            return None
        return DataKey(row.key_id, row.shard, row.scope, material, AESGCM(material))

    def _candidates(self, scopes: Sequence[bytes]) -> list[_Entry]:
        """Fresh keys, wrapped by the present generation of their shards."""
        generations = self._present_generations({scope[0] for scope in scopes})
        now = self._clock()
        entries = []
        for scope in scopes:
            shard = scope[0]
            key_id = int.from_bytes(self._random_bytes(8), "big") >> 1
            material = self._random_bytes(KEY_BYTES)
            generation = generations[shard]
            wrapped = self._shards.wrap(material, shard, generation, key_id)
            row = DataKeyRow(key_id, shard, scope, wrapped, now, generation)
            entries.append(_Entry(DataKey(key_id, shard, scope, material, AESGCM(material)), row))
        return entries

    def _present_generations(self, shards: set[int]) -> dict[int, int]:
        """The generation of each shard; a shard that was never used begins here."""
        known = {shard: self._generations[shard] for shard in shards & self._generations.keys()}
        if len(known) < len(shards):
            stands = self._rows.generations()
            if fresh := sorted(shards - stands.keys()):
                stands |= self._rows.register_shards(self._shards.begin(fresh))
            known = {shard: stands[shard] for shard in shards}
            with self._lock:
                self._generations.update(known)
        return known

    def _remember(self, entries: Iterable[_Entry]) -> None:
        with self._lock:
            for entry in entries:
                self._entries[entry.key.key_id] = entry
                # A retired key's scope is of another shard (see `retired_scope`): ids alone find it.
                if entry.key.scope[0] == entry.key.shard:
                    self._by_scope[entry.key.scope] = entry.key.key_id
            while len(self._entries) > self._capacity:
                self._drop(next(iter(self._entries)))

    def _drop(self, key_id: int) -> _Entry | None:
        """Take an entry out; the lock is held."""
        entry = self._entries.pop(key_id, None)
        if entry is not None and self._by_scope.get(entry.key.scope) == key_id:
            del self._by_scope[entry.key.scope]
        return entry


def retired_scope(shard: int, random_bytes: RandomBytes) -> bytes:
    """A scope for a key that is about to be destroyed: of no shard it could belong to, so nobody
    asks for it, while its id still opens what it sealed.
    """
    return bytes([shard ^ 0xFF]) + random_bytes(15)


def open_data_keys(
    settings: Settings, rows: KeyRows, *, clock: Clock, random_bytes: RandomBytes
) -> DataKeys:
    """The data keys of the store that ``rows`` speak for; ring and key are made for a new store.

    Raises:
        ConfigurationError: ring or key-encryption key lies in the data folder, or the ring is
            another store's.
        KeyUnavailable: the ring is not there, or the key-encryption key does not open it.
        StoreUnavailable: the database or the ring does not answer.
    """
    refuse_inside_home(settings, settings.ring, "keys.ring")
    return keys_of_ring(
        FolderKeyRing(settings.ring),
        lambda store_id, fresh: open_kek(settings, store_id, random_bytes, fresh=fresh),
        rows,
        clock=clock,
        random_bytes=random_bytes,
    )


def keys_of_ring(
    ring: KeyRing,
    kek: Callable[[str, bool], KeyStore],
    rows: KeyRows,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
) -> DataKeys:
    """As :func:`open_data_keys`, with any ring and key-encryption key (``kek`` takes the store's id and
    whether the store is new).
    """
    known = rows.store_id()
    store_id = claim_ring(ring, known, str(UUID(bytes=random_bytes(16), version=4)))
    if known is not None and store_id != known:
        raise _foreign(ring, store_id, known)
    opened = kek(store_id, known is None)
    secret = pseudonym_key(ring, opened, store_id, random_bytes, create=known is None)
    stands = rows.register_store(store_id) if known is None else known
    if stands != store_id:
        raise _foreign(ring, store_id, stands)
    shards = Shards(ring, opened, store_id, random_bytes)
    return DataKeys(rows, shards, secret, clock=clock, random_bytes=random_bytes)


def _foreign(ring: KeyRing, ours: str, theirs: str) -> ConfigurationError:
    return ConfigurationError(
        f"the key ring {ring.place} belongs to store {ours}, but the database is store {theirs}: "
        "name the ring of this database with keys.ring (ANALECT_KEYS__RING)",
        field="keys.ring",
    )
