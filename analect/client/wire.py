"""What travels: a record as bytes with its id, and errors as they are named here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from analect.model.errors import (
    AnalectError,
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    Overloaded,
    PermissionDenied,
    StoreUnavailable,
    TerminalError,
    TooLarge,
    TransientError,
)
from analect.model.flat import draft_from_flat, draft_to_flat, format_time
from analect.model.ids import Clock, RandomBytes, is_record_id, new_id, to_micros

_TERMINAL: dict[int, type[TerminalError]] = {
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: TooLarge,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One record ready to be sent: encoded once, so a retry sends the same bytes."""

    id: str
    body: bytes


def entry_of(fields: Mapping[str, Any], clock: Clock, random_bytes: RandomBytes) -> Entry:
    """Encode a record and give it an id, so that sending it twice stores it once.

    Times may be aware ``datetime`` objects or RFC 3339 texts. An id that is no UUIDv7 needs
    ``occurred_at``: the server derives the record's id from both.

    Raises:
        InvalidInput: an unknown field, a time without a zone, something that JSON cannot hold.
    """
    said = dict(fields)
    moment = said.get("occurred_at")
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidInput("occurred_at needs a time zone", field="occurred_at")
        said["occurred_at"] = format_time(to_micros(moment))
    draft = draft_from_flat(said)
    own = draft.id or draft.external_id
    if own is None:
        draft.occurred_at = clock() if draft.occurred_at is None else draft.occurred_at
        own = draft.id = new_id(draft.occurred_at, random_bytes)
    elif draft.occurred_at is None and not is_record_id(own.lower()):
        raise InvalidInput("an id of your own needs occurred_at", field="occurred_at")
    return Entry(own, encode(draft_to_flat(draft)))


def encode(value: Any) -> bytes:
    """Strict JSON: no NaN, no lone surrogate, nothing that is not JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:  # ValueError: NaN, cycle, surrogate
        raise InvalidInput(
            "the record holds something that JSON cannot: NaN, a lone surrogate, a cycle or an "
            "object of a program"
        ) from error


def decode(body: bytes) -> Any:
    """JSON that a server sent.

    Raises:
        TransientError: it is none; something else answers at this address, or it broke off.
    """
    try:
        return json.loads(body)
    except ValueError as error:
        raise TransientError("the answer is not JSON: is this the address of Analect?") from error


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> AnalectError:
    """The error that an HTTP answer (RFC 9457 problem or not) stands for."""
    problem = _problem(body)
    detail = problem.get("detail") or problem.get("title") or f"the server answered {status}"
    field = problem.get("field")
    wait = retry_after(headers)
    if status == 429:
        return Overloaded(detail, retry_after=wait)
    if status == 503:
        return StoreUnavailable(detail, retry_after=wait)
    if status in {408, 504}:
        return DeadlineExceeded(detail, retry_after=wait)
    if status >= 500:
        return TransientError(detail, retry_after=wait)
    return _TERMINAL.get(status, InvalidInput)(detail, field=field)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After`` header, given as seconds or as a date."""
    said = headers.get("retry-after")
    if said is None:
        return None
    if said.strip().isdigit():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
        return None
