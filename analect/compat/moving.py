"""Older names for bringing data in from where a program kept it before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import msgspec

from analect.compat.content import DataLayer
from analect.compat.integration import get_analysis_service
from analect.compat.migrating.meaning import DOCUMENTS, INCIDENTS, RECORDS
from analect.compat.migrating.migration import Migration, Options, roll_back
from analect.compat.migrating.tables import open_tables
from analect.compat.plain import mapping, moment, plain
from analect.model.errors import InvalidInput
from analect.model.flat import format_time
from analect.model.query import RecordFilter
from analect.model.record import Json
from analect.sources.exchange import whole_file

__all__ = ["export_in_memory_data", "rollback_migration", "run_migration"]


def export_in_memory_data(target: Any = None, state: Any = None) -> dict[str, Json]:
    """What a program holds in memory, as JSON that :func:`run_migration` and `analect
    migrate-data` take; returned, and written to the file ``target`` if there is one.

    The file holds personal data as it came, in clear: it appears whole or not at all, is readable
    by its owner only, and is the caller's to delete.

    Args:
        target: a path; an older file of that name is replaced.
        state: the collections by name (``users``, ``stories``, ``interactions``, ...), or an
            object that has them as attributes. When not given: the users, sessions, stories,
            content and events of the store, which is where these functions keep them now.

    Raises:
        InvalidInput: ``state`` has none of the collections that are known, or the folder of
            ``target`` may not be written.
        StoreUnavailable: its disk is full.
    """
    found = _of_store() if state is None else _of_state(state)
    if target is not None:
        with whole_file(Path(target)) as stream:
            stream.write(msgspec.json.encode(found))
    return found


def run_migration(
    source: Any,
    *,
    dry_run: bool = False,
    undated: Any = None,
    on_conflict: Literal["skip", "replace", "error"] = "skip",
    restart: bool = False,
) -> dict[str, Json]:
    """Bring older data into the store; returns the report, as `analect migrate-data` prints it.

    Every row goes through the intake (checked, pseudonymised, sealed) and is stored once, however
    often this is called; what was interrupted goes on when it is called again.

    Args:
        source: the path of an SQLite file or of exported state, or the state itself.
        dry_run: read and check everything, store nothing.
        undated: the time of rows that say none; without it they are refused.
        on_conflict: what happens to a row that came before and was changed since.
        restart: begin at the first row, not where it stopped.

    Raises:
        InvalidInput: nothing of the source is known, or it cannot be read.
        Conflict: a row was changed since, and ``on_conflict`` is ``error``.
        TransientError: the store stopped taking rows; call again to go on.
    """
    options = Options(
        dry_run=dry_run,
        on_conflict=on_conflict,
        undated=moment(undated, field="undated"),
        restart=restart,
    )
    given = Path(source) if isinstance(source, (str, os.PathLike)) else _of_state(source)
    integration = get_analysis_service()
    with open_tables(given) as tables, integration.use() as service:
        migration = Migration(
            service,
            tables,
            integration.settings.home,
            options,
            clock=service.clock,
            random_bytes=os.urandom,
        )
        return asdict(migration.run())


def rollback_migration(migration: str) -> dict[str, Json]:
    """Take back what a migration brought in (its ``migration`` in the report), and nothing that
    was there before; returns how much.

    Raises:
        NotFound: nothing is known of it here.
        TransientError: the store stopped answering; call again to go on.
    """
    integration = get_analysis_service()
    with integration.use() as service:
        home, clock = integration.settings.home, service.clock
        return asdict(roll_back(service, home, migration, clock=clock, random_bytes=os.urandom))


def _of_store() -> dict[str, Json]:
    layer = DataLayer()
    found: dict[str, Json] = {name: getattr(layer, name).list() for name in DOCUMENTS}
    with get_analysis_service().use() as service:
        events = service.export(RecordFilter(equals={"kind": "event"}))
        found["events"] = [
            {
                "id": event.id,
                "event_type": event.name,
                "user_id": event.subject,
                "session_id": event.session_id,
                "timestamp": format_time(event.occurred_at),
                "properties": event.attributes,
            }
            for event in events
        ]
    return found


def _of_state(state: Any) -> dict[str, Json]:
    known = {*RECORDS, *DOCUMENTS, INCIDENTS}
    found = {
        name: plain(part)
        for name, part in (mapping(state) or {}).items()
        if isinstance(part, (list, tuple, Mapping))
    }
    if not known & found.keys():
        raise InvalidInput(
            f"the state has none of the known collections: {', '.join(sorted(known))}",
            field="state",
        )
    return found
