"""The vector index in Qdrant, by the local mode of its client: the contract of every such index."""

from __future__ import annotations

import threading
import time
import warnings
from contextlib import closing

import httpx
import pytest
from prometheus_client import CollectorRegistry
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.models import PointStruct

from analect.index.breaker import Breaker
from analect.index.qdrant import QdrantServer, QdrantVectorIndex
from analect.index.qdrant.state import VECTOR
from analect.model.errors import ConfigurationError, EngineUnavailable, TerminalError
from analect.model.query import RecordFilter
from analect.settings import Qdrant
from analect.telemetry.engines import EngineMetrics
from analect.testing import vectors


class Shared:
    """One local Qdrant for all that open it, one call at a time, as a server would have it."""

    def __init__(self) -> None:
        self._local = QdrantClient(":memory:")
        self._lock = threading.RLock()
        self.failing: Exception | None = None

    def __getattr__(self, name):
        method = getattr(self._local, name)

        def call(*args, **kwargs):
            if self.failing is not None:
                raise self.failing
            with self._lock, warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Payload indexes have no effect")
                return method(*args, **kwargs)

        return call

    def close(self) -> None:
        """It stays for the others."""


@pytest.fixture
def shared():
    return Shared()


@pytest.fixture
def opener(shared):
    def open_index(model=vectors.MODEL, clock=lambda: time.time_ns() // 1000):
        breaker = Breaker("qdrant", EngineMetrics(CollectorRegistry()), failures=1000)
        server = QdrantServer(shared, breaker, "test")
        return QdrantVectorIndex(server, clock, model=model, dimension=vectors.DIMENSION)

    return open_index


@pytest.mark.parametrize("case", vectors.CASES, ids=lambda case: case.__name__)
def test_contract(case, opener):
    case(opener)


def test_another_model_is_refused_until_it_is_rebuilt(opener):
    rows = vectors.unit_vectors(3)
    with closing(opener()) as index:
        index.upsert(vectors.documents(rows))
    with closing(opener(model="other/2")) as index:
        for ask in (index.count, index.check, lambda: index.upsert(vectors.documents(rows))):
            with pytest.raises(ConfigurationError, match="analect rebuild vectors"):
                ask()
        with index.rebuilding() as fresh:
            fresh.upsert(vectors.documents(rows[:2]))
        assert index.count() == 2


def test_what_comes_late_does_not_bring_back_what_was_deleted(opener):
    rows = vectors.unit_vectors(2)
    with closing(opener()) as index:
        index.delete([vectors.record_id(0)])
        index.upsert(vectors.documents(rows))
        assert [id_ for id_, _ in index.entries()] == [vectors.record_id(1)]


def test_what_somebody_else_wrote_does_not_end_a_walk_nor_a_search(opener, shared):
    rows = vectors.unit_vectors(3)
    ids = [vectors.record_id(n) for n in range(3)]
    with closing(opener()) as index:
        index.upsert(vectors.documents(rows)[:1])
        (name,) = [c.name for c in shared.get_collections().collections if "-vectors-" in c.name]
        vector = {VECTOR: rows[1].tolist()}
        written = [(7, {}), (ids[1], {}), (ids[2], {"content_hash": "no hash"})]
        points = [PointStruct(id=id_, vector=vector, payload=said) for id_, said in written]
        shared.upsert(name, points)
        assert [(id_, bool(hash_)) for id_, hash_ in index.entries()] == [
            (ids[0], True),
            (ids[1], False),
            (ids[2], False),
        ]
        found = index.search(rows[1], RecordFilter(), 10)
        assert {hit.id for hit in found} == set(ids)
        index.upsert(vectors.documents(rows)[:2])
        index.delete(ids[2:])
        assert [(id_, bool(hash_)) for id_, hash_ in index.entries()] == [
            (ids[0], True),
            (ids[1], True),
        ]


def test_a_builder_that_fell_silent_is_replaced(opener):
    now = [1_000_000_000]
    rows = vectors.unit_vectors(4)
    with closing(opener(clock=lambda: now[0])) as index:
        index.upsert(vectors.documents(rows))
        dead = index.rebuilding()
        fresh = dead.__enter__()
        fresh.upsert(vectors.documents(rows[:1]))
        with pytest.raises(EngineUnavailable, match="already"), index.rebuilding():
            pass
        now[0] += 3_600 * 1_000_000
        with index.rebuilding() as again:
            again.upsert(vectors.documents(rows[:3]))
        with pytest.raises(EngineUnavailable, match="rebuild vectors"):
            dead.__exit__(None, None, None)
        assert index.count() == 3


@pytest.mark.parametrize(
    ("failing", "kind", "words"),
    [
        (ResponseHandlingException(httpx.ConnectError("no")), EngineUnavailable, "qdrant.url"),
        (UnexpectedResponse(401, "", b"", httpx.Headers()), EngineUnavailable, "api_key"),
        (UnexpectedResponse(400, "", b"a value", httpx.Headers()), TerminalError, "refuses"),
        (UnexpectedResponse(503, "", b"", httpx.Headers()), EngineUnavailable, "503"),
    ],
)
def test_what_the_client_says_is_said_in_our_words(opener, shared, failing, kind, words):
    with closing(opener()) as index:
        index.check()
        shared.failing = failing
        with pytest.raises(kind, match=words) as raised:
            index.count()
        assert "a value" not in str(raised.value)


def test_settings_lead_to_a_server(tmp_path):
    breaker = Breaker("qdrant", EngineMetrics(CollectorRegistry()))
    settings = Qdrant(host="127.0.0.1", port=1, timeout_seconds=1)
    assert settings.address == "http://127.0.0.1:1"
    server = QdrantServer.of(settings, breaker)
    with (
        closing(QdrantVectorIndex(server, lambda: 0, model="m", dimension=2)) as index,
        pytest.raises(EngineUnavailable),
    ):
        index.count()
    with pytest.raises(ConfigurationError, match="ca_file"):
        QdrantServer.of(Qdrant(url="https://q", ca_file=tmp_path / "none"), breaker)
