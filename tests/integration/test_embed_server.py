"""Vectors from a server: what it is sent, how often, and what happens when it refuses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from analect.index.embed_server import ServerEmbedder
from analect.model.errors import (
    ConfigurationError,
    EngineMisconfigured,
    EngineUnavailable,
    TerminalError,
    TooLarge,
)
from analect.model.query import SearchRequest
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.service.finding import wait_until
from analect.settings import Embeddings, Settings
from analect.telemetry.embedding import EmbeddingMetrics

DIMENSION = 32
MAIL = "bob.tanner@example.org"


def vector_of(text: str) -> list[float]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return [float(number) for number in np.random.default_rng(seed).standard_normal(DIMENSION)]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.raw.append(raw)
        self.server.keys.append(self.headers.get("Authorization"))
        status, headers = self.server.answers.pop(0) if self.server.answers else (200, {})
        asked = json.loads(raw)
        if self.server.refuses(asked):
            status = 400
        answer = {
            "data": [
                {"index": place, "embedding": vector_of(text)}
                for place, text in reversed(list(enumerate(asked["input"])))
            ],
            "usage": {"total_tokens": 1000},
        }
        body = json.dumps(answer if status == 200 else {"error": asked["input"]}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """Keeps what it was sent; ``answers`` are (status, headers) of the next ones; what ``refuses``
    says is answered with 400.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.raw, server.keys, server.answers = [], [], []
    server.refuses = lambda _asked: False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def settings_for(server: ThreadingHTTPServer, **changes: object) -> Embeddings:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return Embeddings(**{"model": "m-1", "url": url, "dimension": DIMENSION, **changes})


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def opened(server, registry):
    """Makes embedders of this server."""
    made = []
    metrics = EmbeddingMetrics(registry)

    def make(sleep=lambda _: None, **changes):
        settings = settings_for(server, **changes)
        made.append(ServerEmbedder(settings, metrics, monotonic=lambda: 0.0, sleep=sleep))
        return made[-1]

    yield make
    for embedder in made:
        embedder.close()


def test_rows_are_in_the_order_of_the_texts_and_of_length_one(opened):
    texts = ["one", "", "two", " \n", "one"]
    rows = opened().embed(texts)
    assert rows.shape == (5, DIMENSION)
    assert np.allclose(np.linalg.norm(rows, axis=1), [1, 0, 1, 0, 1], atol=1e-5)
    expected = np.array(vector_of("two"))
    assert np.allclose(rows[2], expected / np.linalg.norm(expected), atol=1e-5)
    assert np.array_equal(rows[0], rows[4])


def test_texts_go_in_batches_and_each_of_them_once(opened, server, registry):
    embedder = opened(batch_size=4, price_per_million_tokens=2.0)
    first = embedder.embed([f"text {n}" for n in range(10)])
    assert [len(json.loads(raw)["input"]) for raw in server.raw] == [4, 4, 2]
    assert np.array_equal(embedder.embed([f"text {n}" for n in range(10)]), first)
    assert len(server.raw) == 3
    value = registry.get_sample_value
    assert value("analect_embedding_texts_total", {"source": "cache"}) == 10
    assert value("analect_embedding_texts_total", {"source": "server"}) == 10
    assert value("analect_embedding_tokens_total") == 3000
    assert value("analect_embedding_cost_total") == pytest.approx(0.006)
    assert value("analect_embedding_request_seconds_count", {"outcome": "ok"}) == 3


def test_of_a_long_text_the_beginning_is_sent(opened, server):
    opened(max_characters=10).embed(["x" * 50])
    assert json.loads(server.raw[0])["input"] == ["x" * 10]


def test_it_asks_again_when_the_server_is_busy(opened, server):
    server.answers += [(429, {"Retry-After": "0"}), (503, {"Retry-After": "0.01"}), (500, {})]
    assert opened().embed(["one"]).any()
    assert len(server.raw) == 4


def test_requests_keep_their_distance(opened):
    waited = []
    opened(requests_per_second=2.0, batch_size=1, sleep=waited.append).embed(["a", "b", "c"])
    assert waited == [0.5, 1.0]


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, EngineMisconfigured, "ANALECT_EMBEDDINGS__API_KEY"),
        (403, EngineMisconfigured, "ANALECT_EMBEDDINGS__API_KEY"),
        (404, EngineMisconfigured, "ANALECT_EMBEDDINGS__MODEL"),
    ],
)
def test_what_asking_again_does_not_mend_is_said_at_once(opened, server, status, kind, words):
    server.answers.append((status, {}))
    with pytest.raises(kind, match=words) as raised:
        opened(api_key="the secret").embed(["a text of someone"])
    assert len(server.raw) == 1
    assert server.keys == ["Bearer the secret"]
    assert "someone" not in str(raised.value)
    assert "the secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, TerminalError, "refuses these texts"),
        (422, TerminalError, "refuses these texts"),
        (413, TooLarge, "size"),
    ],
)
def test_texts_are_to_blame_where_the_server_takes_others(opened, server, status, kind, words):
    server.answers.append((status, {}))
    embedder = opened()
    with pytest.raises(kind, match=words) as raised:
        embedder.embed(["a text of someone"])
    assert not isinstance(raised.value, EngineUnavailable)
    assert "someone" not in str(raised.value)
    assert embedder.problem is None
    assert [json.loads(raw)["input"] for raw in server.raw] == [["a text of someone"], ["word"]]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_setting_is_to_blame_where_it_takes_none(opened, server, status):
    server.answers += [(status, {})] * 2
    embedder = opened()
    with pytest.raises(EngineMisconfigured, match="ANALECT_EMBEDDINGS__MODEL") as raised:
        embedder.embed(["a text of someone"])
    assert embedder.problem == str(raised.value)
    server.answers.clear()
    embedder.embed(["a text of someone"])
    assert embedder.problem is None


