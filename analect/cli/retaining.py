"""retention plan, run, explain, hold, release, holds, summaries, reports; archive."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from analect.cli.output import plain
from analect.cli.session import TERMINAL, Session, command, group_of, need_store, say
from analect.model.errors import ConfigurationError, InvalidInput, NotFound
from analect.model.query import MAX_LIMIT, PageRequest

if TYPE_CHECKING:
    from analect.lifecycle.retention.plan import Line
    from analect.model.record import Record
    from analect.service import AnalysisService

Policies = Annotated[
    list[Path] | None,
    typer.Option(
        "--policy",
        help="A policy file, YAML or JSON; repeat for more (setting retention.policies).",
    ),
]
_COLUMNS = ("policy", "rule", "tier", "to", "kind", "month", "records", "bytes", "oldest", "newest")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = group_of("Let records age by policy.")
    command(group, "plan")(plan)
    command(group, "run")(run)
    command(group, "explain")(explain)
    command(group, "hold")(hold)
    command(group, "release")(release)
    command(group, "holds")(holds)
    command(group, "summaries")(summaries)
    command(group, "reports")(reports)
    app.add_typer(group, name="retention")
    command(app, "archive")(archive)


def plan(
    session: Session,
    policy: Policies = None,
    totals: Annotated[
        bool, typer.Option("--totals", help="Only how many records, without the lines.")
    ] = False,
) -> None:
    """Say exactly what `analect retention run` would do now; change nothing."""
    need_store(session, "plan for")
    with session.service() as service:
        found = service.retention.plan(service.retention.policies(policy or ()))
    if session.json:
        lines = {} if totals else {"items": shown(found.lines), "next": None}
        session.out.value({"at": found.at, "records": found.records, "held": found.held, **lines})
        return
    if not totals:
        session.out.table({name: name for name in _COLUMNS}, shown(found.lines))
    session.out.note(f"{found.records} records would move; {found.held} are due but held")


def run(session: Session, policy: Policies = None) -> None:
    """Do what `analect retention plan` says, and only that; exit code 3 while another run is at it."""
    need_store(session, "run on")
    with session.service() as service, session.out.progress("retention") as progress:
        policies = service.retention.policies(policy or ())
        report = asdict(service.retention.run(policies, progress))
        settings = session.settings()
    lines = report.pop("lines")
    session.out.value({**report, "lines": len(lines)})
    leave_summary(settings.retention.termination_log, report)


def archive(session: Session, policy: Policies = None) -> None:
    """The daily job: let records age, tidy up, check files, report.

    Retention, expired documents, summaries. Exit code 4 when a file is damaged; exit code 3 while a retention run is at it.
    """
    need_store(session, "archive")
    with session.service() as service, session.out.progress("archive") as progress:
        policies = service.retention.policies(policy or ())
        report = asdict(service.retention.archive(policies, progress))
    report["retention"]["lines"] = len(report["retention"]["lines"])
    if session.json:
        session.out.value(report)
    else:
        session.out.lines(told(report))
    leave_summary(session.settings().retention.termination_log, report)
    if report["damaged"]:
        say("files are damaged: restore them from a backup (`analect restore`)")
        raise typer.Exit(TERMINAL)


def summaries(
    session: Session,
    family: Annotated[
        str,
        typer.Argument(
            metavar="FAMILY",
            help="interactions, queries, content, performance, business or sessions.",
        ),
    ],
    first: Annotated[str, typer.Option("--from", metavar="MONTH", help="YYYY-MM.")] = "0000-00",
    last: Annotated[str, typer.Option("--to", metavar="MONTH", help="Included.")] = "9999-12",
    by_year: Annotated[bool, typer.Option("--by-year", help="Years in place of months.")] = False,
) -> None:
    """Show the monthly figures of a family, over hot, warm and what left."""
    need_store(session, "look at")
    with session.service() as service:
        items = service.retention.summaries(family, first, last, by_year=by_year)
    if session.json:
        session.out.value({"items": items, "next": None})
        return
    when = "year" if by_year else "month"
    columns = (when, "group", "records", "successes", "failures", "cost", "duration_p95")
    session.out.table({name: name for name in columns}, items)


def explain(
    session: Session,
    id: Annotated[str, typer.Argument(metavar="ID", help="The record.")],
    policy: Policies = None,
) -> None:
    """Say why a record is in its tier, and when it moves next."""
    need_store(session, "explain")
    with session.service() as service:
        record = _of_any_tier(service, id)
        found = service.retention.explain(record, service.retention.policies(policy or ()))
    session.out.value(found)


def _of_any_tier(service: AnalysisService, id: str) -> Record:
    """A record by its id.

    Raises:
        NotFound: it is in no tier.
    """
    for tier in (None, "cold"):
        with suppress(NotFound):
            return service.get(id, tier)
    raise NotFound("there is no record with this id", field="id")


def hold(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the hold is called.")],
    *,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Of this kind.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Has this tag.")] = None,
    service: Annotated[list[str] | None, typer.Option("--service", help="Of this service.")] = None,
    thread: Annotated[list[str] | None, typer.Option("--thread", help="Of this thread.")] = None,
    subjects: Annotated[
        bool, typer.Option("--subjects", help="Of the people named on standard input, one a line.")
    ] = False,
) -> None:
    """Lay a legal hold: nothing of what it selects is moved or removed by policy while it stands.

    Options of one kind are alternatives; different ones must all hold.
    """
    need_store(session, "hold records in")
    from pydantic import ValidationError

    from analect.lifecycle.retention.policy import LegalHold, Selector

    people = [line.strip() for line in sys.stdin if line.strip()] if subjects else []
    try:
        laid = LegalHold(
            name=name,
            selector=Selector(
                kinds=tuple(kind or ()),
                tags=tuple(tag or ()),
                services=tuple(service or ()),
                threads=tuple(thread or ()),
                subjects=tuple(people),
            ),
        )
    except ValidationError as error:
        raise InvalidInput(
            "a hold's name has lower-case letters, digits, dots and dashes; its values are texts",
            field="name",
        ) from error
    with session.service() as store:
        done = store.retention.hold(laid.name, laid.selector)
    session.out.value({"name": done.name, "created_at": done.created_at})


def release(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The hold.")],
) -> None:
    """Release a legal hold that was laid by hand."""
    need_store(session, "release a hold of")
    with session.service() as service:
        service.retention.release(name)
    session.out.value({"released": name})


def holds(session: Session) -> None:
    """List the legal holds that were laid by hand; those of policies are in the policies."""
    need_store(session, "look at")
    with session.service() as service:
        items = [asdict(one) for one in service.retention.holds()]
    session.out.value({"items": items, "next": None})


def reports(
    session: Session,
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The whole of this one.", show_default=False)
    ] = None,
    *,
    job: Annotated[
        Literal["archive", "retention", "purge", "migration", "drill"] | None,
        typer.Option("--job", help="Of this job alone; purge: receipts of what was deleted."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=MAX_LIMIT, help="At most so many.")
    ] = 50,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on where a page ended.")
    ] = None,
) -> None:
    """List what the jobs that let records age reported, newest first, or show one of these whole."""
    need_store(session, "look at")
    if id is not None:
        with session.service() as service:
            told_of, report = service.retention.report(id)
        session.out.value({**asdict(told_of), "report": readable(report)})
        return
    with session.service() as service:
        page = service.retention.report_page(job, PageRequest(limit, cursor))
    items = [plain(one) for one in page.items]
    if session.json:
        session.out.value({"items": items, "next": page.next})
        return
    columns = {"id": "id", "started_at": "when", "job": "job", "outcome": "outcome"}
    session.out.table(columns, items)
    if page.next is not None:
        session.out.note(f"there is more: --cursor {page.next}")


def readable(value: Any) -> Any:
    """A report whose lines say oldest and newest as times, like a plan's."""
    from analect.model.flat import format_time

    if isinstance(value, list):
        return [readable(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: format_time(one) if name in {"oldest", "newest"} else readable(one)
        for name, one in value.items()
    }


def told(report: dict[str, Any]) -> list[str]:
    """The report of a day for people: what was done, and what is wrong, last."""
    aged = report["retention"]
    took = (report["finished_at"] - report["started_at"]) / 1_000_000
    lines = [
        f"{report['outcome']} in {took:.1f} s, report {report['id']}",
        (
            f"  records: {aged['archived']} to warm, {aged['compressed']} to cold, "
            f"{aged['deleted']} deleted; {aged['held']} due but held; "
            f"{_size(aged['bytes_freed'])} freed"
        ),
        (
            f"  tidied: {report['expired_documents']} expired documents, "
            f"{report['temporary_files']} files of writers that broke off"
        ),
        (
            f"  summaries: {report['months_refreshed']} months counted, "
            f"{report['aggregates_dropped']} rows dropped"
        ),
        f"  files: {report['files']} there, {report['files_hashed']} read and hashed today",
    ]
    if aged["outcome"] != "complete":
        lines.append(
            f"  retention was {aged['outcome']}: it met a damaged file; no row was removed"
        )
    return [*lines, *(f"  DAMAGED: {name}" for name in report["damaged"])]


def _size(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def shown(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Lines of a plan for people and machines."""
    from analect.model.flat import format_time

    return [
        {
            **{name: getattr(line, name) for name in _COLUMNS},
            "oldest": format_time(line.oldest),
            "newest": format_time(line.newest),
        }
        for line in lines
    ]


def leave_summary(path: Path | None, report: dict[str, Any]) -> None:
    """The summary for who started this as a job: at most 4 KiB of JSON.

    Raises:
        ConfigurationError: it cannot be written there.
    """
    if path is None:
        return
    import json

    text = json.dumps(plain(report), default=str)
    try:
        path.write_text(text if len(text) <= 4096 else json.dumps({"outcome": report["outcome"]}))
    except OSError as error:
        raise ConfigurationError(
            f"the work is done and its report is kept (`analect retention reports`), but the summary "
            f"of it cannot be written to {path}: {error.strerror}",
            field="retention.termination_log",
        ) from error
