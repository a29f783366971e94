"""The options that say which records: list, search and export share them."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from analect.model.errors import InvalidInput
from analect.model.flat import parse_time
from analect.model.ids import Micros
from analect.model.query import RecordFilter
from analect.model.record import TEXT_FIELDS

_AGO = re.compile(r"(\d{1,6})([smhdw])\Z", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
FILTERABLE = ("kind", "external_id", *TEXT_FIELDS)


def moment(text: str) -> Micros:
    """A time as people write it: RFC 3339, a day (its beginning, UTC), or ``36h`` ago."""
    if match := _AGO.match(text):
        return time.time_ns() // 1000 - int(match[1]) * _SECONDS[match[2]] * 1_000_000
    if _DAY.match(text):
        text += "T00:00:00Z"
    try:
        return parse_time(text, field="time")
    except InvalidInput as error:
        raise typer.BadParameter(
            "give an RFC 3339 time with a zone (2025-06-30T12:00:00Z), a day (2025-06-30) or a "
            "time ago (90m, 36h, 7d)"
        ) from error


Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", "--tags", help="Has this tag; repeat or use commas for more."),
]
Since = Annotated[
    int | None,
    typer.Option(
        "--from", parser=moment, metavar="TIME", help="From this time on: RFC 3339, a day, or 7d."
    ),
]
Until = Annotated[
    int | None, typer.Option("--to", parser=moment, metavar="TIME", help="Before this time.")
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="FIELD=VALUE",
        help="A field has this value (process_id, role, name, ...); dim.NAME for a dimension.",
    ),
]
Success = Annotated[
    bool | None, typer.Option("--success/--failed", help="Only what went well, or did not.")
]


def _of(option: str) -> Any:
    return Annotated[str | None, typer.Option(f"--{option}", help=f"Of this {option}.")]


_OPTIONS: dict[str, Any] = {
    "kind": _of("kind"),
    "thread_id": _of("thread"),
    "session_id": _of("session"),
    "service": _of("service"),
    "project": _of("project"),
    "environment": _of("environment"),
    "model": _of("model"),
    "status": _of("status"),
    "success": Success,
    "tags": Tags,
    "where": Where,
    "since": Since,
    "until": Until,
}


def filtered(body: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it hears of them as ``wanted``, a
    :class:`~analect.model.query.RecordFilter`.
    """

    def run(*given: Any, **named: Any) -> None:
        said = {name: named.pop(name) for name in _OPTIONS}
        body(*given, wanted=record_filter(**said), **named)

    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=one)
        for name, one in _OPTIONS.items()
    ]
    own = inspect.signature(body, eval_str=True).parameters.values()
    others = [parameter for parameter in own if parameter.name != "wanted"]
    run.__doc__, run.__name__ = body.__doc__, body.__name__
    vars(run)["__signature__"] = inspect.Signature([*others, *options])
    return run


def record_filter(
    *,
    tags: list[str] | None = None,
    since: Micros | None = None,
    until: Micros | None = None,
    where: list[str] | None = None,
    success: bool | None = None,
    **equals: str | None,
) -> RecordFilter:
    """The filter that the options say."""
    said = {name: value for name, value in equals.items() if value is not None}
    dimensions: dict[str, str] = {}
    for condition in where or ():
        name, equal, value = condition.partition("=")
        if not equal or not value:
            raise typer.BadParameter("write --where FIELD=VALUE", param_hint="--where")
        if name.startswith("dim."):
            dimensions[name.removeprefix("dim.")] = value
        elif name in FILTERABLE:
            said[name] = value
        else:
            raise typer.BadParameter(
                f"no field {name!r} to filter by; there are: {', '.join(FILTERABLE)}, dim.NAME",
                param_hint="--where",
            )
    return RecordFilter(
        equals=said,
        tags=tuple(tag for given in tags or () for tag in given.split(",") if tag),
        dimensions=dimensions,
        success=success,
        since=since,
        until=until,
    )
