"""What older programs pass, as plain JSON: rows, models, dataclasses, times, numbers of any kind."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from math import isfinite
from typing import Any

from analect.model.errors import InvalidInput
from analect.model.ids import Micros, to_micros
from analect.model.record import MAX_DEPTH, Json

_LARGEST = 2**63 - 1
_SMALLEST = -(2**63)
_MILLISECONDS_FROM = 10**11
_MICROSECONDS_FROM = 10**14
"""A number of seconds this large would be thousands of years away."""
_DEEPEST = MAX_DEPTH - 4
"""Leaves room for what the value is put into."""


def plain(value: Any) -> Json:
    """``value`` as JSON: null, true, false, numbers, text, lists and objects with text keys.

    Rows (``sqlite3.Row``), pydantic models, dataclasses, named tuples and objects become objects
    of their public fields; collections become lists; times become RFC 3339 text, UTC where
    they had no zone; bytes become text, or base64 where they are none. What JSON cannot hold is
    said as text (a number beyond 64 bits, what is nested too deep) or as null (not a number).
    NUL characters and lone surrogates, which no database keeps, become U+FFFD.
    """
    return _plain(value, 0)


def mapping(value: Any) -> dict[str, Any] | None:
    """The fields of an object of any make, by name, their values as they are; ``None`` where
    ``value`` has no fields.
    """
    if isinstance(value, Mapping):
        return {_key(name): part for name, part in value.items()}
    if value is None or isinstance(value, (type, str, bytes, int, float, Enum, date, time)):
        return None
    for method in ("model_dump", "_asdict", "to_dict", "dict"):
        dump = getattr(value, method, None)
        if callable(dump):
            dumped = dump()
            return mapping(dumped) if isinstance(dumped, Mapping) else None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if callable(getattr(value, "keys", None)) and hasattr(value, "__getitem__"):
        return {_key(name): value[name] for name in value.keys()}  # noqa: SIM118  (sqlite3.Row)
    if isinstance(value, (Collection, BaseException)) or not hasattr(value, "__dict__"):
        return None
    return {name: part for name, part in vars(value).items() if name[0] != "_"} or None


def moment(value: Any, *, field: str) -> Micros | None:
    """Microseconds UTC of a ``datetime``, an ISO 8601 text, or seconds (milliseconds,
    microseconds, by their size) since 1970. A time without a zone is UTC.

    Raises:
        InvalidInput: it is none of these.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise _no_time(field)
    if isinstance(value, (int, float)):
        return _of_number(value, field)
    if isinstance(value, str):
        value = _of_text(value.strip(), field)
        if not isinstance(value, datetime):
            return _of_number(value, field)
    if isinstance(value, datetime):
        return to_micros(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return to_micros(datetime(value.year, value.month, value.day, tzinfo=UTC))
    raise _no_time(field)


def text(value: Any) -> str | None:
    """A short text of what a program uses as a name or an id; ``None`` and "" are "not said"."""
    if value is None or value == "":
        return None
    if isinstance(value, Enum):
        value = value.value
    return _characters(value if isinstance(value, str) else str(value))


def number(value: Any) -> float | int | None:
    """A number of any make (``Decimal``, numpy, digits in text); ``None`` where it is none."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def _plain(value: Any, depth: int) -> Json:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return _characters(value)
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if isinstance(value, int):
        return int(value) if _SMALLEST <= value <= _LARGEST else str(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if isinstance(value, str):
        return _characters(str(value))
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return aware.isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    if depth >= _DEEPEST:
        return _characters(str(value))
    return _compound(value, depth)


def _compound(value: Any, depth: int) -> Json:
    fields = mapping(value)
    if fields is not None:
        return {name: _plain(part, depth + 1) for name, part in fields.items()}
    scalar = getattr(value, "tolist", None)  # arrays and scalars of numpy
    if callable(scalar):
        return _plain(scalar(), depth + 1)
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(part, depth + 1) for part in value), key=repr)
    if isinstance(value, Collection):
        return [_plain(part, depth + 1) for part in value]
    return _characters(str(value))


def _key(name: Any) -> str:
    if isinstance(name, Enum):
        name = name.value
    return _characters(name if isinstance(name, str) else str(name))


def _characters(value: str) -> str:
    if "\0" in value:
        value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    try:
        value.encode()
    except UnicodeEncodeError:
        # A pair of surrogates is one character; what stands alone is none.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _bytes(value: bytes) -> str:
    try:
        return _characters(value.decode())
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _of_number(value: float, field: str) -> Micros:
    if not isfinite(value):
        raise _no_time(field)
    if abs(value) >= _MICROSECONDS_FROM:
        return int(value)
    if abs(value) >= _MILLISECONDS_FROM:
        return int(value * 1000)
    return int(value * 1_000_000)


def _of_text(value: str, field: str) -> datetime | float:
    with suppress(ValueError):
        return datetime.fromisoformat(value)
    with suppress(ValueError):
        return float(value)
    raise _no_time(field)


def _no_time(field: str) -> InvalidInput:
    return InvalidInput(
        f"{field} must be a datetime, an ISO 8601 text or seconds since 1970", field=field
    )
