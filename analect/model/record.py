"""Records: immutable facts on a time axis.

A :class:`Draft` is what comes in, mutable while it is validated and pseudonymised in place; a
:class:`Record` is what is held and given back. Both have the same names, in the same order, so
that the contract's flat JSON object, the SQL columns and these classes never drift apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from analect.model.ids import Micros, RecordId

MAX_DIMENSIONS = 16
MAX_MEASURES = 32
MAX_TAGS = 64
MAX_SHORT = 256
"""Characters of a promoted text field, a tag, a dimension's name or value."""
MAX_EXTERNAL_ID = 512
MAX_DEPTH = 64
"""Nesting of payload JSON."""

Json = Any
"""None, bool, int, float, str, list or dict with string keys, nested."""


@dataclass(slots=True)
class Draft:
    """One record as a caller gives it; ``None`` is "not said".

    ``id`` may hold a UUIDv7 or any other string (then it is an external id). ``occurred_at`` is
    in microseconds UTC. After :func:`analect.model.validate.settle` both are filled and agree.
    """

    id: str | None = None
    external_id: str | None = None
    kind: str = "interaction"
    occurred_at: Micros | None = None
    project: str | None = None
    environment: str | None = None
    thread_id: str | None = None
    session_id: str | None = None
    process_id: str | None = None
    parent_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    subject: str | None = None
    service: str | None = None
    name: str | None = None
    model: str | None = None
    status: str | None = None
    success: bool | None = None
    duration_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    rating: int | None = None
    confidence: float | None = None
    turn: int | None = None
    role: str | None = None
    source: str | None = None
    tags: list[str] = field(default_factory=list)
    dimensions: dict[str, str] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    input: Json = None
    output: Json = None
    variables: Json = None
    attributes: Json = None


@dataclass(frozen=True, slots=True)
class Record:
    """One stored record, opened or not (``payload_state`` says which).

    ``payload_state``: ``open`` (payload fields are what was stored, nothing where nothing was
    sent), ``omitted`` (a payload was sent and not kept), ``erased`` (its key is destroyed), ``sealed`` (not asked for).
    """

    id: RecordId
    kind: str
    occurred_at: Micros
    received_at: Micros
    external_id: str | None = None
    project: str | None = None
    environment: str | None = None
    thread_id: str | None = None
    session_id: str | None = None
    process_id: str | None = None
    parent_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    subject: str | None = None
    service: str | None = None
    name: str | None = None
    model: str | None = None
    status: str | None = None
    success: bool | None = None
    duration_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    rating: int | None = None
    confidence: float | None = None
    turn: int | None = None
    role: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    dimensions: dict[str, str] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    input: Json = None
    output: Json = None
    variables: Json = None
    attributes: Json = None
    payload_state: str = "open"
    content_hash: bytes = b""
    tier: str = "hot"


PAYLOAD_FIELDS = ("input", "output", "variables", "attributes")

_NAMES = tuple(f.name for f in fields(Record))
_before_payload = attrgetter(*_NAMES[: _NAMES.index(PAYLOAD_FIELDS[0])])
_make: Callable[..., Record] = Record


def with_payload(record: Record, payload: tuple[Json, Json, Json, Json]) -> Record:
    """``record``, opened: :func:`dataclasses.replace` would take twice the time, and this is done
    for every record that is read.
    """
    return _make(*_before_payload(record), *payload, "open", record.content_hash, record.tier)


TEXT_FIELDS = (
    "project",
    "environment",
    "thread_id",
    "session_id",
    "process_id",
    "parent_id",
    "trace_id",
    "span_id",
    "subject",
    "service",
    "name",
    "model",
    "status",
    "role",
    "source",
)
"""Promoted text columns besides ``id``, ``external_id`` and ``kind``: each can be filtered on."""

NUMBER_FIELDS = (
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cost",
    "rating",
    "confidence",
    "turn",
)
"""Promoted number columns: each can be filtered on by value, minimum and maximum."""

DRAFT_FIELDS = tuple(f.name for f in fields(Draft))


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one item of a batch was not taken: ``field`` and ``message`` never quote its content."""

    index: int
    id: str | None
    code: str
    message: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a batch. ``ids[i]`` is item i's id, ``None`` where it was rejected.

    ``repeats`` are the places of the duplicates.
    """

    accepted: int
    duplicates: int
    rejected: tuple[Rejection, ...]
    ids: tuple[RecordId | None, ...]
    repeats: tuple[int, ...] = ()
