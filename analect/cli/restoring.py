"""restore and drill."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analect.cli.backups import Backups, Dest, Id, open_backups
from analect.cli.filters import moment
from analect.cli.physical import drill_files, restore_files, stanza_of
from analect.cli.session import Session, command, say
from analect.model.errors import Corrupt, InvalidInput

if TYPE_CHECKING:
    from analect.lifecycle.backup.deciding import Selection
    from analect.lifecycle.backup.manifest import Catalog
    from analect.lifecycle.backup.restore import Restored
    from analect.lifecycle.places.place import Place
    from analect.settings import Settings

_STANDARD = "-"

Scratch = Annotated[
    Path | None, typer.Option("--scratch", help="A folder with room for the whole store.")
]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="As it was at this moment.")]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", help="Only records of this kind; repeat.")
]
Subjects = Annotated[
    str | None,
    typer.Option("--subjects", metavar="FILE", help="Only of those in FILE, one a line, or -."),
]
Threads = Annotated[
    list[str] | None, typer.Option("--thread", help="Only this conversation; repeat.")
]
Tables = Annotated[
    list[str] | None, typer.Option("--table", help="Only this table, with its keys; repeat.")
]
SkipMissing = Annotated[
    bool,
    typer.Option(
        "--skip-missing-files", help="Go without warm and cold files that are nowhere any more."
    ),
]
Replace = Annotated[
    bool, typer.Option("--replace", help="In place of the store that is there. Stop it first.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Restore into a scratch file, and say what is in it.")
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Where a server's files go, of pgbackrest:STANZA.")
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
    to: To = None,
    kinds: Kinds = None,
    subjects: Subjects = None,
    threads: Threads = None,
    tables: Tables = None,
    skip_missing: SkipMissing = False,
    replace: Replace = False,
    dry_run: DryRun = False,
    scratch: Scratch = None,
    data: Data = None,
) -> None:
    """Restore a backup into an empty database or a new home.

    Its indexes are made again. What was erased since stays erased: the key ring decides.
    """
    if backup is not None and to is not None:
        raise typer.BadParameter("say --id or --to, not both", param_hint="--to")
    session.quiet_logs()
    settings = session.settings()
    if (tool := stanza_of(settings, dest)) is not None:
        if any((kinds, subjects, threads, tables, skip_missing, replace, dry_run, scratch)):
            raise typer.BadParameter(
                "pgBackRest lays the files of a whole server out: --data, with --to or --id, is "
                "all it takes",
                param_hint="DEST",
            )
        restore_files(session, tool, data, None if to is None else moment(to), backup)
        return
    if data is not None:
        raise typer.BadParameter(
            "only pgbackrest:STANZA takes it; --home or ANALECT_DATABASE_URL says where this goes",
            param_hint="--data",
        )
    backups = open_backups(settings, dest)
    selection = _selection(
        settings, backups, kinds=kinds, subjects=subjects, threads=threads, tables=tables
    )
    load = _Load(session, settings, backups, selection, scratch, skip_missing)
    link = _link(backups.catalog, backup, to)
    if to is not None:
        _tell_of_broken(backups.catalog)
    done = load.dry_run(link) if dry_run else load.in_place(link, replace=replace)
    session.out.value(asdict(done))
    for note in notes_of(done):
        session.out.note(note)


def _link(catalog: Catalog, backup: str | None, to: str | None) -> str:
    """The last link to apply: of a moment, a backup, or all there is."""
    if to is not None:
        return catalog.at(moment(to))
    if backup is not None:
        return backup
    newest = catalog.newest()
    return (catalog.segments(newest) or [newest])[-1]


def _tell_of_broken(catalog: Catalog) -> None:
    """The last moment may be in a backup that was passed over."""
    for one, found in catalog.looked().items():
        if isinstance(found, Corrupt):
            say(f"backup {one} is broken and was passed over: {found}")


@dataclass(frozen=True, slots=True)
class _Load:
    """One restore, to a scratch file or in earnest."""

    session: Session
    settings: Settings
    backups: Backups
    selection: Selection
    scratch: Path | None
    skip_missing: bool

    def dry_run(self, link: str) -> Restored:
        with tempfile.TemporaryDirectory(prefix="analect-restore-", dir=self.scratch) as folder:
            return self._load(link, f"sqlite:///{folder}/dry.db")

    def in_place(self, link: str, *, replace: bool) -> Restored:
        """Into the database of the settings, with its ring, its files and its indexes."""
        from analect.lifecycle.backup.files import FilesIn
        from analect.lifecycle.backup.rings import mirror, store_of
        from analect.lifecycle.tiers.opening import tiers_place
        from analect.privacy.keyring import FolderKeyRing
        from analect.service.wiring import database_url

        own = FolderKeyRing(self.settings.ring)
        if store_of(own) is None:
            mirror(self.backups.ring, own)
        tiers = tiers_place(self.settings)
        files = FilesIn(tiers, self._open_place, skip=self.skip_missing, replace=replace)
        done = self._load(link, database_url(self.settings), replace=replace, files=files)
        session = self.session
        with session.service() as service, session.out.progress("indexing") as progress:
            for index in service.status()["indexes"]:
                service.rebuild(index, progress)
        return done

    def _open_place(self, address: str) -> Place:
        from analect.lifecycle.places.opening import open_place

        return open_place(address, self.settings.objects)

    def _load(self, link: str, url: str, **options: Any) -> Restored:
        from analect.lifecycle.backup.filed import FiledRecords
        from analect.lifecycle.backup.restore import restore as load
        from analect.store.engine import open_engine

        engine = open_engine(url)
        try:
            with self.session.out.progress("restoring") as progress:
                return load(
                    engine,
                    self.backups.catalog,
                    link,
                    self.backups.shards,
                    selection=self.selection,
                    filed=FiledRecords(self._open_place, self.scratch, self.skip_missing),
                    erased=self.backups.erased(),
                    progress=progress,
                    **options,
                )
        except Corrupt as error:
            raise Corrupt(
                f"{error}. `analect backup check` says which backups are whole: name one with --id"
            ) from error
        finally:
            engine.dispose()


def notes_of(done: Restored) -> Iterator[str]:
    """What to know of a restore beside its figures."""
    if done.erased:
        made = "1 erasure was" if done.erased == 1 else f"{done.erased} erasures were"
        yield (
            f"{made} made since that backup, and made again: what was erased is not in the "
            "restored store"
        )
    if done.unfiled:
        taken = "1 record was" if done.unfiled == 1 else f"{done.unfiled} records were"
        yield f"{taken} taken out of warm and cold files: hot now, and to age again by policy"


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
        drill_files(session, tool, dest, backup, scratch)
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
