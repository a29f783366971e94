"""The indexes of one store, opened together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from analect.index.health import IndexHealth
from analect.index.projection import facets_of, text_of
from analect.index.protocols import (
    Embedder,
    GraphIndex,
    GraphRecord,
    Index,
    ItemFailure,
    TextDocument,
    TextIndex,
    VectorDocument,
    VectorIndex,
)
from analect.model.errors import EngineUnavailable, InvalidInput
from analect.model.ids import Micros
from analect.model.record import Record


@dataclass(frozen=True, slots=True)
class Indexes:
    """``None`` where the settings leave an index out."""

    text: TextIndex | None = None
    vectors: VectorIndex | None = None
    graph: GraphIndex | None = None
    embedder: Embedder | None = None
    health: IndexHealth = field(default_factory=IndexHealth)

    def check(self) -> list[str]:
        """Look at every index as a whole; the names of those that must be made again here."""
        for name, index in self.present():
            with suppress(EngineUnavailable), self.health.watching(name):
                index.check()
        return self.health.damaged()

    def present(self) -> Iterator[tuple[str, Index]]:
        """(name, index) of those that are there; the name is also its processor's."""
        for name in ("text", "vectors", "graph"):
            index = getattr(self, name)
            if index is not None:
                yield name, index

    def named(self, name: str) -> Index:
        """The index called ``name``.

        Raises:
            InvalidInput: there is none, or the settings leave it out.
        """
        present = dict(self.present())
        if name not in present:
            raise InvalidInput(
                f"no index {name!r} here; this store has: {', '.join(present) or 'none'}",
                field="index",
            )
        return present[name]

    def fill(
        self, name: str, target: Index, records: Sequence[Record], *, seen_at: Micros = 0
    ) -> list[ItemFailure]:
        """Put records into ``target``: the index called ``name``, or a fresh one of its kind.

        ``seen_at``: when they were known to stand, if that is later than they were received.
        """
        if not records:
            return []
        facets = [facets_of(record, seen_at) for record in records]
        if name == "graph":
            return cast("GraphIndex", target).upsert([GraphRecord(one) for one in facets])
        texts = [text_of(record) for record in records]
        if name == "text":
            words = [TextDocument(*one) for one in zip(facets, texts, strict=True)]
            return cast("TextIndex", target).upsert(words)
        if self.embedder is None:
            raise InvalidInput("the vector index has no embedder", field="embeddings.model")
        rows = self.embedder.embed(texts)
        vectors = [VectorDocument(*one) for one in zip(facets, rows, strict=True)]
        return cast("VectorIndex", target).upsert(vectors)

    def close(self) -> None:
        """Release what they hold."""
        for _, index in self.present():
            index.close()
        if self.embedder is not None:
            self.embedder.close()
