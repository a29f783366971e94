"""Cold files: JSON Lines in seekable Zstandard frames, read as the tables they came from.

A line is the flat object of a record with its sealed payload in base64 (``payload``, ``key_id``)
and its content hash in hex. One file a month and kind:
``cold/kind=K/month=YYYY-MM/records-….jsonl.zst``.
"""

from __future__ import annotations

import heapq
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any

import msgspec
import pyarrow as pa

from analect.lifecycle.places.hashing import hash_of
from analect.lifecycle.places.place import Place
from analect.lifecycle.tiers.columns import SCHEMA, stored_records
from analect.lifecycle.tiers.conditions import mask
from analect.lifecycle.tiers.digest import digest
from analect.lifecycle.tiers.locator import SCOPES, locate, unpack
from analect.lifecycle.tiers.part import Sink, Written
from analect.lifecycle.tiers.seekable import FrameWriter, read_frames
from analect.model.errors import Corrupt
from analect.model.flat import parse_time, to_flat
from analect.model.ids import RecordId
from analect.model.query import RecordFilter
from analect.store.filters import Span, inside
from analect.store.rows import StoredRecord
from analect.store.tier_files import TierFile, TierFiles

COLD = "cold"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_TIMES = ("occurred_at", "received_at")
_OWN = frozenset({"payload_state", "tier"})


def write_cold(place: Place, name: str, groups: Iterable[Any]) -> Written:
    """Write tables of :data:`SCHEMA`, whose ids rise, as an object of ``place``: a frame each.

    Raises:
        StoreUnavailable: the place cannot be written.
    """
    located, digests, ends, rows = [], [], [], 0
    with place.create(name) as stream:
        sink = Sink(stream)
        writer = FrameWriter(sink)  # type: ignore[arg-type]  # it has what is used of a stream
        for group in groups:
            writer.frame(b"".join(_line(one) for one in stored_records(group, COLD)))
            located.append(group.select(list(SCOPES)))
            digests.append(digest(group))
            ids = group.column("id")
            ends += [ids[0].as_py(), ids[-1].as_py()]
            rows += len(group)
        writer.finish()
    return Written(
        name=name,
        rows=rows,
        size=sink.written,
        sha256=sink.sha256(),
        first_id=RecordId(ends[0]),
        last_id=RecordId(ends[-1]),
        digests=tuple(digests),
        locator=locate(located),
    )


def verify_cold(place: Place, written: Written) -> None:
    """Read a file back: its bytes, its count, every record.

    Raises:
        Corrupt: it is not what was written.
    """
    if hash_of(place, written.name) != (written.size, written.sha256):
        raise Corrupt(f"{written.name} does not read back as it was written")
    digests = tuple(digest(table) for table in read_cold(place, written.name))
    if digests != written.digests:
        raise Corrupt(f"{written.name} does not hold the records that were written")


def read_cold(place: Place, name: str) -> Iterator[Any]:
    """A file's records as tables of :data:`SCHEMA`, a frame each.

    Raises:
        NotFound: it is not there.
        Corrupt: it does not verify.
    """
    for frame in read_frames(place, name):
        try:
            rows = [_row(_decode(line)) for line in frame.splitlines()]
        except (ValueError, KeyError) as error:
            raise Corrupt(f"a line of {name} is not a record") from error
        yield pa.Table.from_pylist(rows, schema=SCHEMA)


class ColdReads:
    """Reads of the cold tier: whole files, for who asks by name."""

    def __init__(self, files: TierFiles, place: Place) -> None:
        self._files = files
        self._place = place

    def within(
        self, where: RecordFilter, span: Span, limit: int, *, descending: bool
    ) -> list[StoredRecord]:
        """At most ``limit`` records that pass, in the order of ids."""
        found: list[StoredRecord] = []
        for file in self._holding(where, span):
            for part in self._passing(file, where, span):
                found += part
                found.sort(key=_id_of, reverse=descending)
                del found[limit:]
        return found

    def scan(self, where: RecordFilter, span: Span) -> Iterator[StoredRecord]:
        """Everything that passes, in the order of ids, every file read once."""
        holding = sorted(self._holding(where, span), key=lambda file: file.month)
        for _, files in groupby(holding, key=lambda file: file.month):
            walks = [chain.from_iterable(self._passing(file, where, span)) for file in files]
            yield from heapq.merge(*walks, key=_id_of)

    def _holding(self, where: RecordFilter, span: Span) -> Iterator[TierFile]:
        """The files that may hold what is looked for."""
        kind = where.equals.get("kind")
        asked = [scope for scope in SCOPES if scope in where.equals]
        for file in self._files.standing(COLD):
            outside = (span.high is not None and file.first_id >= span.high) or (
                span.low is not None and file.last_id < span.low
            )
            if outside or (kind is not None and kind != file.kind):
                continue
            raw = self._files.locator(file.name) if asked else None
            located = None if raw is None else unpack(raw)
            if located is None or all(located.has(one, where.equals[one]) for one in asked):
                yield file

    def _passing(
        self, file: TierFile, where: RecordFilter, span: Span
    ) -> Iterator[list[StoredRecord]]:
        for table in read_cold(self._place, file.name):
            passing = table.filter(pa.array(mask(table, where)))
            yield [one for one in stored_records(passing, COLD) if inside(one.record.id, span)]


def _id_of(stored: StoredRecord) -> RecordId:
    return stored.record.id


def _line(stored: StoredRecord) -> bytes:
    flat = {name: one for name, one in to_flat(stored.record).items() if name not in _OWN}
    flat["content_hash"] = stored.record.content_hash.hex()
    if stored.key_id is not None:
        flat["key_id"] = stored.key_id
    if stored.payload is not None:
        flat["payload"] = b64encode(stored.payload).decode()
    return _encode(flat) + b"\n"


def _row(flat: dict[str, Any]) -> dict[str, Any]:
    for name in _TIMES:
        flat[name] = parse_time(flat[name], field=name)
    flat["content_hash"] = bytes.fromhex(flat["content_hash"])
    if "payload" in flat:
        flat["payload"] = b64decode(flat["payload"])
    flat["tags"] = flat.get("tags", [])
    for name in ("dimensions", "measures"):
        flat[name] = list(flat.get(name, {}).items())
    flat["measures"] = [(name, float(value)) for name, value in flat["measures"]]
    return flat
