"""restore and drill."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analect.cli.backups import Backups, Dest, Id, open_backups
from analect.cli.filters import moment
from analect.cli.physical import drill_files, restore_files, stanza_of
from analect.cli.session import Session, command
from analect.model.errors import InvalidInput

if TYPE_CHECKING:
    from analect.lifecycle.backup.deciding import Selection
    from analect.lifecycle.backup.restore import Restored
    from analect.settings import Settings

_STANDARD = "-"

Scratch = Annotated[
    Path | None, typer.Option("--scratch", help="A folder with room for the whole store.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "restore")(restore)
    command(app, "drill")(drill)


def restore(
    session: Session,
    dest: Dest,
    *,
    backup: Id = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="As it was at this moment.")
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="Only records of this kind; repeat.")
    ] = None,
    subjects: Annotated[
        str | None,
        typer.Option("--subjects", metavar="FILE", help="Only of those in FILE, one a line, or -."),
    ] = None,
    threads: Annotated[
        list[str] | None, typer.Option("--thread", help="Only this conversation; repeat.")
    ] = None,
    tables: Annotated[
        list[str] | None, typer.Option("--table", help="Only this table, with its keys; repeat.")
    ] = None,
    skip_missing: Annotated[
        bool,
        typer.Option(
            "--skip-missing-files", help="Go without warm and cold files that are nowhere any more."
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the store that is there. Stop it first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Restore into a scratch file, and say what is in it.")
    ] = False,
    scratch: Scratch = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Where a server's files go, of pgbackrest:STANZA.")
    ] = None,
) -> None:
    """Restore a backup into an empty database or a new home.

    Its indexes are made again. What was erased since stays erased: the key ring decides.
    """
    if backup is not None and to is not None:
        raise typer.BadParameter("say --id or --to, not both", param_hint="--to")
    session.quiet_logs()
    settings = session.settings()
    if (tool := stanza_of(settings, dest)) is not None:
        restore_files(session, tool, data, None if to is None else moment(to), backup)
        return
    backups = open_backups(settings, dest)
    catalog = backups.catalog
    if to is not None:
        link = catalog.at(moment(to))
    else:
        link = backup or catalog.newest()
        if backup is None:
            link = (catalog.segments(link) or [link])[-1]
    selection = _selection(
        settings, backups, kinds=kinds, subjects=subjects, threads=threads, tables=tables
    )
    options: dict[str, Any] = {"selection": selection, "erased": backups.erased()}
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="analect-restore-", dir=scratch) as folder:
            done = _load(session, backups, link, f"sqlite:///{folder}/dry.db", **options)
        session.out.value(asdict(done))
        return
    from analect.lifecycle.backup.files import FilesIn
    from analect.lifecycle.backup.rings import mirror, store_of
    from analect.lifecycle.places.opening import open_place
    from analect.lifecycle.tiers.opening import tiers_place
    from analect.privacy.keyring import FolderKeyRing
    from analect.service.wiring import database_url

    own = FolderKeyRing(settings.ring)
    if store_of(own) is None:
        mirror(backups.ring, own)
    files = FilesIn(
        tiers_place(settings),
        lambda at: open_place(at, settings.objects),
        skip=skip_missing,
        replace=replace,
    )
    url = database_url(settings)
    done = _load(session, backups, link, url, replace=replace, files=files, **options)
    with session.service() as service, session.out.progress("indexing") as progress:
        for index in service.status()["indexes"]:
            service.rebuild(index, progress)
    session.out.value(asdict(done))
    if done.erased:
        session.out.note(
            f"{done.erased} erasures were made since that backup, and were made again: what they "
            "erased is not in the restored store"
        )


def drill(
    session: Session,
    dest: Dest,
    backup: Id = None,
    scratch: Scratch = None,
) -> None:
    """Prove a backup: restore it into a scratch file, and search it.

    The file is thrown away. A backup whose drill passed is VERIFIED. `recovery` is the time it took in seconds (RTO),
    `age` how old the data is in seconds (RPO).
    """
    session.quiet_logs()
    if (tool := stanza_of(session.settings(), dest)) is not None:
        drill_files(session, tool, dest, scratch)
        return
    from analect.service.wiring import wall_clock

    settings = session.settings()
    backups = open_backups(settings, dest)
    from analect.lifecycle.backup.drill import Driller
    from analect.lifecycle.places.opening import open_place

    with session.out.progress("drilling") as progress:
        driller = Driller(
            backups.catalog,
            backups.shards,
            erased=backups.erased(),
            clock=wall_clock,
            random_bytes=os.urandom,
            timer=time.monotonic,
            open_place=lambda at: open_place(at, settings.objects),
        )
        done = driller.drill(backup, scratch, progress)
    session.out.value(asdict(done))


def _load(session: Session, backups: Backups, link: str, url: str, **options: Any) -> Restored:
    from analect.lifecycle.backup.restore import restore as load
    from analect.store.engine import open_engine

    engine = open_engine(url)
    try:
        with session.out.progress("restoring") as progress:
            return load(engine, backups.catalog, link, backups.shards, progress=progress, **options)
    finally:
        engine.dispose()


def _selection(
    settings: Settings,
    backups: Backups,
    *,
    kinds: Sequence[str] | None,
    subjects: str | None,
    threads: Sequence[str] | None,
    tables: Sequence[str] | None,
) -> Selection:
    """What the options ask for, as it stands in a backup."""
    from analect.lifecycle.backup.deciding import Selection
    from analect.service.wiring import pseudonymiser_of

    made = pseudonymiser_of(settings, backups.secret)
    return Selection(
        kinds=frozenset(kinds or ()),
        subjects=frozenset(made.identifier("subject", one) for one in _lines(subjects)),
        threads=frozenset(made.promoted("thread_id", one) for one in threads or ()),
        tables=frozenset(tables or ()),
    )


def _lines(file: str | None) -> list[str]:
    """People are named in a file or on standard input: a command line is seen by others."""
    if file is None:
        return []
    try:
        whole = sys.stdin.read() if file == _STANDARD else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {file}", field="subjects") from error
    found = [line.strip() for line in whole.splitlines() if line.strip()]
    if not found:
        raise InvalidInput("no subject was given", field="subjects")
    return found
