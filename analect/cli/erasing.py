"""erase subject, session, thread, record; erase receipts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from analect.cli.session import TRANSIENT, Session, command, group_of, need_store, say
from analect.model.errors import InvalidInput

_FINAL = "final"

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Target = Annotated[str, typer.Argument(metavar="ID", help="As you know it.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = group_of("Erase for good, keys first.")
    command(group, "subject")(subject)
    command(group, "session")(session_)
    command(group, "thread")(thread)
    command(group, "record")(record)
    command(group, "receipts")(receipts)
    app.add_typer(group, name="erase")


def subject(
    session: Session,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="A file with the subject, or one a line; else standard input."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Erase everything of a person: records and documents.

    The name comes from standard input or a file, for a command line is seen by others.
    """
    need_store(session, "erase from")
    if file is not None:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"cannot read {file}", field="file") from error
    else:
        session.out.note("the subject, then end of input:") if sys.stdin.isatty() else None
        lines = sys.stdin.read().splitlines()
    targets = [line.strip() for line in lines if line.strip()]
    if not targets:
        raise InvalidInput("no subject was given on standard input or in --file", field="subject")
    _erase(session, "subject", targets, yes=yes)


def session_(session: Session, target: Target, yes: Yes = False) -> None:
    """Erase the records of a session."""
    need_store(session, "erase from")
    _erase(session, "session", [target], yes=yes)


def thread(session: Session, target: Target, yes: Yes = False) -> None:
    """Erase the records of a thread."""
    need_store(session, "erase from")
    _erase(session, "thread", [target], yes=yes)


def record(session: Session, target: Target, yes: Yes = False) -> None:
    """Erase one record."""
    need_store(session, "erase from")
    _erase(session, "record", [target], yes=yes)


def receipts(session: Session) -> None:
    """List the receipts of what was erased, newest first."""
    need_store(session, "look at")
    with session.service() as service:
        session.out.value({"items": service.erasures(), "next": None})


def _erase(session: Session, scope: str, targets: list[str], *, yes: bool) -> None:
    if not yes and sys.stdin.isatty():
        typer.confirm("Erase it for good? No backup brings it back", abort=True, err=True)
    with session.service() as service:
        done = service.erase_many(scope, targets)
    session.out.value(done[0] if len(done) == 1 else {"items": done, "next": None})
    if any(receipt.state != _FINAL for receipt in done):
        say(
            "not final yet: what is left is settled at the next start; see `analect erase receipts`"
        )
        raise typer.Exit(TRANSIENT)
