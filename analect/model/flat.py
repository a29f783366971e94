"""A record as one flat JSON object: promoted fields and payload fields side by side.

The one mapping that HTTP, the command line, exports and imports share. Times are RFC 3339 with a
zone outside and microseconds UTC inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from analect.model.errors import InvalidInput
from analect.model.ids import Micros, to_datetime, to_micros
from analect.model.record import DRAFT_FIELDS, PAYLOAD_FIELDS, Draft, Record

STORE_FIELDS = frozenset({"received_at", "payload_state", "tier"})
"""What a store says of a record and a caller does not."""

_COLLECTIONS = ("tags", "dimensions", "measures")
_PLAIN = tuple(
    name for name in DRAFT_FIELDS if name not in {"id", "kind", "occurred_at", *_COLLECTIONS}
)
_plain_values = attrgetter(*_PLAIN)
_KNOWN = frozenset(DRAFT_FIELDS)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)
"""RFC 3339, which is narrower than what ``datetime.fromisoformat`` reads."""


_FIRST = to_micros(datetime(1, 1, 1, tzinfo=UTC))
_LATEST = to_micros(datetime(9999, 12, 31, 23, 59, 59, 999999, UTC))
"""What a ``datetime`` holds; a zone may shift a time beyond either."""


def format_time(at: Micros) -> str:
    """RFC 3339, UTC, always six digits of fraction: ``2025-06-30T12:00:00.000000Z``."""
    return to_datetime(at).isoformat(timespec="microseconds")[:26] + "Z"


def parse_time(text: Any, *, field: str) -> Micros:
    """Microseconds UTC of an RFC 3339 time; digits beyond the microsecond are cut off.

    Raises:
        InvalidInput: it is not one, or it has no zone.
    """
    if not isinstance(text, str) or _TIME.match(text) is None:
        raise InvalidInput(
            f"{field} must be an RFC 3339 time with a zone, like 2025-06-30T12:00:00Z", field=field
        )
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidInput(f"{field} is no time that ever was", field=field) from error
    at = to_micros(moment)
    if not _FIRST <= at <= _LATEST:
        raise InvalidInput(f"{field} is no time between the years 1 and 9999, UTC", field=field)
    return at


def to_flat(record: Record) -> dict[str, Any]:
    """The contract's JSON object of a record.

    What was not said is left out; a payload field is left out only when it is ``None``, for an
    empty text or list is content. ``payload_state`` and ``tier`` appear when they are not the
    usual ``open`` and ``hot``.
    """
    flat: dict[str, Any] = {
        "id": record.id,
        "kind": record.kind,
        "occurred_at": format_time(record.occurred_at),
        "received_at": format_time(record.received_at),
    }
    said = zip(_PLAIN, _plain_values(record), strict=True)
    flat.update((name, value) for name, value in said if value is not None)
    if record.tags:
        flat["tags"] = list(record.tags)
    if record.dimensions:
        flat["dimensions"] = record.dimensions
    if record.measures:
        flat["measures"] = record.measures
    if record.payload_state != "open":
        flat["payload_state"] = record.payload_state
    if record.tier != "hot":
        flat["tier"] = record.tier
    return flat


def draft_to_flat(draft: Draft) -> dict[str, Any]:
    """The JSON object that sends a draft: only what was said."""
    flat = {
        name: value
        for name in DRAFT_FIELDS
        if (value := getattr(draft, name)) is not None
        and (name in PAYLOAD_FIELDS or name not in _COLLECTIONS or value)
    }
    if draft.occurred_at is not None:
        flat["occurred_at"] = format_time(draft.occurred_at)
    return flat


def draft_from_flat(flat: Mapping[str, Any], *, exported: bool = False) -> Draft:
    """A draft of the contract's JSON object; ``null`` is "not said".

    Names, the time and the shape of collections are checked here; values are checked by
    :func:`analect.model.validate.settle`.

    Args:
        flat: one decoded JSON object.
        exported: it came out of a store, so what only a store says (:data:`STORE_FIELDS`) is
            skipped instead of refused.

    Raises:
        InvalidInput: an unknown field (named), a wrong time, a collection of another shape.
    """
    if not isinstance(flat, Mapping):
        raise InvalidInput("a record must be a JSON object")
    said = {name: value for name, value in flat.items() if value is not None}
    if exported:
        said = {name: value for name, value in said.items() if name not in STORE_FIELDS}
    if unknown := sorted(str(name) for name in said.keys() - _KNOWN):
        names = ", ".join(name[:64] for name in unknown[:8])
        raise InvalidInput(
            f"unknown field {names}: put what has no field of its own into dimensions, "
            "measures or attributes",
            field=unknown[0][:64],
        )
    if "occurred_at" in said:
        said["occurred_at"] = parse_time(said["occurred_at"], field="occurred_at")
    for name, shape, noun in (
        ("tags", list, "a list of texts"),
        ("dimensions", dict, "an object of names and texts"),
        ("measures", dict, "an object of names and numbers"),
    ):
        if name in said:
            if not isinstance(said[name], shape):
                raise InvalidInput(f"{name} must be {noun}", field=name)
            said[name] = shape(said[name])
    return Draft(**said)
