"""backup create, list, show, check, prune, forget."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from analect.cli.backups import RING, Dest, Id, away_from_home, copy_of_ring, open_backups
from analect.cli.physical import listed_files, stanza_of
from analect.cli.session import TERMINAL, Session, command, group_of, need_store, say
from analect.model.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from analect.settings import Settings

Keep = Annotated[int, typer.Option(min=0, help="So many of these are kept.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = group_of("Backups of the truth, and what they hold.")
    command(group, "create")(create)
    command(group, "list")(list_)
    command(group, "show")(show)
    command(group, "check")(check)
    command(group, "prune")(prune)
    command(group, "forget")(forget)
    app.add_typer(group, name="backup")


def create(
    session: Session,
    dest: Dest,
    *,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Only what changed since the last backup there.")
    ] = False,
    kind: Annotated[
        Literal["manual", "daily", "weekly", "monthly"],
        typer.Option("--kind", help="What for; a daily one is incremental where it can be."),
    ] = "manual",
    files: Annotated[
        Literal["auto", "copy", "reference"] | None,
        typer.Option(
            "--files",
            help="Warm and cold files: copied, or left where they are (setting backup.files).",
        ),
    ] = None,
    recovery: Annotated[
        bool,
        typer.Option(
            "--i-have-the-recovery-key",
            help="The key of `analect keys export-recovery` is in a safe place (asked once).",
        ),
    ] = False,
) -> None:
    """Back the store up; it counts as good once `analect drill` has restored it."""
    need_store(session, "back up")
    session.quiet_logs()
    from analect.lifecycle.backup.rings import mirror
    from analect.lifecycle.places.opening import address_of
    from analect.service.wiring import wall_clock
    from analect.store.backup_places import BackupPlaces

    settings = session.settings()
    if (tool := stanza_of(settings, dest)) is not None:
        session.out.value(asdict(tool.backup(kind, incremental=incremental)))
        return
    away_from_home(settings, dest)
    _begin_store(session, settings)
    backups = open_backups(settings, dest)
    from analect.lifecycle.backup.files import files_out
    from analect.lifecycle.backup.job import BackupJob

    catalog = backups.catalog
    if not catalog.ids() and not recovery:
        raise ConfigurationError(
            "without its key-encryption key a backup opens for nobody: run `analect keys "
            "export-recovery FILE`, put the file away, and say --i-have-the-recovery-key",
            field="keys.kek",
        )
    copy = copy_of_ring(settings, dest, catalog.store)
    with _database(settings) as engine, session.out.progress("backing up") as progress:
        # First of all: an erasure has to know of every copy of the ring that there may be.
        BackupPlaces(engine).add(address_of(dest, catalog.store, RING))
        # Before as well: no backup may ever be listed that has no copy of its ring beside it.
        mirror(backups.ring, copy)
        out = files_out(settings, catalog, files)
        job = BackupJob(engine, catalog, wall_clock, os.urandom, progress, files=out)
        done = job.incremental(kind) if incremental else job.of_kind(kind)
    mirror(backups.ring, copy)
    (listed,) = (one for one in catalog.listed() if one.id == done.id)
    session.out.value(asdict(listed))
    if listed.files_lost:
        say(
            f"{listed.files_lost} files of the tiers are lost or damaged, so the records in them "
            "are not in this backup: `analect backup check` names them; bring them back with "
            "`analect restore` from an older backup"
        )
        raise typer.Exit(TERMINAL)


def list_(session: Session, dest: Dest) -> None:
    """List the finished backups of this store, oldest first."""
    settings = session.settings()
    tool = stanza_of(settings, dest)
    if tool is not None:
        items = listed_files(settings, tool, dest)
    else:
        items = [asdict(one) for one in open_backups(settings, dest).catalog.listed()]
    if session.json:
        session.out.value({"items": items, "next": None})
    else:
        columns = ("id", "state", "kind", "parent", "rows", "bytes")
        session.out.table({name: name for name in columns}, items)
        if not items:
            session.out.note(f"there is no backup of this store in {dest}")


def show(session: Session, dest: Dest, backup: Id = None) -> None:
    """Show what a backup says of itself: what it goes on from, its tables, their rows and hashes."""
    catalog = open_backups(session.settings(), dest).catalog
    found = asdict(catalog.manifest(backup or catalog.newest()))
    del found["keyset"]
    session.out.value(found)


def check(session: Session, dest: Dest, backup: Id = None) -> None:
    """Read every object of the backups against their signed manifests, and every file of the tiers
    that they refer to; exit code 4 on damage.
    """
    session.quiet_logs()
    if (tool := stanza_of(session.settings(), dest)) is not None:
        if backup is not None:
            raise typer.BadParameter("pgBackRest checks all backups at once", param_hint="--id")
        tool.check()
        session.out.value(
            {"items": [{"id": one.id, "whole": not one.broken} for one in tool.list()]}
        )
        return
    settings = session.settings()
    catalog = open_backups(settings, dest).catalog
    from analect.lifecycle.backup.check import check as look
    from analect.lifecycle.places.opening import open_place

    with session.out.progress("checking") as progress:
        items = look(catalog, backup, progress, lambda at: open_place(at, settings.objects))
    session.out.value({"items": [asdict(one) for one in items], "next": None})
    if not all(one.whole for one in items):
        raise typer.Exit(TERMINAL)


def prune(
    session: Session,
    dest: Dest,
    *,
    keep_last: Keep = 3,
    keep_daily: Keep = 7,
    keep_weekly: Keep = 5,
    keep_monthly: Keep = 12,
    keep_yearly: Keep = 3,
    broken: Annotated[
        bool, typer.Option("--broken", help="Those as well that nothing can restore any more.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove backups that are older than what is to be kept.

    The last chain that a drill has verified stays, and so does every link that a kept one needs.
    """
    need_store(session, "prune the backups of")
    session.quiet_logs()
    settings = session.settings()
    catalog = open_backups(settings, dest).catalog
    from analect.lifecycle.backup.keeping import Keeping
    from analect.lifecycle.backup.pruning import prune as remove_older
    from analect.service.wiring import wall_clock

    keeping = Keeping(keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly)
    with _database(settings) as engine:
        done = remove_older(
            engine, catalog, keeping, clock=wall_clock, broken=broken, dry_run=dry_run
        )
    session.out.value(asdict(done))


