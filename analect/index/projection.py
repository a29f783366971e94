"""What of a record an index sees: its facets, and the text that is searched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from analect.index.protocols import Facets
from analect.model.ids import Micros
from analect.model.record import NUMBER_FIELDS, TEXT_FIELDS, Json, Record

_FACET_TEXTS = ("kind", "external_id", *TEXT_FIELDS)


def facets_of(record: Record, seen_at: Micros = 0) -> Facets:
    """The promoted fields that are there; ``seen_at`` counts where it is later than the receipt."""
    texts = {name: value for name in _FACET_TEXTS if (value := getattr(record, name)) is not None}
    numbers = {
        name: float(value) for name in NUMBER_FIELDS if (value := getattr(record, name)) is not None
    }
    return Facets(
        id=record.id,
        occurred_at=record.occurred_at,
        texts=texts,
        tags=record.tags,
        dimensions=record.dimensions,
        numbers=numbers,
        success=record.success,
        content_hash=record.content_hash,
        received_at=max(record.received_at, seen_at),
    )


def kept_hash(said: object) -> bytes:
    """The content hash that an engine gives back, as bytes or hexadecimal; empty, and so no
    record's, where somebody else wrote what is there.
    """
    if isinstance(said, bytes | bytearray):
        return bytes(said)
    if isinstance(said, str):
        with suppress(ValueError):
            return bytes.fromhex(said)
    return b""


def text_of(record: Record) -> str:
    """Everything a person may search for: name, then each string and number of the payload."""
    parts = [record.name] if record.name else []
    for value in (record.input, record.output, record.variables, record.attributes):
        if isinstance(value, str):
            parts.append(value)
        elif value is not None:
            parts.extend(_leaves(value))
    return "\n".join(parts)


def _leaves(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
