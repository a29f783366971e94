"""migrate, mode, rebuild and verify."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from analect.cli.session import TERMINAL, TRANSIENT, Session, command, need_store, say

IndexName = Literal["text", "vectors", "graph"]
Mode = Literal["Active", "ReadOnly", "Stopped"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "migrate")(migrate)
    command(app, "mode")(mode)
    command(app, "rebuild")(rebuild)
    command(app, "verify")(verify)


def migrate(session: Session) -> None:
    """Bring the database to the schema of this release."""
    session.quiet_logs()
    from analect.service.wiring import database_url
    from analect.store.engine import open_engine
    from analect.store.migrate import migrate as upgrade
    from analect.store.migrate import schema_version

    engine = open_engine(database_url(session.settings()))
    try:
        before = schema_version(engine)
        now = upgrade(engine)
    finally:
        engine.dispose()
    session.out.value({"before": before, "now": now, "changed": before != now})


def mode(
    session: Session,
    wanted: Annotated[
        Mode | None, typer.Argument(metavar="[MODE]", help="Active, ReadOnly or Stopped.")
    ] = None,
) -> None:
    """Say whether the store takes writes, or change it.

    The database then refuses new records and documents, whoever sends them, until it is Active
    again. Reading, indexing, erasing and ageing go on.
    """
    need_store(session, "set the mode of")
    session.quiet_logs()
    from analect.service.wiring import database_url
    from analect.store import fence
    from analect.store.engine import open_engine

    engine = open_engine(database_url(session.settings()))
    try:
        before = fence.mode(engine) if wanted is None else fence.set_mode(engine, wanted)
    finally:
        engine.dispose()
    session.out.value(
        {"mode": wanted or before, "before": before, "changed": wanted not in {None, before}}
    )


def rebuild(
    session: Session,
    index: Annotated[IndexName, typer.Argument(metavar="INDEX", help="text, vectors or graph.")],
) -> None:
    """Make an index again from the truth, while the old one answers."""
    need_store(session, "rebuild")
    with session.service() as service, session.out.progress(f"rebuilding {index}") as progress:
        count = service.rebuild(index, progress)
    session.out.value({"index": index, "records": count})


def verify(
    session: Session,
    index: Annotated[
        IndexName | None,
        typer.Argument(metavar="[INDEX]", help="text, vectors or graph; all unless said."),
    ] = None,
    _indexes: Annotated[
        bool, typer.Option("--index", help="May stand before the name, or alone: all of them.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what differs.")] = False,
) -> None:
    """Compare the indexes with the truth.

    Exit code 4 when they differ and are not mended, 3 when not all could be mended now.
    """
    need_store(session, "verify")
    with session.service() as service:
        names = [index] if index else service.status()["indexes"].keys()
        reports = [service.verify(name, repair=repair) for name in names]
    if session.json:
        session.out.value({"items": reports, "next": None})
    else:
        columns = ("index", "truth", "indexed", "missing", "stale", "orphaned")
        session.out.table(
            {name: name for name in columns},
            ({name: getattr(report, name) for name in columns} for report in reports),
        )
    if not repair and not all(report.clean for report in reports):
        say("they differ: `analect process` if records still wait, else `analect verify --repair`")
        raise typer.Exit(TERMINAL)
    if waiting := sum(report.waiting for report in reports):
        say(f"{waiting} of what was to be put in waits for processing: the index did not take it")
        raise typer.Exit(TRANSIENT)
