"""Every call but writing, as data: the sync and the async client carry them out alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from analect.model.errors import InvalidInput
from analect.model.flat import format_time, parse_time
from analect.model.ids import to_micros

Params = tuple[tuple[str, str], ...]
Moment = datetime | str

_RENAMED = {"thread_id": "thread", "session_id": "session", "since": "from", "until": "to"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``repeatable``: doing it twice is doing it once, so it may be retried after a
    broken answer.
    """

    method: str
    path: str
    params: Params = ()
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    repeatable: bool = True

    def at(self, cursor: str) -> Call:
        """The same listing, from ``cursor`` on."""
        kept = tuple(pair for pair in self.params if pair[0] != "cursor")
        return replace(self, params=(*kept, ("cursor", cursor)))


def filters(
    where: Mapping[str, Any],
    *,
    tags: Iterable[str] = (),
    dimensions: Mapping[str, str] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Params:
    """Query parameters of a filter; ``None`` is no condition."""
    said = [(_RENAMED.get(name, name), _text(value)) for name, value in where.items()]
    pairs = [(name, value) for name, value in said if value is not None]
    pairs += [("tag", tag) for tag in ([tags] if isinstance(tags, str) else tags)]
    pairs += [(f"dim.{name}", value) for name, value in (dimensions or {}).items()]
    pairs += [("from", _moment(since, "since"))] if since is not None else []
    pairs += [("to", _moment(until, "until"))] if until is not None else []
    return tuple(pairs)


def get(record_id: str, tier: str | None) -> Call:
    """One record."""
    where = () if tier is None else (("tier", tier),)
    return Call("GET", f"/v1/records/{_quoted(record_id)}", where)


def listing(where: Params, limit: int) -> Call:
    """The first page of records."""
    return Call("GET", "/v1/records", (*where, ("limit", str(limit))))


def aggregate(by: Iterable[str], where: Params) -> Call:
    """Figures by group, all in one answer."""
    names = [by] if isinstance(by, str) else by
    return Call("GET", "/v1/aggregate", (*where, ("by", ",".join(names))))


def thread(thread_id: str, limit: int) -> Call:
    """The first page of a conversation."""
    return Call("GET", f"/v1/threads/{_quoted(thread_id)}", (("limit", str(limit)),))


def search(query: str, where: Params, options: Mapping[str, Any]) -> Call:
    """A search; the query travels in the body, where no log of addresses sees it."""
    body: dict[str, Any] = {"q": query}
    tags = [value for name, value in where if name == "tag"]
    dimensions = {
        name.removeprefix("dim."): value for name, value in where if name.startswith("dim.")
    }
    body |= {n: v for n, v in where if n != "tag" and not n.startswith("dim.")}
    body |= {name: value for name, value in options.items() if value is not None}
    if tags:
        body["tag"] = tags
    if dimensions:
        body["dimensions"] = dimensions
    return Call("POST", "/v1/search", body=body)


def related(record_id: str, depth: int, limit: int) -> Call:
    """Graph neighbours."""
    params = (("depth", str(depth)), ("limit", str(limit)))
    return Call("GET", f"/v1/related/{_quoted(record_id)}", params)


def changes(after: str | None, limit: int) -> Call:
    """What was committed behind ``after``."""
    cursor = () if after is None else (("after", after),)
    return Call("GET", "/v1/changes", (*cursor, ("limit", str(limit))))


def status() -> Call:
    """What an operator wants to see."""
    return Call("GET", "/v1/status")


def feedback(record_id: str, said: Mapping[str, Any]) -> Call:
    """A later judgement of a record."""
    body = {name: value for name, value in said.items() if value is not None}
    path = f"/v1/records/{_quoted(record_id)}/feedback"
    return Call("POST", path, body=body, repeatable=False)


def put_document(
    kind: str, document_id: str, body: Any, said: Mapping[str, Any], expected: int | None
) -> Call:
    """A new version of a document."""
    content = {"body": body, **{n: v for n, v in said.items() if v is not None}}
    if isinstance(content.get("expires_at"), datetime):
        content["expires_at"] = _moment(content["expires_at"], "expires_at")
    return Call(
        "PUT",
        _document(kind, document_id),
        body=content,
        headers=_if_match(expected),
        repeatable=expected is not None,
    )


def get_document(kind: str, document_id: str, version: int | None) -> Call:
    """A document, the latest version unless another is asked for."""
    params = () if version is None else (("version", str(version)),)
    return Call("GET", _document(kind, document_id), params)


def list_documents(kind: str, owner: str | None, status: str | None, limit: int) -> Call:
    """The first page of documents of a kind."""
    params = filters({"owner": owner, "status": status})
    return Call("GET", f"/v1/documents/{_quoted(kind)}", (*params, ("limit", str(limit))))


def delete_document(kind: str, document_id: str, expected: int | None) -> Call:
    """Forget a document."""
    return Call(
        "DELETE", _document(kind, document_id), headers=_if_match(expected), repeatable=False
    )


def _document(kind: str, document_id: str) -> str:
    return f"/v1/documents/{_quoted(kind)}/{_quoted(document_id)}"


def _if_match(expected: int | None) -> tuple[tuple[str, str], ...]:
    if expected is None:
        return ()
    if expected == 0:
        return (("if-none-match", "*"),)
    return (("if-match", f'"{expected}"'),)


def _quoted(part: str) -> str:
    if not part:
        raise InvalidInput("an id must not be empty", field="id")
    return quote(part, safe="")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _moment(at: Moment, field: str) -> str:
    if isinstance(at, str):
        return format_time(parse_time(at, field=field))
    if at.tzinfo is None:
        raise InvalidInput(f"{field} needs a time zone", field=field)
    return format_time(to_micros(at))
