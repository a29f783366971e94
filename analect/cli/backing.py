"""backup create, list, check, forget; restore; drill."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analect.cli.session import TERMINAL, Session, command, need_store
from analect.model.errors import ConfigurationError, Conflict

if TYPE_CHECKING:
    from analect.lifecycle.backup.manifest import Catalog
    from analect.privacy.keyring import KeyRing
    from analect.privacy.shards import Shards
    from analect.settings import Settings

RING = "ring"

Dest = Annotated[
    str, typer.Argument(metavar="DEST", help="The place of the backups: a folder, or s3://….")
]
Id = Annotated[str | None, typer.Option("--id", help="This backup; the newest when not given.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Full backups of the truth, and their proof.")
    command(group, "create")(create)
    command(group, "list")(list_)
    command(group, "check")(check)
    command(group, "forget")(forget)
    app.add_typer(group, name="backup")
    command(app, "restore")(restore)
    command(app, "drill")(drill)


def create(
    session: Session,
    dest: Dest,
    recovery: Annotated[
        bool,
        typer.Option(
            "--i-have-the-recovery-key",
            help="The key of `analect keys export-recovery` is in a safe place (asked once).",
        ),
    ] = False,
) -> None:
    """Write a full backup of the store; it counts as good once `analect drill` has restored it."""
    need_store(session, "back up")
    session.quiet_logs()
    from analect.lifecycle.backup.rings import mirror
    from analect.lifecycle.backup.write import write_backup
    from analect.lifecycle.places.opening import address_of
    from analect.service.wiring import database_url, wall_clock
    from analect.store.backup_places import BackupPlaces
    from analect.store.engine import open_engine

    settings = session.settings()
    _away_from_home(settings, dest)
    with _catalog(settings, dest) as (catalog, _shards, ring):
        if not catalog.ids() and not recovery:
            raise ConfigurationError(
                "without its key-encryption key a backup opens for nobody: run `analect keys "
                "export-recovery FILE`, put the file away, and say --i-have-the-recovery-key",
                field="keys.kek",
            )
        engine = open_engine(database_url(settings))
        try:
            # First of all: an erasure has to know of every copy of the ring that there may be.
            BackupPlaces(engine).add(address_of(dest, catalog.store, RING))
            # Before as well: no backup may ever be listed that has no copy of its ring beside it.
            mirror(ring, _copy(settings, dest, catalog.store))
            with session.out.progress("backing up") as progress:
                done = write_backup(
                    engine, catalog, clock=wall_clock, random_bytes=os.urandom, progress=progress
                )
        finally:
            engine.dispose()
        mirror(ring, _copy(settings, dest, catalog.store))
        (listed,) = (one for one in catalog.listed() if one.id == done.id)
    session.out.value(asdict(listed))


def list_(session: Session, dest: Dest) -> None:
    """List the finished backups of this store, oldest first."""
    with _catalog(session.settings(), dest) as (catalog, _shards, _ring):
        items = [asdict(one) for one in catalog.listed()]
    if session.json:
        session.out.value({"items": items, "next": None})
    else:
        columns = ("id", "state", "rows", "bytes")
        session.out.table({name: name for name in columns}, items)


def check(session: Session, dest: Dest, backup: Id = None) -> None:
    """Read every object of the backups against their signed manifests; exit code 4 on damage."""
    session.quiet_logs()
    from analect.lifecycle.backup.read import BackupReader
    from analect.model.errors import Corrupt

    items = []
    with _catalog(session.settings(), dest) as (catalog, _shards, _ring):
        for one in [backup] if backup else catalog.ids():
            problem = None
            try:
                BackupReader(catalog, catalog.manifest(one)).check()
            except Corrupt as error:
                problem = str(error)
            items.append({"id": one, "whole": problem is None, "problem": problem})
    session.out.value({"items": items, "next": None})
    if not all(item["whole"] for item in items):
        raise typer.Exit(TERMINAL)


def forget(session: Session, dest: Dest) -> None:
    """Say that the backups in a place are gone for good: erasures stop waiting for it."""
    need_store(session, "change")
    session.quiet_logs()
    from analect.lifecycle.places.opening import address_of
    from analect.service.wiring import database_url
    from analect.store.backup_places import BackupPlaces
    from analect.store.engine import open_engine

    engine = open_engine(database_url(session.settings()))
    try:
        places = BackupPlaces(engine)
        whole = address_of(dest)
        inside = [one for one in places.all() if one.startswith(f"{whole}/")]
        for place in inside:
            places.remove(place)
    finally:
        engine.dispose()
    session.out.value({"forgotten": inside})


def restore(
    session: Session,
    dest: Dest,
    backup: Id = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and say what is in it.")
    ] = False,
) -> None:
    """Restore a backup into an empty database or a new home, and make its indexes again.

    What was erased since stays erased: the key ring decides.
    """
    session.quiet_logs()
    from analect.lifecycle.backup.read import BackupReader
    from analect.lifecycle.backup.restore import restore as load
    from analect.lifecycle.backup.rings import mirror, store_of
    from analect.privacy.keyring import FolderKeyRing
    from analect.service.wiring import database_url
    from analect.store.engine import open_engine

    settings = session.settings()
    with _catalog(settings, dest) as (catalog, shards, ring):
        reader = BackupReader(catalog, catalog.manifest(backup))
        if dry_run:
            reader.check()
            session.out.value({table.name: table.rows for table in reader.manifest.tables})
            return
        own = FolderKeyRing(settings.ring)
        if store_of(own) is None:
            mirror(ring, own)
        engine = open_engine(database_url(settings))
        try:
            with session.out.progress("restoring") as progress:
                done = load(engine, reader, shards, progress=progress)
        finally:
            engine.dispose()
    with session.service() as service:
        for index in service.status()["indexes"]:
            service.rebuild(index)
    session.out.value(asdict(done))


def drill(
    session: Session,
    dest: Dest,
    backup: Id = None,
    scratch: Annotated[
        Path | None, typer.Option("--scratch", help="A folder with room for the whole store.")
    ] = None,
) -> None:
    """Restore a backup into a scratch file, read payloads from it, throw it away.

    A backup whose drill passed is VERIFIED. `recovery` is the time it took in seconds (RTO),
    `age` how old the data is in seconds (RPO).
    """
    session.quiet_logs()
    from analect.lifecycle.backup.drill import Driller
    from analect.service.wiring import wall_clock

    with (
        _catalog(session.settings(), dest) as (catalog, shards, _ring),
        session.out.progress("drilling") as progress,
    ):
        driller = Driller(
            catalog, shards, clock=wall_clock, random_bytes=os.urandom, timer=time.monotonic
        )
        done = driller.drill(backup, scratch, progress)
    session.out.value(asdict(done))


@contextmanager
def _catalog(settings: Settings, dest: str) -> Iterator[tuple[Catalog, Shards, KeyRing]]:
    """The backups of the store whose ring this is; an empty ring is filled from their copy."""
    try:
        from analect.lifecycle.backup.format import BackupKeys
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "backups need the extra archive: pip install 'analect[archive]'"
        ) from error
    from analect.lifecycle.backup.manifest import Catalog
    from analect.lifecycle.backup.rings import store_of
    from analect.lifecycle.places.opening import open_place
    from analect.privacy.kek import open_kek
    from analect.privacy.keyring import FolderKeyRing
    from analect.privacy.shards import Shards, pseudonym_key

    place = open_place(dest, settings.objects)
    ring: KeyRing = FolderKeyRing(settings.ring)
    store = store_of(ring)
    if store is None:
        stores = place.names()
        if len(stores) != 1:
            raise Conflict(
                f"the key ring {ring.place} is empty, and {dest} does not hold the backups of "
                "exactly one store: name the ring with keys.ring (ANALECT_KEYS__RING)"
            )
        store = stores[0]
        ring = _copy(settings, dest, store)
    kek = open_kek(settings, store, os.urandom, fresh=False)
    secret = pseudonym_key(ring, kek, store, os.urandom, create=False)
    yield (
        Catalog(place, store, BackupKeys(secret, os.urandom)),
        Shards(ring, kek, store, os.urandom),
        ring,
    )


def _copy(settings: Settings, dest: str, store: str) -> KeyRing:
    """The one copy of the ring that goes with all backups of a store."""
    from analect.lifecycle.places.opening import address_of, open_ring

    return open_ring(address_of(dest, store, RING), settings.objects)


def _away_from_home(settings: Settings, dest: str) -> None:
    from analect.lifecycle.places.opening import is_bucket

    if not is_bucket(dest) and Path(dest).resolve().is_relative_to(settings.home.resolve()):
        raise ConfigurationError(
            f"{dest} is in the data folder: what loses one would lose both, so keep backups away",
            field="dest",
        )
