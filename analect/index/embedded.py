"""The built-in indexes of one folder, opened together."""

from __future__ import annotations

from pathlib import Path

from analect.index.catalog import Indexes
from analect.index.embed import WordLlamaEmbedder
from analect.index.graph.embedded import EmbeddedGraphIndex
from analect.index.health import IndexHealth
from analect.index.protocols import Embedder
from analect.index.text.embedded import EmbeddedTextIndex
from analect.index.vectors.embedded import EmbeddedVectorIndex
from analect.model.errors import ConfigurationError
from analect.settings import Settings


def open_indexes(settings: Settings, folder: Path) -> Indexes:
    """The indexes that the settings switch on. Nothing is read yet: a damaged one shows at its
    first use.
    """
    embedder = _embedder(settings) if settings.index.vectors else None
    return Indexes(
        text=EmbeddedTextIndex(folder) if settings.index.text else None,
        vectors=None
        if embedder is None
        else EmbeddedVectorIndex(folder, model=embedder.model, dimension=embedder.dimension),
        graph=EmbeddedGraphIndex(folder) if settings.index.graph else None,
        embedder=embedder,
        health=IndexHealth(),
    )


def _embedder(settings: Settings) -> Embedder:
    if settings.embeddings.model != "wordllama":
        raise ConfigurationError(
            "embeddings.model must be wordllama: it is the only one built in",
            field="embeddings.model",
        )
    return WordLlamaEmbedder()
