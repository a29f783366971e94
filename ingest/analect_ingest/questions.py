"""Query parameters as filters, pages and searches.

One table says how each parameter is read; the OpenAPI document is made from the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from analect.model.errors import InvalidInput, InvalidQuery
from analect.model.flat import parse_time
from analect.model.ids import Micros, RecordId
from analect.model.query import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    TIERS,
    NumberRange,
    PageRequest,
    RecordFilter,
    SearchRequest,
)
from analect.model.record import MAX_SHORT, NUMBER_FIELDS, TEXT_FIELDS
from analect_ingest.decode import NAMEABLE

Pairs = Iterable[tuple[str, str]]
"""Parameters as they came: names may repeat."""

SHORT_NAMES = {name.removesuffix("_id"): name for name in TEXT_FIELDS if name.endswith("_id")}
"""``thread`` for ``thread_id`` and so on; both are understood."""
EQUALS = {
    **{name: name for name in ("kind", "external_id", *TEXT_FIELDS)},
    **SHORT_NAMES,
}
MODES = ("text", "semantic", "hybrid")
_MAX_QUERY = 4096
_MAX_VALUE = 4096


@dataclass(slots=True)
class _Question:
    """Parameters taken apart, before they become what the façade takes."""

    equals: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    dimensions: dict[str, str] = field(default_factory=dict)
    exact: dict[str, float] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    success: bool | None = None
    since: Micros | None = None
    until: Micros | None = None
    limit: int | None = None
    cursor: str | None = None
    others: dict[str, str] = field(default_factory=dict)

    def filter(self) -> RecordFilter:
        ranges = {name: NumberRange(value, value) for name, value in self.exact.items()}
        for name in {*self.least, *self.most}:
            ranges[name] = NumberRange(self.least.get(name), self.most.get(name))
        return RecordFilter(
            equals=self.equals,
            tags=tuple(self.tags),
            dimensions=self.dimensions,
            numbers=ranges,
            success=self.success,
            since=self.since,
            until=self.until,
        )


def records_question(pairs: Pairs) -> tuple[RecordFilter, PageRequest]:
    """Of ``GET /v1/records``.

    Raises:
        InvalidQuery: ``field`` names the parameter.
    """
    question = _taken(pairs, {"order", "tier"})
    page = PageRequest(
        question.limit or DEFAULT_LIMIT,
        question.cursor,
        descending=_choice(question, "order", ("desc", "asc")) == "desc",
    )
    return replace(question.filter(), tier=_tier(question, TIERS)), page


def aggregate_question(pairs: Pairs) -> tuple[RecordFilter, tuple[str, ...]]:
    """Of ``GET /v1/aggregate``: which records, and by what."""
    question = _taken(pairs, {"by", "tier"})
    if question.limit is not None or question.cursor is not None:
        raise InvalidQuery("every group is in one answer", field="limit")
    named = question.others.get("by", "").split(",")
    by = tuple(SHORT_NAMES.get(name, name) for name in map(str.strip, named) if name)
    return replace(question.filter(), tier=_tier(question, TIERS[:2])), by


def thread_question(pairs: Pairs) -> tuple[PageRequest, str | None]:
    """Of ``GET /v1/threads/{id}``: a page in the order of the conversation, and its tier."""
    question = _only(pairs, {"limit", "cursor", "tier"})
    page = PageRequest(question.limit or DEFAULT_LIMIT, question.cursor, descending=False)
    return page, _tier(question, TIERS)


def record_question(pairs: Pairs) -> str | None:
    """Of ``GET /v1/records/{id}``: its tier."""
    return _tier(_only(pairs, {"tier"}), TIERS)


def changes_question(pairs: Pairs) -> tuple[str | None, int]:
    """Of ``GET /v1/changes``: (after, limit)."""
    question = _only(pairs, {"limit", "after"})
    return question.others.get("after") or None, question.limit or DEFAULT_LIMIT


def related_question(pairs: Pairs) -> tuple[int, int]:
    """Of ``GET /v1/related/{id}``: (depth, limit)."""
    question = _only(pairs, {"limit", "depth"})
    depth = _whole(question.others.get("depth", "1"), "depth", 1, 5)
    return depth, question.limit or 100


def path_question(pairs: Pairs) -> int:
    """Of ``GET /v1/related/{id}/to/{target}``: how many steps at most."""
    return _whole(_only(pairs, {"steps"}).others.get("steps", "6"), "steps", 1, 20)


def limit_question(pairs: Pairs, default: int) -> int:
    """Of a call that takes nothing else."""
    return _only(pairs, {"limit"}).limit or default


def documents_question(pairs: Pairs) -> tuple[str | None, str | None, PageRequest]:
    """Of ``GET /v1/documents/{kind}``: (owner, status, page)."""
    question = _only(pairs, {"limit", "cursor", "owner", "status"})
    others = question.others
    page = PageRequest(question.limit or DEFAULT_LIMIT, question.cursor)
    return others.get("owner"), others.get("status"), page


def version_question(pairs: Pairs) -> int | None:
    """Of a document: the version that is meant."""
    text = _only(pairs, {"version"}).others.get("version")
    return None if text is None else _whole(text, "version", 0, 2**31 - 1)


def no_question(pairs: Pairs) -> None:
    """Of a call without parameters."""
    _only(pairs, ())


def search_question(pairs: Pairs) -> SearchRequest:
    """Of ``GET /v1/search`` and, its body taken apart by :func:`pairs_of`, of the ``POST``."""
    question = _taken(pairs, {"q", "mode", "tier", "explain", "after"})
    tier = _tier(question, TIERS[:2])
    query = question.others.get("q", "")
    if not query.strip():
        raise InvalidQuery("q is missing: say what to search for", field="q")
    if len(query) > _MAX_QUERY:
        raise InvalidQuery(f"q is over {_MAX_QUERY} characters", field="q")
    after = question.others.get("after")
    return SearchRequest(
        query=query,
        mode=_choice(question, "mode", MODES),
        filter=replace(question.filter(), tier=tier),
        limit=question.limit or 20,
        cursor=question.cursor,
        explain=_switch(question.others.get("explain", "false"), "explain"),
        after=None if after is None else RecordId(after),
    )


def pairs_of(body: Any) -> list[tuple[str, str]]:
    """The same parameters, given as a JSON object: lists repeat a name, ``dimensions`` is an
    object of them, numbers and switches may be given as such.

    Raises:
        InvalidQuery: it is no object, or a value is none of these.
    """
    if not isinstance(body, Mapping):
        raise InvalidQuery("the body must be a JSON object", field="body")
    pairs: list[tuple[str, str]] = []
    for name, value in body.items():
        if name == "dimensions" and isinstance(value, Mapping):
            pairs += [(f"dim.{inner}", _plain(v, f"dim.{inner}")) for inner, v in value.items()]
        elif name in {"tag", "tags"} and isinstance(value, list):
            pairs += [("tag", _plain(one, "tag")) for one in value]
        elif value is not None:
            pairs.append((name, _plain(value, name)))
    return pairs


def _plain(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return repr(value)
    raise InvalidQuery(f"{_said(name)} has the wrong type", field=_said(name))


def _taken(pairs: Pairs, others: Iterable[str]) -> _Question:
    """Filters, page and the ``others`` that this call knows."""
    known = frozenset(others)
    question = _Question()
    seen: set[str] = set()
    for name, value in pairs:
        _check_value(name, value)
        if name in seen and name != "tag":
            raise InvalidQuery(f"{_said(name)} is given twice", field=_said(name))
        seen.add(name)
        if name in known:
            question.others[name] = value
        elif (read := _READERS.get(name)) is not None:
            read(question, name, value)
        elif name.startswith("dim.") and 4 < len(name) <= 4 + MAX_SHORT:
            question.dimensions[name[4:]] = value
        else:
            raise InvalidQuery(f"there is no parameter {_said(name)} here", field=_said(name))
    return question


def _only(pairs: Pairs, names: Iterable[str]) -> _Question:
    """As :func:`_taken`, of a call that has these parameters and no filter."""
    allowed = frozenset(names)
    pairs = list(pairs)
    for name, _ in pairs:
        if name not in allowed:
            raise InvalidQuery(f"there is no parameter {_said(name)} here", field=_said(name))
    return _taken(pairs, allowed - {"limit", "cursor"})


def _check_value(name: str, value: str) -> None:
    if len(value) > _MAX_VALUE:
        raise InvalidQuery(f"{_said(name)} is over {_MAX_VALUE} characters", field=_said(name))
    if "\0" in value or "\0" in name:
        raise InvalidQuery(f"{_said(name)} holds a NUL", field=_said(name))
    if not (value.isascii() and name.isascii()):
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            raise InvalidQuery(f"{_said(name)} holds a lone surrogate", field=_said(name)) from None


def _said(name: str) -> str:
    """A parameter's name as a message may say it: what came may be anything, so only words are."""
    return name if NAMEABLE.match(name) else "(unknown)"


