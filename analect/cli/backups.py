"""What the commands about backups share: where they are, and what opens them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.physical import PREFIX
from analect.model.errors import ConfigurationError, Conflict, InvalidInput, KeyUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analect.lifecycle.backup.erased import Erased
    from analect.lifecycle.backup.manifest import Catalog
    from analect.privacy.keyring import KeyRing
    from analect.privacy.shards import Shards
    from analect.settings import Settings

RING = "ring"
"""The one copy of the ring that goes with all backups of a store."""

Dest = Annotated[
    str,
    typer.Argument(
        metavar="DEST", help="The place of the backups: a folder, s3://…, or pgbackrest:STANZA."
    ),
]
Id = Annotated[str | None, typer.Option("--id", help="This backup; the newest when not given.")]


@dataclass(frozen=True, slots=True)
class Backups:
    """The backups of the store whose ring this is; ``secret`` is its pseudonym key."""

    catalog: Catalog
    shards: Shards
    ring: KeyRing
    secret: bytes

    def erased(self) -> Sequence[Erased]:
        """Whom the ring knows to be erased."""
        from analect.lifecycle.backup.erased import ErasedList

        return ErasedList(self.ring, self.secret).all()


def open_backups(settings: Settings, dest: str) -> Backups:
    """The backups in a place. Where the ring of the settings is empty, its copy there is taken.

    Raises:
        InvalidInput: the place is one of pgBackRest's.
        ConfigurationError: the extra is not installed.
        Conflict: there is no ring, and not exactly one store's backups.
        KeyUnavailable: the key-encryption key does not open the ring.
    """
    if dest.startswith(PREFIX):
        raise InvalidInput(
            f"{dest} is kept by pgBackRest, which shows and expires its backups itself: "
            "`pgbackrest info`, and repo1-retention-full in its configuration",
            field="dest",
        )
    try:
        from analect.lifecycle.backup.keys import BackupKeys
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "backups need the extra archive: pip install 'analect[archive]'"
        ) from error
    from analect.lifecycle.backup.manifest import Catalog
    from analect.lifecycle.backup.rings import store_of
    from analect.lifecycle.places.opening import open_place
    from analect.privacy.keyring import FolderKeyRing

    place = open_place(dest, settings.objects)
    ring: KeyRing = FolderKeyRing(settings.ring)
    store = store_of(ring)
    if store is not None:
        shards, secret = _opened(settings, ring, store)
    else:
        stores = place.names()
        if len(stores) != 1:
            raise Conflict(
                f"the key ring {ring.place} is empty, and {dest} does not hold the backups of "
                "exactly one store: name the ring with keys.ring (ANALECT_KEYS__RING)"
            )
        store, own = stores[0], ring.place
        ring = copy_of_ring(settings, dest, store)
        try:
            shards, secret = _opened(settings, ring, store)
        except KeyUnavailable as error:
            raise KeyUnavailable(
                f"{error}; or, where the ring of the store that was backed up is still there, "
                f"name it with keys.ring (ANALECT_KEYS__RING): {own}, which this home has, is empty"
            ) from error
    return Backups(Catalog(place, store, BackupKeys(secret, os.urandom)), shards, ring, secret)


def ring_of(settings: Settings) -> tuple[Shards, bytes]:
    """The shard keys of the settings' own ring, and its pseudonym key.

    Raises:
        Conflict: the ring is empty.
    """
    from analect.lifecycle.backup.rings import store_of
    from analect.privacy.keyring import FolderKeyRing

    ring = FolderKeyRing(settings.ring)
    store = store_of(ring)
    if store is None:
        raise Conflict(
            f"the key ring {ring.place} is empty: name the ring of this store with keys.ring "
            "(ANALECT_KEYS__RING)"
        )
    return _opened(settings, ring, store)


def _opened(settings: Settings, ring: KeyRing, store: str) -> tuple[Shards, bytes]:
    from analect.privacy.kek import open_kek
    from analect.privacy.shards import Shards, pseudonym_key

    kek = open_kek(settings, store, os.urandom, fresh=False)
    secret = pseudonym_key(ring, kek, store, os.urandom, create=False)
    return Shards(ring, kek, store, os.urandom), secret


def copy_of_ring(settings: Settings, dest: str, store: str) -> KeyRing:
    """The copy of the ring beside the backups."""
    from analect.lifecycle.places.opening import address_of, open_ring

    return open_ring(address_of(dest, store, RING), settings.objects)


def away_from_home(settings: Settings, dest: str) -> None:
    """Raises:
    ConfigurationError: the place is inside the data folder.
    """
    from analect.lifecycle.places.opening import is_bucket

    if not is_bucket(dest) and Path(dest).resolve().is_relative_to(settings.home.resolve()):
        raise ConfigurationError(
            f"{dest} is in the data folder: what loses one would lose both, so keep backups away",
            field="dest",
        )
