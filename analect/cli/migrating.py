"""migrate-data: what older programs kept, brought in and, if need be, taken back."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from analect.cli.filters import moment
from analect.cli.output import refused
from analect.cli.session import TERMINAL, Session, command, need_store, say

if TYPE_CHECKING:
    from analect.compat.migrating.migration import Options, Report

_COLUMNS = (
    *("table", "into", "rows", "stored", "duplicates", "conflicts", "replaced", "refused"),
    "expired",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "migrate-data")(migrate_data)


def migrate_data(
    session: Session,
    *,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="An older program's SQLite file, or its exported state (JSON)."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check everything, store nothing.")
    ] = False,
    undated: Annotated[
        str | None,
        typer.Option("--undated", metavar="TIME", help="The time of rows that say none."),
    ] = None,
    on_conflict: Annotated[
        Literal["skip", "replace", "error"],
        typer.Option(
            "--on-conflict",
            help="A row came before and was changed since: skip it; replace what is stored "
            "(records are erased for good, documents get a newer version); or stop with an error.",
        ),
    ] = "skip",
    errors: Annotated[
        Path | None,
        typer.Option("--errors", help="Write refused rows' places and reasons here (JSON Lines)."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin at the first row, not where it stopped.")
    ] = False,
    rollback: Annotated[
        str | None,
        typer.Option("--rollback", metavar="ID", help="Take back what this migration brought in."),
    ] = None,
    reports: Annotated[
        bool, typer.Option("--reports", help="Show what the last migrations did.")
    ] = False,
) -> None:
    """Bring in what older programs kept.

    An interrupted migration goes on where it stopped. Rows that came before are duplicates. Refused rows and conflicts are counted, the others
    stored; the exit code is then 4.
    """
    if sum((file is not None, rollback is not None, reports)) != 1:
        raise typer.BadParameter("say one of FILE, --rollback and --reports", param_hint="FILE")
    if rollback is not None:
        _roll_back(session, rollback)
    elif reports:
        need_store(session, "look at")
        with session.service() as service:
            session.out.value({"items": service.older.reports(), "next": None})
    elif file is not None:
        from analect.compat.migrating.migration import Options

        options = Options(
            dry_run=dry_run,
            on_conflict=on_conflict,
            undated=None if undated is None else moment(undated),
            restart=restart,
        )
        report = _migrate(session, file, options, errors)
        _show(session, report)
        if report.refused and errors is None:
            say(f"{report.refused} rows were refused: --errors FILE says which and why")
        if report.incomplete:
            raise typer.Exit(TERMINAL)


def _migrate(session: Session, file: Path, options: Options, errors: Path | None) -> Report:
    from analect.compat.migrating.migration import Migration
    from analect.compat.migrating.tables import open_tables
    from analect.sources.jsonl import JsonLinesWriter

    with ExitStack() as stack:
        tables = stack.enter_context(open_tables(file))
        service = stack.enter_context(session.service())
        migration = Migration(
            service,
            tables,
            session.settings().home,
            options,
            clock=service.clock,
            random_bytes=os.urandom,
        )
        if errors is not None:
            writer = JsonLinesWriter(stack.enter_context(errors.open("wb")))
            migration.refused = lambda refusal: writer.write_object(
                refused(refusal, table=refusal.place, row=refusal.line)
            )
        progress = stack.enter_context(session.out.progress("migrating"))
        migration.advanced = progress
        return migration.run()


def _roll_back(session: Session, migration: str) -> None:
    need_store(session, "take back from")
    from analect.compat.migrating.migration import roll_back

    if sys.stdin.isatty():
        typer.confirm("Delete all that this migration brought in?", abort=True, err=True)
    with session.service() as service:
        done = roll_back(
            service,
            session.settings().home,
            migration,
            clock=service.clock,
            random_bytes=os.urandom,
        )
    session.out.value(done)


def _show(session: Session, report: Report) -> None:
    if session.json:
        session.out.value(report)
        return
    session.out.table({name: name for name in _COLUMNS}, [asdict(one) for one in report.tables])
    for table, waiting in report.waiting.items():
        session.out.lines([f"{table}: {waiting} waited there; everything is processed anew"])
    for table, rows in report.left_alone.items():
        session.out.lines([f"{table}: left alone, {rows} rows (not known)"])
    session.out.lines([f"{report.outcome}: migration {report.migration}"])
    if report.outcome != "dry-run" and report.stored:
        session.out.note(f"to take it back: analect migrate-data --rollback {report.migration}")
