"""Structured logs: one JSON object a line on standard error, with the request's id.

Code logs codes, counts and names of its own making. In case a value slips in all the same, a
last step shortens long texts and hides what is under a name that holds content or secrets.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, MutableMapping
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog

from analect.model.record import PAYLOAD_FIELDS
from analect.telemetry.buffered import BufferedLines

HIDDEN = "[hidden]"
MOST_CHARACTERS = 500
_SECRET_NAMES = frozenset(
    {
        *PAYLOAD_FIELDS,
        "authorization",
        "body",
        "comment",
        "cookie",
        "draft",
        "passphrase",
        "password",
        "payload",
        "q",
        "query",
        "record",
        "secret",
        "session",
        "session_id",
        "subject",
        "text",
        "token",
        "value",
    }
)
_RETRY = "stamina.retry_scheduled"
_levels = logging.getLevelNamesMapping()


def configure_logging(
    level: str = "info",
    format: Literal["json", "console"] = "json",
    *,
    stream: TextIO | BufferedLines | None = None,
    without: Collection[str] = (),
) -> None:
    """Set up structlog, and send the standard library's warnings the same way.

    Args:
        level: the least that is logged.
        format: ``json`` for machines, ``console`` for people.
        stream: where to; standard error unless told.
        without: events that whoever asked is told of in another way.
    """
    out = cast("TextIO", stream) if stream is not None else sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _retries(debug=level.upper() == "DEBUG"),
        _leaving_out(frozenset(without)),
        without_tracebacks_of_values,
        redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty()) if format == "console" else render_json
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_levels[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                without_tracebacks_of_values,
                redact,
                renderer,
            ],
            foreign_pre_chain=shared[:3],
        )
    )
    # Libraries may quote values in what they say below a warning.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _retries(*, debug: bool) -> structlog.typing.Processor:
    """What is tried again is for those who debug; what it was called with, which the library
    that tries again would tell, is for nobody.
    """

    def shortened(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if event.get("event") != _RETRY:
            return event
        if not debug:
            raise structlog.DropEvent
        said = {name: event[name] for name in ("level", "at", "retry_num", "wait_for")}
        return {**said, "event": "tried again", "error": event["caused_by"].partition("(")[0]}

    return shortened


def _leaving_out(events: frozenset[str]) -> structlog.typing.Processor:
    def kept(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if event.get("event") in events:
            raise structlog.DropEvent
        return event

    return kept


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide values under names that hold content or secrets; cut long ones."""
    for name, value in event.items():
        if name in _SECRET_NAMES:
            event[name] = HIDDEN
        elif isinstance(value, str) and len(value) > MOST_CHARACTERS and name != "trace":
            event[name] = value[:MOST_CHARACTERS] + "…"
    return event


def without_tracebacks_of_values(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """An exception as its type and the places it came through: its message may quote a value."""
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["trace"] = trace_of(error)
    return event


def render_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """One line of JSON."""
    return msgspec.json.encode(event, enc_hook=str).decode()


def trace_of(error: BaseException) -> list[str]:
    """The places an exception came through, innermost last; no message and no value."""
    places = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        places.append(f"{code.co_filename}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return places[-20:]
