"""The indexes of one store, as the settings have them: files of a folder, or servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from analect.index.catalog import Indexes
from analect.index.graph.embedded import EmbeddedGraphIndex
from analect.index.health import IndexHealth
from analect.index.protocols import Embedder, GraphIndex, TextIndex, VectorIndex
from analect.index.text.embedded import EmbeddedTextIndex
from analect.model.errors import ConfigurationError
from analect.model.ids import Clock
from analect.settings import Embeddings, Settings
from analect.telemetry.engines import EngineMetrics
from analect.telemetry.metrics import Telemetry

if TYPE_CHECKING:
    from analect.index.opensearch import OpenSearch


def open_indexes(
    settings: Settings, folder: Path, *, telemetry: Telemetry, clock: Clock
) -> Indexes:
    """The indexes that the settings switch on. Nothing is read and no server is asked yet: what is
    damaged or away shows at its first use.

    Raises:
        ConfigurationError: a setting is wrong, or an extra is not installed.
    """
    metrics = telemetry.engines
    embedder = _embedder(settings.embeddings, telemetry) if settings.index.vectors else None
    search = _search(settings, metrics)
    elsewhere = {
        "text": search is not None,
        "vectors": search is not None or settings.qdrant.address is not None,
        "graph": settings.graph.url is not None,
    }
    return Indexes(
        text=_text(folder, search, clock) if settings.index.text else None,
        vectors=None
        if embedder is None
        else _qdrant(settings, metrics, clock, embedder)
        or _vectors(folder, search, clock, embedder),
        graph=_graph(settings, folder, metrics, clock) if settings.index.graph else None,
        embedder=embedder,
        health=IndexHealth([name for name, there in elsewhere.items() if there]),
    )


def _text(folder: Path, search: OpenSearch | None, clock: Clock) -> TextIndex:
    if search is None:
        return EmbeddedTextIndex(folder)
    from analect.index.opensearch import OpenSearchTextIndex

    return OpenSearchTextIndex(search, clock)


def _vectors(
    folder: Path, search: OpenSearch | None, clock: Clock, embedder: Embedder
) -> VectorIndex:
    model, dimension = embedder.model, embedder.dimension
    if search is None:
        from analect.index.vectors.embedded import EmbeddedVectorIndex

        return EmbeddedVectorIndex(folder, model=model, dimension=dimension)
    from analect.index.opensearch import OpenSearchVectorIndex

    return OpenSearchVectorIndex(search, clock, model=model, dimension=dimension)


def _qdrant(
    settings: Settings, metrics: EngineMetrics, clock: Clock, embedder: Embedder
) -> VectorIndex | None:
    """The vectors in the Qdrant that is set, if one is."""
    if settings.qdrant.address is None:
        return None
    try:
        from analect.index.breaker import Breaker
        from analect.index.qdrant import QdrantServer, QdrantVectorIndex
    except ModuleNotFoundError as error:
        raise _without_extra("qdrant.url") from error
    server = QdrantServer.of(settings.qdrant, Breaker("qdrant", metrics))
    return QdrantVectorIndex(server, clock, model=embedder.model, dimension=embedder.dimension)


def _graph(settings: Settings, folder: Path, metrics: EngineMetrics, clock: Clock) -> GraphIndex:
    if settings.graph.url is None:
        return EmbeddedGraphIndex(folder)
    try:
        from analect.index.breaker import Breaker
        from analect.index.neo4j import Neo4jGraphIndex
    except ModuleNotFoundError as error:
        raise _without_extra("graph.url") from error
    return Neo4jGraphIndex(settings.graph, Breaker("neo4j", metrics), clock)


def _search(settings: Settings, metrics: EngineMetrics) -> OpenSearch | None:
    """The OpenSearch that is set, if one is."""
    if settings.search.url is None:
        return None
    try:
        from analect.index.breaker import Breaker
        from analect.index.opensearch import OpenSearch
    except ModuleNotFoundError as error:
        raise _without_extra("search.url") from error
    return OpenSearch(settings.search, Breaker("opensearch", metrics))


def _without_extra(setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"{setting} needs the extra `engines`: pip install 'analect[engines]'", field=setting
    )


def _embedder(settings: Embeddings, telemetry: Telemetry) -> Embedder:
    if settings.url is not None:
        from analect.index.embed_server import ServerEmbedder

        return ServerEmbedder(settings, telemetry.embedding)
    if settings.model != "wordllama":
        raise ConfigurationError(
            "embeddings.model must be wordllama, the one built in, unless embeddings.url "
            "(ANALECT_EMBEDDINGS__URL) names a server",
            field="embeddings.model",
        )
    from analect.index.embed import WordLlamaEmbedder

    return WordLlamaEmbedder()
