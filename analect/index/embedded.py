"""The built-in indexes of one folder, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from analect.index.catalog import Indexes
from analect.index.embed import WordLlamaEmbedder
from analect.index.graph.embedded import EmbeddedGraphIndex
from analect.index.protocols import Embedder
from analect.index.text.embedded import EmbeddedTextIndex
from analect.index.vectors.embedded import EmbeddedVectorIndex
from analect.model.errors import AnalectError, ConfigurationError
from analect.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class IndexState:
    """Whether an index could be used when it was opened; ``problem`` says why not."""

    name: str
    problem: str | None = None
    rebuilt: bool = False

    @property
    def usable(self) -> bool:
        """Nothing is wrong with it (any more)."""
        return self.problem is None or self.rebuilt

    def mended(self) -> None:
        """It was made again from the truth."""
        self.rebuilt = True


def open_indexes(settings: Settings, folder: Path) -> tuple[Indexes, list[IndexState]]:
    """The indexes that the settings switch on, and the state each was found in.

    A damaged index, or one of another embedding model, is no error here: it answers with one
    until it is made again.
    """
    embedder = _embedder(settings) if settings.index.vectors else None
    indexes = Indexes(
        text=EmbeddedTextIndex(folder) if settings.index.text else None,
        vectors=None
        if embedder is None
        else EmbeddedVectorIndex(folder, model=embedder.model, dimension=embedder.dimension),
        graph=EmbeddedGraphIndex(folder) if settings.index.graph else None,
        embedder=embedder,
    )
    states = []
    for name, index in indexes.present():
        state = IndexState(name)
        try:
            index.check()
        except AnalectError as error:
            state.problem = str(error)
            log.warning("index cannot be used", index=name, code=error.code)
        states.append(state)
    return indexes, states


def _embedder(settings: Settings) -> Embedder:
    if settings.embeddings.model != "wordllama":
        raise ConfigurationError(
            "embeddings.model must be wordllama: it is the only one built in",
            field="embeddings.model",
        )
    return WordLlamaEmbedder()
