"""Between rows of ``records`` and :class:`~analect.model.record.Record`.

The select list has the order of Record's own fields, so that a row becomes a record by position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Engine

from analect.model.ids import RecordId, id_bytes, id_text
from analect.model.record import PAYLOAD_FIELDS, Record

COLUMNS = (
    *(
        one.name
        for one in fields(Record)
        if one.name not in {*PAYLOAD_FIELDS, "payload_state", "content_hash", "tier"}
    ),
    "key_id",
    "payload",
    "content_hash",
)
"""Every column of ``records``: Record's fields in their order, then what seals the payload."""

SELECT_LIST = ", ".join(f"r.{name}" for name in COLUMNS)
"""For a ``records AS r``."""

_SUCCESS = COLUMNS.index("success")

# By position and unchecked: a page is many rows of many columns.
_make_record: Callable[..., Record] = Record
_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_texts = msgspec.json.Decoder(dict[str, str]).decode
_decode_numbers = msgspec.json.Decoder(dict[str, float | int]).decode


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it stands in the store: ``payload`` is sealed by the data key ``key_id``. It is
    ``None`` when what came was omitted and empty when nothing came; then there is no key.
    """

    record: Record
    key_id: int | None
    payload: bytes | None


def payload_state(payload: bytes | memoryview | None) -> str:
    """What a record is called before its payload is opened: one that came without a payload has
    nothing to open.
    """
    return "omitted" if payload is None else "sealed" if payload else "open"


def stored_record(row: Sequence[Any]) -> StoredRecord:
    """A row of :data:`COLUMNS`, from either dialect's driver."""
    (*head, role, source, tags, dimensions, measures, key_id, payload, content_hash) = row
    head[0] = driver_id(head[0])
    if head[_SUCCESS] is not None:
        head[_SUCCESS] = bool(head[_SUCCESS])
    record = _make_record(
        *head,
        role,
        source,
        _decode_tags(tags) if tags else (),
        _decode_texts(dimensions) if dimensions else {},
        _decode_numbers(measures) if measures else {},
        payload_state=payload_state(payload),
        content_hash=bytes(content_hash),
    )
    return StoredRecord(record, key_id, None if payload is None else bytes(payload))


def driver_id(raw: bytes | UUID | str) -> RecordId:
    """A record id as SQLite (16 bytes) or Postgres (UUID) gives it."""
    return id_text(raw) if isinstance(raw, bytes) else RecordId(str(raw))


def bound_id(engine: Engine | Connection, record_id: str) -> bytes | UUID:
    """A record id as the driver of ``engine`` wants it bound in a textual statement."""
    return UUID(record_id) if engine.dialect.name == "postgresql" else id_bytes(record_id)