def forget(session: Session, dest: Dest) -> None:
    """Say that the backups in a place are gone for good: erasures stop waiting for it."""
    need_store(session, "change")
    session.quiet_logs()
    from analect.lifecycle.places.opening import address_of
    from analect.store.backup_places import BackupPlaces
    from analect.store.backup_references import BackupReferences
    from analect.store.changes import Changes

    whole = address_of(dest)
    with _database(session.settings()) as engine:
        places = BackupPlaces(engine)
        inside = [one for one in places.all() if one.startswith(f"{whole}/")]
        for place in inside:
            places.remove(place)
        Changes(engine).forget(whole)
        BackupReferences(engine).keep(whole, ())
    session.out.value({"forgotten": inside})


def _begin_store(session: Session, settings: Settings) -> None:
    """A store that nobody has opened yet (its tables alone were made) has no keys: it gets them now.

    Raises:
        KeyUnavailable: it is no new store, and its key ring is not there.
    """
    from analect.lifecycle.backup.rings import store_of
    from analect.privacy.keyring import FolderKeyRing

    if store_of(FolderKeyRing(settings.ring)) is None:
        with session.service():
            pass


@contextmanager
def _database(settings: Settings) -> Iterator[Engine]:
    from analect.service.wiring import database_url
    from analect.store.engine import open_engine

    engine = open_engine(database_url(settings))
    try:
        yield engine
    finally:
        engine.dispose()
