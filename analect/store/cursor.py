"""Page cursors: opaque, safe in a URL, authentic, and good for one query only.

A cursor is base64url of ``version | position | tag``. The tag is the first 8 bytes of HMAC-SHA256
over the query's digest and the position, so a cursor that was tampered with, or that belongs to
another filter or order, is refused rather than answered with the wrong page.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec

from analect.model.errors import InvalidQuery
from analect.model.query import RecordFilter

_VERSION = b"\x01"
_TAG_BYTES = 8
_MAX_LENGTH = 4096


class Cursors:
    """Makes and reads cursors under one key of the store's."""

    def __init__(self, key: bytes) -> None:
        self._mac = hmac.new(hmac.digest(key, b"cursor", hashlib.sha256), digestmod=hashlib.sha256)

    def make(self, query: bytes, position: bytes) -> str:
        """The cursor that resumes ``query`` (a :func:`digest`) behind ``position``."""
        body = _VERSION + position
        return urlsafe_b64encode(body + self._tag(query, body)).rstrip(b"=").decode()

    def read(self, query: bytes, cursor: str, *, field: str = "cursor") -> bytes:
        """The position inside ``cursor``, which callers know as ``field``.

        Raises:
            InvalidQuery: it is not a cursor of this store and this query.
        """
        raw = _decoded(cursor, field)
        body, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
        if body[:1] != _VERSION or not hmac.compare_digest(tag, self._tag(query, body)):
            raise _refused(field)
        return body[1:]

    def _tag(self, query: bytes, body: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(query)
        mac.update(body)
        return mac.digest()[:_TAG_BYTES]


def digest(name: str, *parts: Any) -> bytes:
    """16 bytes that stand for a query: its name and everything that selects and orders.

    ``parts`` are JSON-like values or filters; the order of a dict's keys does not matter.
    """
    plain = msgspec.json.encode([name, *map(_plain, parts)], order="deterministic")
    return hashlib.blake2b(plain, digest_size=16).digest()


def _plain(part: Any) -> Any:
    """A filter without regard to the order of its tags."""
    if isinstance(part, RecordFilter):
        return [
            part.equals,
            sorted(set(part.tags)),
            part.dimensions,
            {name: [span.minimum, span.maximum] for name, span in part.numbers.items()},
            part.success,
            part.since,
            part.until,
            *([part.tier] if part.tier else []),
        ]
    return part


def _decoded(cursor: str, field: str) -> bytes:
    """The bytes of ``cursor``, in its one canonical form."""
    if len(cursor) > _MAX_LENGTH or not cursor.isascii():
        raise _refused(field)
    padded = cursor.encode() + b"=" * (-len(cursor) % 4)
    try:
        raw = urlsafe_b64decode(padded)
    except binascii.Error as error:
        raise _refused(field) from error
    if urlsafe_b64encode(raw).rstrip(b"=").decode() != cursor:
        raise _refused(field)
    return raw


def _refused(field: str) -> InvalidQuery:
    return InvalidQuery(
        f"{field} does not belong to this query: repeat the filter and order it came from, "
        "or start without one",
        field=field,
    )
