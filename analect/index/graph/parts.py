"""What a graph is made of, and what a walk may ask of whatever keeps one.

Every node that is not a record (a thread, a session, a tag, ...) is a *hub*: relations are between
records and hubs, and between records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from analect.index.protocols import Facets
from analect.model.ids import RecordId, id_bytes, is_record_id

CHILDREN = 100
"""Records that name the same parent, at most, in one step."""


@dataclass(frozen=True, slots=True)
class HubType:
    """``field`` is the facet it comes from: tags, a text or a dimension; ``relation`` the type of the edge to it. ``fanout``
    is how many of its records a walk looks at: the newest.
    """

    name: str
    field: str
    relation: str
    fanout: int


HUB_TYPES = (
    HubType("process", "process_id", "IN", 100),
    HubType("thread", "thread_id", "IN", 100),
    HubType("session", "session_id", "IN", 100),
    HubType("subject", "subject", "IN", 50),
    HubType("tag", "tags", "TAGGED", 25),
    HubType("service", "service", "OF", 25),
    HubType("model", "model", "OF", 25),
    HubType("document", "document", "USES", 50),
    HubType("topic", "topic", "ABOUT", 25),
)
"""The closer a relation, the earlier it stands, but new ones come last: the place is the number that
the embedded graph stores as ``hubs.type``.
"""
TYPE_NUMBERS = {hub_type.name: number for number, hub_type in enumerate(HUB_TYPES)}
ORDERED = frozenset({TYPE_NUMBERS["process"], TYPE_NUMBERS["thread"]})
"""Hubs within which a record comes after another."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it is put in: ``hubs`` are (type, key), ``id`` and ``parent`` raw."""

    id: bytes
    content_hash: bytes
    occurred_at: int
    turn: float | None
    parent: bytes | None
    hubs: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record as it is read: ``hubs`` are numbers."""

    number: int
    id: RecordId
    occurred_at: int
    turn: float | None
    parent: bytes | None
    hubs: tuple[int, ...]

    @property
    def order(self) -> tuple[int, float, RecordId]:
        """Its place within a thread or a process."""
        return (self.occurred_at, -1.0 if self.turn is None else self.turn, self.id)


@dataclass(frozen=True, slots=True)
class HubRow:
    """A node that is not a record; ``uses`` is how many records are related to it."""

    number: int
    type: HubType
    key: str
    uses: int


def entry_of(facets: Facets) -> Entry:
    """What the graph keeps of a record."""
    hubs: list[tuple[int, str]] = []
    for number, hub_type in enumerate(HUB_TYPES):
        if hub_type.field == "tags":
            hubs.extend((number, tag) for tag in dict.fromkeys(facets.tags))
        elif key := facets.texts.get(hub_type.field) or facets.dimensions.get(hub_type.field):
            hubs.append((number, key))
    parent = facets.texts.get("parent_id", "").lower()
    return Entry(
        id=id_bytes(facets.id),
        content_hash=facets.content_hash,
        occurred_at=facets.occurred_at,
        turn=facets.numbers.get("turn"),
        # A parent that is no record id (a caller's own name for it) relates to nothing here.
        parent=id_bytes(parent) if is_record_id(parent) else None,
        hubs=tuple(hubs),
    )


@dataclass(frozen=True, slots=True)
class Beside:
    """The records one step from ``row``, and which of them follow which (pairs of numbers)."""

    row: RecordRow
    near: list[RecordRow]
    following: set[tuple[int, int]]


class GraphReader(Protocol):
    """Rows for a walk. Records and hubs have numbers, which mean something to this reader only."""

    def record(self, record_id: RecordId, /) -> RecordRow | None:
        """The record of this id."""
        ...

    def records(self, numbers: Iterable[int], /) -> list[RecordRow]:
        """The records of these numbers, in the same order."""
        ...

    def hubs(self, numbers: Iterable[int], /) -> list[HubRow]:
        """The hubs of these numbers, closest relations first, small ones before large ones."""
        ...

    def hub(self, type_name: str, key: str, /) -> HubRow | None:
        """The hub of this type and key."""
        ...

    def members(
        self, hubs: Iterable[HubRow], limit: int | None = None, /, *, oldest: bool = False
    ) -> Iterator[tuple[HubRow, list[int]]]:
        """The numbers of each hub's records, newest first, or oldest first; at most ``limit``, or
        what is usual for its type.
        """
        ...

    def beside(self, rows: Iterable[RecordRow], /) -> Iterator[Beside]:
        """The records one step from each: its parent, its neighbours, its children."""
        ...