def _tier(question: _Question, tiers: tuple[str, ...]) -> str | None:
    """The tier that is asked for; None: hot and warm together."""
    tier = question.others.get("tier")
    if tier is not None and tier not in tiers:
        raise InvalidQuery(f"tier must be one of {', '.join(tiers)}", field="tier")
    return tier


def _choice(question: _Question, name: str, choices: tuple[str, ...]) -> str:
    value = question.others.get(name, choices[0])
    if value not in choices:
        raise InvalidQuery(f"{name} must be one of {', '.join(choices)}", field=name)
    return value


def _whole(text: str, name: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise InvalidQuery(f"{name} must be a whole number from {least} to {most}", field=name)


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number) or "_" in text:
        raise InvalidQuery(f"{name} must be a finite number", field=name)
    return number


def _switch(text: str, name: str) -> bool:
    if text not in {"true", "false"}:
        raise InvalidQuery(f"{name} must be true or false", field=name)
    return text == "true"


def _time(text: str, name: str) -> Micros:
    try:
        # A plus sign that was not escaped arrives as a space.
        return parse_time(text[:-6] + text[-6:].replace(" ", "+"), field=name)
    except InvalidInput as error:
        raise InvalidQuery(str(error), field=name) from error


def _read_equal(question: _Question, name: str, value: str) -> None:
    column = EQUALS[name]
    if column in question.equals:
        raise InvalidQuery(f"{name} is given twice", field=name)
    question.equals[column] = value


