"""The commands about backups where the place is a stanza of pgBackRest (``pgbackrest:NAME``)."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analect.cli.session import Session
from analect.model.errors import ConfigurationError, InvalidInput, NotFound
from analect.model.ids import Micros, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analect.lifecycle.backup.physical import PgBackRest
    from analect.settings import Settings
    from analect.store.reports import Reports

_DRILL = "drill"
_DRILLS = 1_000
"""The last ones, of all places."""

PREFIX = "pgbackrest:"
"""What a place is called that is a stanza of pgBackRest."""


def stanza_of(settings: Settings, dest: str) -> PgBackRest | None:
    """The stanza that a place means; None when it is another kind of place.

    Raises:
        ConfigurationError: the store is not in Postgres.
    """
    if not dest.startswith(PREFIX):
        return None
    from analect.lifecycle.backup.physical import PgBackRest

    if settings.database_url is None or not _url(settings).startswith("postgres"):
        raise ConfigurationError(
            "pgBackRest backs Postgres up: set database_url (ANALECT_DATABASE_URL), or name a "
            "folder or s3://bucket/prefix",
            field="dest",
        )
    said = settings.backup
    return PgBackRest(dest.removeprefix(PREFIX), said.pgbackrest, said.pgbackrest_config)


def restore_files(
    session: Session, tool: PgBackRest, data: Path | None, to: Micros | None, label: str | None
) -> None:
    """Lay the files of a server out, for whoever runs it to start."""
    if data is None:
        raise InvalidInput("say where the server's files shall be with --data", field="data")
    tool.restore(data, to=to, label=label)
    session.out.value({"data": str(data), "to": to if to is None else _text(to)})
    session.out.note(
        "start Postgres on that folder and point ANALECT_DATABASE_URL at it; what was erased since "
        "is erased again when `analect serve` starts"
    )


def drill_files(
    session: Session, tool: PgBackRest, dest: str, label: str | None, scratch: Path | None
) -> None:
    """Restore the newest backup, or the one of ``label``, into a scratch folder, start a server
    there, which goes on to the end of the log, read from it, throw it away.

    Raises:
        NotFound: there is no such backup.
    """
    from sqlalchemy.engine import make_url

    from analect.cli.backups import ring_of
    from analect.lifecycle.backup.drill import open_some
    from analect.lifecycle.backup.manifest import Drill
    from analect.lifecycle.backup.physical import started
    from analect.service.wiring import wall_clock
    from analect.store.engine import open_engine

    settings = session.settings()
    found = [one for one in tool.list() if label in {None, one.id}]
    if not found:
        raise NotFound(f"there is no backup {label or ''}".rstrip() + f" in {dest}")
    drilled = found[-1].id
    url = make_url(_url(settings))
    with tempfile.TemporaryDirectory(prefix="analect-drill-", dir=scratch) as folder:
        data = _enterable(Path(folder), scratch)
        began = time.monotonic()
        tool.restore(data, label=drilled)
        with started(data, settings.backup.pg_ctl, url.username or "", url.database or "") as at:
            recovery = time.monotonic() - began
            engine = open_engine(at)
            try:
                index = Path(folder) / "index"
                shards = ring_of(settings)[0]
                rows, last, looked = open_some(engine, shards, os.urandom, index)
            finally:
                engine.dispose()
    now = wall_clock()
    done = Drill(
        backup=drilled,
        link=drilled,
        drilled_at=now,
        rows=rows,
        dropped=0,
        opened=looked.opened,
        recovery=recovery,
        age=(now - last) / 1_000_000,
        found=looked.found,
    )
    with _reports(settings) as reports:
        report = {**asdict(done), "id": new_id(now, os.urandom), "place": dest}
        reports.keep(_DRILL, "verified", report, (now - int(recovery * 1_000_000), now))
    session.out.value(asdict(done))


def listed_files(settings: Settings, tool: PgBackRest, dest: str) -> list[dict[str, Any]]:
    """The backups of a stanza: ``COMPLETED``, ``VERIFIED`` once a drill restored it, or ``BROKEN``."""
    with _reports(settings) as reports:
        drills = reports.newest(_DRILL, _DRILLS)
    verified = {one["backup"] for one in drills if one["place"] == dest}
    return [
        {
            **asdict(one),
            "state": "BROKEN" if one.broken else "VERIFIED" if one.id in verified else "COMPLETED",
        }
        for one in tool.list()
    ]


@contextmanager
def _reports(settings: Settings) -> Iterator[Reports]:
    from analect.store.engine import open_engine
    from analect.store.reports import Reports

    engine = open_engine(_url(settings))
    try:
        yield Reports(engine)
    finally:
        engine.dispose()


def _enterable(folder: Path, scratch: Path | None) -> Path:
    """A folder for the files, which the server's user may enter as well."""
    if scratch is not None:
        owner = scratch.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
    return folder / "data"


def _url(settings: Settings) -> str:
    return "" if settings.database_url is None else settings.database_url.get_secret_value()


def _text(at: Micros) -> str:
    from analect.model.flat import format_time

    return format_time(at)
