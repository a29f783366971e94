"""The indexes of one store, opened together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analect.index.protocols import Embedder, GraphIndex, Index, TextIndex, VectorIndex
from analect.model.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Indexes:
    """``None`` where the settings leave an index out."""

    text: TextIndex | None = None
    vectors: VectorIndex | None = None
    graph: GraphIndex | None = None
    embedder: Embedder | None = None

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

    def close(self) -> None:
        """Release what they hold."""
        for _, index in self.present():
            index.close()
