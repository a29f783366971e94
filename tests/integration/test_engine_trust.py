"""Whose certificate an engine may show, and what is said of another's."""

from __future__ import annotations

from contextlib import closing
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry

from analect.index.breaker import Breaker
from analect.index.embed_server import ServerEmbedder
from analect.index.neo4j import Neo4jGraphIndex
from analect.index.opensearch import OpenSearch
from analect.index.qdrant import QdrantServer
from analect.model.errors import ConfigurationError, EngineUnavailable
from analect.settings import Embeddings, Graph, Qdrant, Search
from analect.telemetry.embedding import EmbeddingMetrics
from analect.telemetry.engines import EngineMetrics
from tests.engines.faults import FaultProxy, certificate


def breaker(name):
    return Breaker(name, EngineMetrics(CollectorRegistry()))


def ask_search(url, ca_file):
    with closing(OpenSearch(Search(url=url, ca_file=ca_file), breaker("opensearch"))) as engine:
        engine.request("GET", "/")


def ask_graph(url, ca_file):
    settings = Graph(url=f"bolt+s://{urlsplit(url).netloc}", ca_file=ca_file)
    with closing(Neo4jGraphIndex(settings, breaker("neo4j"), lambda: 0)) as index:
        index.count()


def ask_qdrant(url, ca_file):
    server = QdrantServer.of(Qdrant(url=url, ca_file=ca_file), breaker("qdrant"))
    with closing(server), server.asking() as client:
        client.get_collections()


def ask_embeddings(url, ca_file):
    settings = Embeddings(url=url, model="m", dimension=2, ca_file=ca_file)
    with closing(ServerEmbedder(settings, EmbeddingMetrics(CollectorRegistry()))) as embedder:
        embedder.embed(["word"])


ENGINES = {
    "search": ask_search,
    "graph": ask_graph,
    "qdrant": ask_qdrant,
    "embeddings": ask_embeddings,
}


@pytest.mark.parametrize("name", ENGINES)
def test_a_certificate_of_another_authority_is_said_to_be_one(name, tmp_path):
    places = tmp_path / "theirs", tmp_path / "ours"
    for each in places:
        each.mkdir()
    _, *pair = certificate(places[0])
    other, *_ = certificate(places[1])
    with FaultProxy("http://127.0.0.1:1", tls=tuple(pair)) as proxy:
        for trusted in (other, None):
            with pytest.raises(EngineUnavailable, match=rf"not trusted.*{name}\.ca_file"):
                ENGINES[name](proxy.url, trusted)
        assert proxy.seen == []


@pytest.mark.parametrize("name", ENGINES)
def test_a_file_without_certificates_is_refused_by_its_setting(name, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "words").write_text("no certificate")
    for wrong in ("none", "empty", "words", "."):
        with pytest.raises(ConfigurationError) as refused:
            ENGINES[name]("https://127.0.0.1:1", tmp_path / wrong)
        assert refused.value.field == f"{name}.ca_file"
