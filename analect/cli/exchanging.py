"""export and import."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from getpass import getuser
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from analect.cli.filters import filtered
from analect.cli.output import refused
from analect.cli.session import TERMINAL, Session, command, need_store, say
from analect.model.errors import InvalidInput
from analect.model.query import RecordFilter

if TYPE_CHECKING:
    from analect.model.record import Record
    from analect.service import AnalysisService

_STANDARD = "-"


ExportFormat = Literal["jsonl", "csv", "parquet"]
ImportFormat = Literal["jsonl", "csv"]
OnConflict = Literal["skip", "replace", "error"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "export")(filtered(export))
    command(app, "import")(import_file)


def export(
    session: Session,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to; - is standard output.")],
    form: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="By the file's name unless told.", show_default=False),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject",
            help="Everything of one person, documents too; - reads the name from standard input.",
        ),
    ] = None,
    tier: Annotated[
        Literal["hot", "warm", "cold"] | None,
        typer.Option("--tier", help="Of this tier; cold needs --from and --to."),
    ] = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Leave payloads out, opening nothing.")
    ] = False,
    wanted: RecordFilter,
) -> None:
    """Write records to a file, which appears whole or not at all.

    Documents of a subject go beside it, into NAME.documents.jsonl. Who exported opened payloads,
    and of what, is in the log of accesses.
    """
    need_store(session, "export from")
    from analect.sources.exchange import export_records, format_of

    chosen = format_of(file, form)
    target = None if file == _STANDARD else Path(file)
    if target is None and (chosen == "parquet" or subject is not None or session.json):
        raise typer.BadParameter("Parquet, --subject and --json need a file", param_hint="FILE")
    person = _standard_line() if subject == _STANDARD else subject
    wanted = replace(wanted, tier=tier)
    if person is not None:
        wanted = replace(wanted, equals={**wanted.equals, "subject": person})
    done: dict[str, Any] = {"format": chosen, "file": None if target is None else str(target)}
    with session.service() as analect, session.out.progress("exporting") as progress:
        records = _records(analect, wanted, person, sealed=sealed)
        done["records"] = export_records(
            records, target, chosen, lambda count: progress(count, None)
        )
        if person is not None and target is not None:
            from analect.sources.exchange import documents_beside, export_documents

            beside = documents_beside(target)
            done["documents"] = export_documents(analect.subject_data(person)[1], beside)
            done["documents_file"] = str(beside) if done["documents"] else None
    if target is not None:
        session.out.value(done)


def _records(
    analect: AnalysisService, wanted: RecordFilter, person: str | None, *, sealed: bool
) -> Iterator[Record]:
    """What is exported; of a person alone what is cold, too."""
    if person is not None and not sealed and wanted == RecordFilter(equals={"subject": person}):
        return analect.subject_data(person, actor=getuser())[0]
    return analect.export(wanted, actor=getuser(), sealed=sealed)


def import_file(
    session: Session,
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="From where; - is standard input.")],
    form: Annotated[
        ImportFormat | None,
        typer.Option("--format", help="By the file's name unless told.", show_default=False),
    ] = None,
    on_conflict: Annotated[
        OnConflict,
        typer.Option(
            "--on-conflict",
            help="An id is stored with other content: skip the line; replace what is stored (it "
            "is erased for good, then the line is stored); or stop with an error.",
        ),
    ] = "skip",
    errors: Annotated[
        Path | None,
        typer.Option(
            "--errors", help="Write refused lines' numbers and reasons here (JSON Lines)."
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin at the first line, not where it stopped.")
    ] = False,
) -> None:
    """Read records from a file.

    An interrupted import goes on where it stopped. A line that is stored already is a duplicate. Refused lines are named, the others stored; the
    exit code is then 4.
    """
    from analect.sources.exchange import format_of

    chosen = format_of(file, form, allowed=("jsonl", "csv"))
    source = None if file == _STANDARD else Path(file)
    if source is not None and not source.is_file():
        raise InvalidInput(f"there is no file {source}", field="file")
    done = _run_import(session, source, chosen, on_conflict, errors, restart=restart)
    session.out.value(done)
    if done["refused"]:
        if errors is None:
            say(f"{done['refused']} lines were refused: --errors FILE says which and why")
        raise typer.Exit(TERMINAL)


def _run_import(
    session: Session,
    source: Path | None,
    form: str,
    on_conflict: OnConflict,
    errors: Path | None,
    *,
    restart: bool,
) -> dict[str, Any]:
    from analect.sources.csv_records import read_csv
    from analect.sources.importing import Checkpoint, Importer, Progress, digest_of
    from analect.sources.jsonl import JsonLinesWriter, read_json_lines

    settings = session.settings()
    with ExitStack() as stack:
        importer = Importer(
            sink=stack.enter_context(session.service()),
            progress=Progress(started_at=time.time_ns() // 1000),
            on_conflict=on_conflict,
        )
        stream: IO[bytes] = sys.stdin.buffer
        if source is not None:
            stream = stack.enter_context(source.open("rb"))
            address = settings.database_url
            store = str(settings.home) if address is None else address.get_secret_value()
            importer.digest = digest_of(source, store)
            importer.checkpoint = Checkpoint(settings.home / "imports", importer.digest)
            if restart:
                importer.checkpoint.forget()
            importer.progress = importer.checkpoint.load() or importer.progress
        resumed = importer.progress.line
        if resumed:
            session.out.note(f"going on behind line {resumed} (--restart begins again)")
        if errors is not None:
            refusals = stack.enter_context(errors.open("ab" if resumed else "wb"))
            writer = JsonLinesWriter(refusals)
            importer.refused = lambda refusal: writer.write_object(
                refused(refusal, line=refusal.line)
            )
        progress = stack.enter_context(session.out.progress("importing"))
        importer.advanced = lambda so_far: progress(so_far.read, None)
        read = read_csv if form == "csv" else read_json_lines
        done = importer.run(read(stream, skip=resumed))
        return {
            "read": done.read,
            "stored": done.stored,
            "duplicates": done.duplicates,
            "conflicts": done.conflicts,
            "replaced": done.replaced,
            "refused": done.refused,
            "resumed_behind_line": resumed,
        }


def _standard_line() -> str:
    line = sys.stdin.readline().strip()
    if not line:
        raise InvalidInput(
            "nothing came on standard input: send the subject there", field="subject"
        )
    return line
