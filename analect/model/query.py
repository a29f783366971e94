"""Questions and their answers: filters, pages, searches, relations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from analect.model.ids import Micros, RecordId
from analect.model.record import Json, Record

T = TypeVar("T")

MAX_LIMIT = 1000
TIERS = ("hot", "warm", "cold")
DEFAULT_LIMIT = 50


@dataclass(frozen=True, slots=True)
class NumberRange:
    """Inclusive bounds; ``None`` is open."""

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records: every part must hold.

    ``equals`` maps a name of ``kind``, ``external_id`` or :data:`analect.model.record.TEXT_FIELDS`
    to a value already in its stored (pseudonymised, hashed) form. ``tags`` must all be present.
    ``since`` is inclusive, ``until`` exclusive. ``tier`` is ``hot``, ``warm`` or ``cold``; hot and
    warm together when not given.
    """

    equals: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    dimensions: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, NumberRange] = field(default_factory=dict)
    success: bool | None = None
    since: Micros | None = None
    until: Micros | None = None
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of a listing. ``descending`` is newest first."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``next`` is the cursor of the page after this one, ``None`` at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One item of the change feed. ``operation``: ``put`` or ``delete``; ``cursor`` resumes after it."""

    cursor: str
    operation: str
    record_id: RecordId
    record: Record | None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """``mode``: ``text``, ``semantic`` or ``hybrid``. ``query`` is pseudonymised by the façade."""

    query: str
    mode: str = "text"
    filter: RecordFilter = field(default_factory=RecordFilter)
    limit: int = 20
    cursor: str | None = None
    explain: bool = False
    after: RecordId | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One found record. ``highlights`` are snippets with ``<em>`` around matches (text is escaped).

    ``explanation`` (when asked for) maps a part (``text.bm25``, ``text.rank``, ``vector.cosine``,
    ``vector.rank``, ``rrf``) to its figure.
    """

    record: Record
    score: float
    highlights: tuple[str, ...] = ()
    explanation: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """``degraded`` is true when an index was down and the answer came from what is left;
    ``reason`` says then what is wrong and what was looked at instead.
    """

    items: tuple[Hit, ...]
    next: str | None = None
    degraded: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A graph node: ``type`` is ``record``, ``thread``, ``session``, ``process``, ``subject``,
    ``tag``, ``service``, ``model``, ``document`` or ``topic``; ``key`` is its id within the type.

    ``records`` are the ids it comes from (bounded, newest first).
    """

    type: str
    key: str
    records: tuple[RecordId, ...] = ()
    distance: int = 0


@dataclass(frozen=True, slots=True)
class Edge:
    """A relation between two nodes, each named ``type:key``, and the records it comes from."""

    source: str
    target: str
    type: str
    records: tuple[RecordId, ...] = ()


@dataclass(frozen=True, slots=True)
class Subgraph:
    """What a walk found; ``truncated`` when a limit cut it."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A versioned thing with an owner. ``body`` is JSON, sealed at rest as it came."""

    kind: str
    id: str
    version: int
    body: Json
    owner: str | None = None
    status: str | None = None
    created_at: Micros = 0
    updated_at: Micros = 0
    expires_at: Micros | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a processor concluded of a record: a short ``value``, or a sealed free ``text``."""

    record_id: RecordId
    processor: str
    processor_version: int
    name: str
    value: str | None = None
    text: str | None = None
    confidence: float | None = None