def test_a_busy_server_says_nothing_of_the_texts_it_refused(opened, server):
    server.answers += [(400, {})] + [(503, {"Retry-After": "0"})] * 5
    with pytest.raises(EngineUnavailable, match="503"):
        opened().embed(["one"])


def test_vectors_of_another_length_are_refused(opened):
    with pytest.raises(EngineUnavailable, match=r"embeddings\.dimension.*rebuild vectors"):
        opened(dimension=DIMENSION + 1).embed(["one"])


def test_settings_that_cannot_be_are_refused(opened, tmp_path):
    with pytest.raises(ConfigurationError, match=r"embeddings\.dimension"):
        opened(dimension=None)
    with pytest.raises(ConfigurationError, match=r"api_key_file"):
        opened(api_key_file=tmp_path / "none")
    with pytest.raises(ConfigurationError, match=r"ca_file"):
        opened(ca_file=tmp_path / "none")


def service_settings(server, tmp_path, **changes) -> Settings:
    return Settings(
        home=tmp_path / "home",
        keys={"ring": tmp_path / "ring"},
        index={"text": False, "graph": False},
        embeddings=settings_for(server, **changes),
        processing={"interval_seconds": 0.05, "backoff_seconds": 0.01},
    )


def test_no_personal_data_are_sent(server, tmp_path):
    with AnalysisService.open(service_settings(server, tmp_path)) as service:
        service.start()
        draft = Draft(
            input=f"I am {MAIL}, call +44 20 7946 0958",
            variables={"card": "4111 1111 1111 1111"},
            subject=MAIL,
        )
        (record_id,) = service.ingest([draft], wait_indexed=20.0).ids
        found = service.search(SearchRequest(f"who is {MAIL}", mode="semantic"))
        assert [hit.record.id for hit in found.items] == [record_id]
    sent = b"\n".join(server.raw)
    assert sent.count(b"<email:") == 2
    for secret in (MAIL, "bob", "tanner", "7946", "4111"):
        assert secret.encode() not in sent


def test_another_model_is_refused_until_the_index_is_rebuilt(server, tmp_path):
    with AnalysisService.open(service_settings(server, tmp_path)) as service:
        service.process()
        service.ingest([Draft(input="one")])
        service.process()
        assert service.status()["indexes"]["vectors"]["records"] == 1
    with AnalysisService.open(service_settings(server, tmp_path, model="m-2")) as service:
        with pytest.raises(EngineUnavailable, match="rebuild vectors"):
            service.search(SearchRequest("one", mode="semantic"))
        assert "m-1" in service.status()["indexes"]["vectors"]["problem"]
        assert service.rebuild("vectors") == 1
        assert service.search(SearchRequest("one", mode="semantic")).items


def test_while_it_is_away_records_are_stored_and_follow_later(server, tmp_path):
    with AnalysisService.open(service_settings(server, tmp_path)) as service:
        server.answers += [(404, {})] * 3
        service.start()
        service.ingest([Draft(input="one")])
        assert wait_until(
            lambda: service.status()["indexes"]["vectors"].get("records") == 1, timeout=20.0
        )
        assert service.status()["quarantine"] == []


def test_a_wrong_model_quarantines_nothing_and_is_told(server, tmp_path):
    server.refuses = lambda asked: asked["model"] == "m-1"
    with AnalysisService.open(service_settings(server, tmp_path)) as service:
        service.ingest([Draft(input=f"quince {n}") for n in range(5)])
        service.process()
        shown = service.status()
        assert shown["indexes"]["vectors"]["state"] == "unavailable"
        assert "ANALECT_EMBEDDINGS__MODEL" in shown["indexes"]["vectors"]["problem"]
        with pytest.raises(EngineUnavailable, match="ANALECT_EMBEDDINGS__MODEL"):
            service.search(SearchRequest("quince", mode="semantic"))
    with AnalysisService.open(service_settings(server, tmp_path)) as another:  # asks for nothing
        shown = another.status()
        assert shown["quarantine"] == []
        assert shown["processors"]["vectors"]["entries"] == 1
        assert shown["processors"]["vectors"]["code"] == "engine_misconfigured"
        server.refuses = lambda _asked: False
        another.start()
        assert wait_until(lambda: another.status()["processors"] == {}, timeout=20.0)
        assert another.status()["indexes"]["vectors"] == {"state": "ok", "rebuilt": 0, "records": 5}


def test_of_many_the_text_that_is_refused_is_quarantined_alone(server, tmp_path):
    server.refuses = lambda asked: any("poison" in text for text in asked["input"])
    with AnalysisService.open(service_settings(server, tmp_path)) as service:
        texts = [f"quince {n}" for n in range(5)]
        *_, bad = service.ingest([Draft(input=text) for text in (*texts, "poison")]).ids
        service.start()
        assert wait_until(lambda: service.status()["quarantine"] != [], timeout=20.0)
        assert wait_until(
            lambda: service.status()["indexes"]["vectors"].get("records") == 5, timeout=20.0
        )
        assert [one["record"] for one in service.status()["quarantine"]] == [bad]
