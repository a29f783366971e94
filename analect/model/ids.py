"""Record ids: UUIDv7 (RFC 9562, section 5.7) whose millisecond is the record's own time.

Order by id is therefore order by time, and an id alone names its month. Times are integers of
microseconds since the Unix epoch, UTC, everywhere below the edges.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from calendar import timegm
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NewType

from analect.model.errors import InvalidInput

RecordId = NewType("RecordId", str)
"""Canonical lower-case text form, 36 characters."""

Micros = int
"""Microseconds since 1970-01-01T00:00:00Z."""

Clock = Callable[[], Micros]
RandomBytes = Callable[[int], bytes]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST: Micros = timegm((2000, 1, 1, 0, 0, 0)) * 1_000_000
"""The first accepted ``occurred_at``."""
DAY: Micros = 86_400 * 1_000_000
_DAY_MILLIS = DAY // 1000
AHEAD: Micros = DAY
"""How far after the clock an ``occurred_at`` may lie."""

_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


def _assemble(millis: int, tail: bytes) -> RecordId:
    """Put version and variant bits over 10 bytes of ``tail`` and a 48-bit millisecond."""
    high = (0x7000 | (int.from_bytes(tail[:2], "big") & 0x0FFF)).to_bytes(2, "big")
    low = bytes([0x80 | (tail[2] & 0x3F)]) + tail[3:10]
    text = (millis.to_bytes(6, "big") + high + low).hex()
    return RecordId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")


def new_id(occurred_at: Micros, random_bytes: RandomBytes) -> RecordId:
    """A fresh id at the millisecond of ``occurred_at``."""
    return _assemble(occurred_at // 1000, random_bytes(10))


def derived_id(key: bytes, source: str, external_id: str, occurred_at: Micros) -> RecordId:
    """The one id of a caller's own identifier, so that a retry is the same record.

    Keyed with the store's own key: an external id may be guessable (a mail address), and the
    record id must not let anyone test a guess.
    """
    message = b"\0".join((source.encode(), external_id.encode()))
    tail = hmac.new(key, message, hashlib.sha256).digest()
    return _assemble(occurred_at // 1000, tail)


def is_record_id(text: str) -> bool:
    """Whether ``text`` is a UUIDv7 in canonical lower-case form."""
    return _FORM.match(text) is not None


def parse_id(text: str, *, field: str = "id") -> RecordId:
    """Normalise a caller's UUIDv7 (any case).

    Raises:
        InvalidInput: it is not a UUIDv7.
    """
    lowered = text.lower()
    if not is_record_id(lowered):
        raise InvalidInput(
            f"{field} is no record's id, a UUIDv7; an id of your own is its external_id",
            field=field,
        )
    return RecordId(lowered)


def id_bytes(record_id: str) -> bytes:
    """The 16 bytes that SQLite stores; their order is the order of time."""
    return bytes.fromhex(record_id.replace("-", ""))


def id_text(raw: bytes) -> RecordId:
    """The canonical form of 16 stored bytes."""
    text = raw.hex()
    return RecordId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")


def id_millis(record_id: str) -> int:
    """The millisecond an id carries, since the epoch."""
    return int(record_id[:8] + record_id[9:13], 16)


def id_floor(at: Micros) -> RecordId:
    """The smallest 128-bit value at the millisecond of ``at``: ids of that time and later are >= it."""
    text = (at // 1000).to_bytes(6, "big").hex()
    return RecordId(f"{text[:8]}-{text[8:12]}-0000-0000-000000000000")


def month_of(record_id: str) -> str:
    """``YYYY-MM`` of the id's time, UTC."""
    return _month_of_day(id_millis(record_id) // _DAY_MILLIS)


@lru_cache(maxsize=4096)
def _month_of_day(day: int) -> str:
    return to_datetime(day * DAY).strftime("%Y-%m")


def month_bounds(month: str) -> tuple[Micros, Micros]:
    """First microsecond of ``YYYY-MM`` and of the month after it."""
    year, number = int(month[:4]), int(month[5:7])
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    return (
        timegm((year, number, 1, 0, 0, 0)) * 1_000_000,
        timegm((*following, 1, 0, 0, 0)) * 1_000_000,
    )


def to_micros(moment: datetime) -> Micros:
    """Microseconds of an aware ``datetime``."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def to_datetime(at: Micros) -> datetime:
    """The UTC ``datetime`` of ``at``."""
    return EPOCH + timedelta(microseconds=at)