def _read_tag(question: _Question, _name: str, value: str) -> None:
    question.tags.append(value)


def _read_exact(question: _Question, name: str, value: str) -> None:
    question.exact[name] = _number(value, name)


def _read_least(question: _Question, name: str, value: str) -> None:
    question.least[name.removeprefix("min_")] = _number(value, name)


def _read_most(question: _Question, name: str, value: str) -> None:
    question.most[name.removeprefix("max_")] = _number(value, name)


def _read_success(question: _Question, name: str, value: str) -> None:
    question.success = _switch(value, name)


def _read_since(question: _Question, name: str, value: str) -> None:
    question.since = _time(value, name)


def _read_until(question: _Question, name: str, value: str) -> None:
    question.until = _time(value, name)


def _read_limit(question: _Question, name: str, value: str) -> None:
    question.limit = _whole(value, name, 1, MAX_LIMIT)


def _read_cursor(question: _Question, _name: str, value: str) -> None:
    question.cursor = value or None


_READERS: dict[str, Callable[[_Question, str, str], None]] = {
    **dict.fromkeys(EQUALS, _read_equal),
    "tag": _read_tag,
    **dict.fromkeys(NUMBER_FIELDS, _read_exact),
    **{f"min_{name}": _read_least for name in NUMBER_FIELDS},
    **{f"max_{name}": _read_most for name in NUMBER_FIELDS},
    "success": _read_success,
    "from": _read_since,
    "to": _read_until,
    "limit": _read_limit,
    "cursor": _read_cursor,
}
NAMES = frozenset(_READERS)
"""Every parameter of a filter or page; ``dim.NAME`` besides."""
