"""Records as Arrow columns: the schema of the warm files, and both ways between rows and tables.

Promoted columns are typed as in SQL, dimensions and measures are maps, times are timestamps. The
payload stays sealed: ``key_id`` says by which data key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from analect.model.record import NUMBER_FIELDS, TEXT_FIELDS, Record
from analect.store.columnar import ID_BYTES, Columns
from analect.store.rows import COLUMNS, StoredRecord, payload_state

_MOMENT = pa.timestamp("us", tz="UTC")
_WHOLE = frozenset({"input_tokens", "output_tokens", "turn", "key_id"})
_MOST_EXACT = 2**53
"""A whole number up to this is the same as a float."""


def _type(name: str) -> Any:
    if name in {"occurred_at", "received_at"}:
        return _MOMENT
    if name in {"id", "kind", "external_id", *TEXT_FIELDS}:
        return pa.string()
    if name == "success":
        return pa.bool_()
    if name == "rating":
        return pa.int8()
    if name in _WHOLE:
        return pa.int64()
    if name in NUMBER_FIELDS:
        return pa.float64()
    return {
        "tags": pa.list_(pa.string()),
        "dimensions": pa.map_(pa.string(), pa.string()),
        "measures": pa.map_(pa.string(), pa.float64()),
        "payload": pa.binary(),
        "content_hash": pa.binary(16),
    }[name]


SCHEMA = pa.schema([pa.field(name, _type(name)) for name in COLUMNS])
"""The columns of a warm file, in the order of :data:`analect.store.rows.COLUMNS`."""

_DIGITS = [place for place in range(36) if place not in {8, 13, 18, 23}]
"""Where the hexadecimal digits of an id's text are."""

_decode = msgspec.json.decode
_make_record: Callable[..., Record] = Record
_IDENTIFYING = ("subject", "session_id", "external_id")


def table_of(columns: Columns) -> Any:
    """What was read together."""
    if not columns.count:
        return SCHEMA.empty_table()
    arrays = {name: _array(name, values) for name, values in columns.values.items()}
    arrays["id"] = _ids(columns.ids)
    arrays["payload"] = _payloads(columns)
    hashes = [None, pa.py_buffer(columns.content_hashes)]
    arrays["content_hash"] = pa.Array.from_buffers(pa.binary(16), columns.count, hashes)
    return pa.table([arrays[name] for name in COLUMNS], schema=SCHEMA)


def anonymised(table: Any, level: str) -> Any:
    """Without what the level takes away: ``none``, ``subjects`` or ``payloads``."""
    taken = list(_IDENTIFYING) if level != "none" else []
    if level == "payloads":
        taken += ["payload", "key_id"]
    for name in taken:
        place = SCHEMA.get_field_index(name)
        table = table.set_column(place, SCHEMA.field(name), pa.nulls(len(table), _type(name)))
    return table


def stored_records(table: Any, tier: str) -> list[StoredRecord]:
    """The rows of a table of :data:`SCHEMA`."""
    columns = [_values(name, table.column(name)) for name in COLUMNS]
    return [_stored(row, tier) for row in zip(*columns, strict=True)]


def _stored(row: Sequence[Any], tier: str) -> StoredRecord:
    *head, tags, dimensions, measures, key_id, payload, content_hash = row
    record = _make_record(
        *head,
        tuple(tags or ()),
        dict(dimensions or ()),
        {name: _number(value) for name, value in measures or ()},
        payload_state=payload_state(payload),
        content_hash=content_hash,
        tier=tier,
    )
    return StoredRecord(record, key_id, payload)


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < _MOST_EXACT else value


def _values(name: str, column: Any) -> list[Any]:
    if SCHEMA.field(name).type == _MOMENT:
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values


def _array(name: str, values: Sequence[Any]) -> Any:
    kind = SCHEMA.field(name).type
    if kind == _MOMENT:
        return pa.array(values, pa.int64()).cast(kind)
    if name == "success":
        return pa.array(values).cast(kind)  # SQLite has 0 and 1
    if name == "tags":
        return _from_json(values, _lists)
    if name in {"dimensions", "measures"}:
        return _from_json(values, lambda parsed: _maps(parsed, kind))
    return pa.array(values, kind)


def _ids(raw: bytes) -> Any:
    """Ids as text, all spelled at once."""
    count = len(raw) // ID_BYTES
    digits = np.frombuffer(raw.hex().encode(), np.uint8)
    spelled = np.full((count, 36), ord("-"), np.uint8)
    spelled[:, _DIGITS] = digits.reshape(-1, 32)
    offsets = np.arange(0, 36 * count + 1, 36, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(spelled)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def _payloads(columns: Columns) -> Any:
    """The bytes as they came: a payload is where the one before it ends."""
    sizes = pa.array(columns.sizes, pa.int32())
    offsets = np.zeros(columns.count + 1, np.int32)
    np.cumsum(sizes.fill_null(0), out=offsets[1:])
    buffers = [sizes.buffers()[0], pa.py_buffer(offsets), pa.py_buffer(columns.payloads)]
    return pa.Array.from_buffers(pa.binary(), columns.count, buffers)


def _from_json(values: Sequence[str | None], make: Callable[[Sequence[Any]], Any]) -> Any:
    """JSON texts as ``make`` has them; each different text is parsed once, all of them at once."""
    encoded = pa.array(values, pa.string()).fill_null("null").dictionary_encode()
    parsed: list[Any] = _decode(f"[{','.join(encoded.dictionary.to_pylist())}]")
    return make(parsed).take(encoded.indices)


def _offsets(parsed: Sequence[Any]) -> Any:
    sizes = [len(one) if one else 0 for one in parsed]
    return pa.array(list(accumulate(sizes, initial=0)), pa.int32())


def _lists(parsed: Sequence[Any]) -> Any:
    flat = list(chain.from_iterable(one for one in parsed if one))
    return pa.ListArray.from_arrays(_offsets(parsed), pa.array(flat, pa.string()))


def _maps(parsed: Sequence[Any], kind: Any) -> Any:
    names = [name for one in parsed if one for name in one]
    items = [value for one in parsed if one for value in one.values()]
    keys, numbers = pa.array(names, kind.key_type), pa.array(items, kind.item_type)
    return pa.MapArray.from_arrays(_offsets(parsed), keys, numbers)
