"""What every index must do. Adapters are checked against these by one contract suite.

An index never holds the truth and never sees a value that was not pseudonymised. All methods are
thread-safe, idempotent, and raise :class:`~analect.model.errors.EngineUnavailable` (transient) or
a terminal error of :mod:`analect.model.errors`; a driver's exception never leaves an adapter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from analect.model.ids import Micros, RecordId
from analect.model.query import RecordFilter, Subgraph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # A command that needs no vectors does not load NumPy.
    Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Facets:
    """The promoted fields of a record that an index filters by. ``texts`` maps a name of
    ``kind``, ``external_id`` or ``TEXT_FIELDS`` to its value, absent when null.

    ``received_at`` orders what is written about one record, however late it arrives: where several
    processes write to one server, a deletion outlasts every version that came before it. Of a record
    that was deleted and sent again it is the time at which it was known to stand.
    """

    id: RecordId
    occurred_at: Micros
    texts: dict[str, str]
    tags: tuple[str, ...] = ()
    dimensions: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    success: bool | None = None
    content_hash: bytes = b""
    received_at: Micros = 0


@dataclass(frozen=True, slots=True)
class TextDocument:
    """``text`` is what is searched: the record's name, input, output, variables and attributes."""

    facets: Facets
    text: str


@dataclass(frozen=True, slots=True)
class VectorDocument:
    """``vector`` has length one."""

    facets: Facets
    vector: Vector


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """A record as the graph sees it: its relations come from its facets
    (thread_id, session_id, process_id, subject, service, model, parent_id, tags).
    """

    facets: Facets


@dataclass(frozen=True, slots=True)
class IndexHit:
    """``score``: BM25 (higher is better) for text, cosine for vectors."""

    id: RecordId
    score: float


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """One item that an index refused; ``code`` is stable and free of values."""

    id: RecordId
    code: str
    transient: bool


class Index(Protocol):
    """What all three have in common."""

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Forget these records (absent ones are fine)."""
        ...

    def purge(self) -> None:
        """Leave no byte of deleted records in any file of the index."""
        ...

    def count(self) -> int:
        """How many records it holds."""
        ...

    def entries(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of every record in id order, in bounded memory."""
        ...

    def rebuilding(self) -> AbstractContextManager[Self]:
        """A fresh, empty index of the same kind. Leaving the block without an error switches to
        it atomically; an error drops it. Writes to the old one meanwhile go to both.
        """
        ...

    def check(self) -> None:
        """Raise :class:`~analect.model.errors.Corrupt` or ``EngineUnavailable`` if unusable."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A fresh index, as ``rebuilding`` gives it, of a kind that outlives the process that fills it:
    who builds after a crash goes on where the one before came to.
    """

    def reached(self) -> RecordId | None:
        """Everything up to this id is in already; ``None``: begin at the beginning."""
        ...

    def reach(self, record_id: RecordId) -> None:
        """Everything up to this id has been put in."""
        ...


@runtime_checkable
class Monthly(Protocol):
    """An index that keeps each month of its records by itself."""

    def drop_month(self, month: str) -> bool:
        """Forget every record of ``YYYY-MM`` at once; false when it cannot be done now, for a fresh
        index is being filled: then they are to be deleted one by one.
        """
        ...


class TextIndex(Index, Protocol):
    """Words."""

    def upsert(self, documents: Sequence[TextDocument]) -> list[ItemFailure]:
        """Add or replace; returns what was refused, item by item."""
        ...

    def search(
        self, query: str, where: RecordFilter, limit: int, after: tuple[float, RecordId] | None
    ) -> list[IndexHit]:
        """Best first by (score descending, id descending), strictly behind ``after``.

        Query syntax: words (all must match), ``"a phrase"``, ``prefix*``, ``-without``, ``a OR b``.

        Raises:
            InvalidQuery: the expression has nothing to search for.
        """
        ...

    def highlight(self, query: str, text: str, snippets: int = 3) -> tuple[str, ...]:
        """HTML-escaped snippets of ``text`` with matches in ``<em>``."""
        ...


class VectorIndex(Index, Protocol):
    """Meaning. The index carries the embedding model's name and dimension; opening it with
    another model raises ``ConfigurationError`` naming ``analect rebuild vectors``.
    """

    def upsert(self, documents: Sequence[VectorDocument]) -> list[ItemFailure]:
        """Add or replace; returns what was refused, item by item."""
        ...

    def search(self, vector: Vector, where: RecordFilter, limit: int) -> list[IndexHit]:
        """Nearest by cosine, best first by (score descending, id descending)."""
        ...


class GraphIndex(Index, Protocol):
    """Relations."""

    def upsert(self, records: Sequence[GraphRecord]) -> list[ItemFailure]:
        """Add or replace; returns what was refused, item by item."""
        ...

    def related(self, record_id: RecordId, depth: int, limit: int) -> Subgraph:
        """Breadth-first from a record, at most ``depth`` hops and ``limit`` nodes.

        Raises:
            NotFound: the record is not in the graph.
        """
        ...

    def shortest_path(self, source: RecordId, target: RecordId, max_depth: int) -> Subgraph:
        """One shortest path between two records; empty when there is none."""
        ...

    def session_touched(self, session: str, limit: int) -> Subgraph:
        """A session (in its stored form), its newest records and what they are related to.

        Raises:
            NotFound: there is no such session.
        """
        ...

    def causal_chain(self, process_id: str, limit: int) -> Subgraph:
        """A process and its records in order, each tied to its parent and to the next.

        Raises:
            NotFound: there is no such process.
        """
        ...

    def top_tags(self, limit: int) -> list[tuple[str, int]]:
        """The tags on the most records, and on how many, most first."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors of length one."""

    @property
    def model(self) -> str:
        """Name and version."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the last texts could not be embedded, unless it was for what they say; ``None`` when
        they were.
        """
        ...

    def embed(self, texts: Sequence[str]) -> Vector:
        """Shape (len(texts), dimension), rows of length one (zero for empty text)."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
