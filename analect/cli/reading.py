"""list, show, thread, search, related and tail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from typing import Annotated, Literal

import typer

from analect.cli.filters import filtered
from analect.cli.output import brief, text_of
from analect.cli.reader import Flat, Listing
from analect.cli.session import Session, command
from analect.model.query import MAX_LIMIT, PageRequest, RecordFilter, SearchRequest
from analect.model.record import PAYLOAD_FIELDS

_COLUMNS = {"id": "id", "when": "when", "kind": "kind", "what": "what", "summary": "summary"}

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_LIMIT, help="At most so many.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on where a page ended.")]
Mode = Literal["text", "semantic", "hybrid"]
Tier = Literal["hot", "warm", "cold"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "list", remote=True)(filtered(list_records))
    command(app, "show", remote=True)(show)
    command(app, "thread", remote=True)(thread)
    command(app, "search", remote=True)(filtered(search))
    command(app, "related", remote=True)(related)
    command(app, "tail", remote=True)(tail)


def list_records(
    session: Session,
    *,
    wanted: RecordFilter,
    tier: Annotated[
        Tier | None, typer.Option("--tier", help="Of this tier; cold needs --from and --to.")
    ] = None,
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="The other way round.")
    ] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> None:
    """List records, newest first."""
    with session.reader() as reader:
        found = reader.page(
            replace(wanted, tier=tier), PageRequest(limit, cursor, descending=not oldest_first)
        )
    if session.json:
        session.out.value({"items": found.items, "next": found.next})
        return
    session.out.table(_COLUMNS, map(_row, found.items))
    _more(session, found)


def show(
    session: Session,
    record_id: Annotated[str, typer.Argument(metavar="ID", help="The record's id.")],
    tier: Annotated[
        Tier | None, typer.Option("--tier", help="Of this tier; cold ones only so.")
    ] = None,
) -> None:
    """Show one record with its content."""
    with session.reader() as reader:
        record = reader.get(record_id, tier)
    if session.json:
        session.out.value(record)
        return
    facts = {name: value for name, value in record.items() if name not in PAYLOAD_FIELDS}
    session.out.value(facts)
    for name in PAYLOAD_FIELDS:
        if name in record:
            session.out.lines(["", f"{name}:", text_of(record[name], indent=2)])


def thread(
    session: Session,
    thread_id: Annotated[str, typer.Argument(metavar="ID", help="The thread's id.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="With all facts.")] = False,
) -> None:
    """Show a conversation in order."""
    with session.reader() as reader:
        records = reader.thread(thread_id)
        if session.json:
            session.out.value({"items": list(records), "next": None})
            return
        for record in records:
            session.out.lines(_turn(record, verbose=verbose))


def search(
    session: Session,
    *,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words, or what is meant.")],
    mode: Annotated[Mode, typer.Option("--mode", help="By words, meaning, or both.")] = "text",
    wanted: RecordFilter,
    explain: Annotated[bool, typer.Option("--explain", help="Each score by its parts.")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> None:
    """Find records by words, by meaning, or by both.

    All words must be there; "a phrase", prefix*, -without and `a OR b` work.
    """
    request = SearchRequest(query, mode, wanted, limit, cursor, explain)
    with session.reader() as reader:
        found = reader.search(request)
    if session.json:
        reason = {} if found.reason is None else {"reason": found.reason}
        page = {"items": found.items, "next": found.next, "degraded": found.degraded}
        session.out.value({**page, **reason})
        return
    for hit in found.items:
        session.out.lines(_hit(hit))
    if found.degraded:
        session.out.note(f"degraded: {found.reason or 'an index is away'}")
    _more(session, found)


def related(
    session: Session,
    record_id: Annotated[str, typer.Argument(metavar="ID", help="The record's id.")],
    depth: Annotated[int, typer.Option("--depth", min=1, max=5, help="Hops.")] = 1,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="At most so many nodes.")
    ] = 100,
) -> None:
    """Show what a record is related to.

    Threads, sessions, tags and other records, with the records they come from.
    """
    with session.reader() as reader:
        found = reader.related(record_id, depth, limit)
    if session.json:
        session.out.value(found)
        return
    session.out.table(
        {"distance": "hops", "type": "type", "key": "key", "count": "records"},
        ({**node, "count": len(node.get("records", ()))} for node in found["nodes"]),
    )


def tail(
    session: Session,
    after: Annotated[str | None, typer.Option("--after", help="Go on behind this cursor.")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="All there is, first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Stop after.")] = None,
) -> None:
    """Follow what is stored, as it is stored, until interrupted."""
    with session.reader() as reader:
        for count, change in enumerate(reader.tail(after, from_start=from_start), start=1):
            if session.json:
                session.out.stream_item(change)
            else:
                session.out.lines(_change(change))
            if count == limit:
                return


def _row(record: Flat) -> Flat:
    return {
        "id": record["id"],
        "when": _when(record),
        "kind": record["kind"],
        "what": brief(record.get("name") or record.get("model") or record.get("service"), 24),
        "summary": brief(_content(record)),
    }


def _content(record: Flat) -> object:
    if record.get("payload_state") in {"erased", "omitted"}:
        return f"({record['payload_state']})"
    return next((record[name] for name in PAYLOAD_FIELDS if record.get(name)), None)


def _when(record: Flat) -> str:
    return str(record["occurred_at"])[:19].replace("T", " ")


def _turn(record: Flat, *, verbose: bool) -> Iterator[str]:
    who = record.get("role") or record["kind"]
    yield f"{_when(record)}  {who}  {record['id']}"
    if verbose:
        shown = {"id", "kind", "occurred_at", "role", *PAYLOAD_FIELDS}
        for name, value in record.items():
            if name not in shown:
                yield f"  {name}: {text_of(value)}"
    if record.get("payload_state") in {"erased", "omitted"}:
        yield f"  ({record['payload_state']})"
    for name in PAYLOAD_FIELDS if verbose else ("input", "output"):
        if name in record:
            mark = {"input": ">", "output": "<"}.get(name, f"{name}:")
            for line in text_of(record[name], indent=2).splitlines():
                yield f"  {mark} {line}"
    yield ""


def _hit(hit: Flat) -> Iterator[str]:
    record = hit["record"]
    yield f"{record['id']}  {_when(record)}  {record['kind']}  {hit['score']:.4g}"
    snippets = hit.get("highlights") or [brief(_content(record), 100)]
    for snippet in snippets:
        yield f"  {' '.join(unescape(snippet).split())}"
    for part, figure in (hit.get("explanation") or {}).items():
        yield f"  {part}: {figure:.6g}"


def _change(change: Flat) -> Iterator[str]:
    record = change.get("record")
    if record is None:
        yield f"{change['operation']}  {change['id']}"
    else:
        row = _row(record)
        yield f"{row['when']}  {row['id']}  {row['kind']}  {row['what']}  {row['summary']}"


def _more(session: Session, found: Listing) -> None:
    if not found.items:
        session.out.note("nothing found")
    elif found.next is not None:
        session.out.note(f"there is more: --cursor {found.next}")
