"""Errors as RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from starlette.responses import Response

from analect.model.errors import (
    AnalectError,
    Conflict,
    InvalidInput,
    InvalidQuery,
    KeyDestroyed,
    NotFound,
    Overloaded,
    PermissionDenied,
    TooLarge,
    TransientError,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class PreconditionFailed(Conflict):
    """What a conditional header asked for does not hold."""


_STATUS: tuple[tuple[type[AnalectError], int], ...] = (
    (Overloaded, 429),
    (TransientError, 503),
    (TooLarge, 413),
    (InvalidQuery, 400),
    (InvalidInput, 422),
    (PreconditionFailed, 412),
    (Conflict, 409),
    (NotFound, 404),
    (PermissionDenied, 403),
    (KeyDestroyed, 410),
)
"""The first class that fits; what fits none is a fault of the server."""

_TITLES = {
    400: "The request is wrong",
    401: "An API key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Another method is needed",
    406: "Not acceptable",
    409: "Conflict",
    410: "Erased",
    412: "It has changed meanwhile",
    413: "Too large",
    415: "Another content type is needed",
    421: "Another server answers this",
    422: "The content is wrong",
    429: "Too much at once",
    500: "The server failed",
    503: "Not available now",
}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """A problem document. ``code`` is stable and for programs, ``detail`` is for people."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if field is not None:
        body["field"] = field
    body.update(members)
    return Response(msgspec.json.encode(body), status, headers, MEDIA_TYPE)


def status_of(error: AnalectError) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem_of(error: AnalectError) -> Response:
    """The answer to a request that ended in ``error``."""
    status = status_of(error)
    if status == 500:
        log.error("request failed", code=error.code)
    return problem(status, error.code, str(error), field=error.field, headers=retry_headers(error))


def retry_headers(error: AnalectError) -> dict[str, str]:
    """``Retry-After`` in whole seconds, where trying again may help."""
    if not isinstance(error, TransientError):
        return {}
    return {"Retry-After": str(max(1, round(error.retry_after or 1)))}


def unexpected() -> Response:
    """What a caller hears of a fault of ours: nothing of its inside."""
    return problem(500, "internal", "the server failed; its log says where, by the request id")
