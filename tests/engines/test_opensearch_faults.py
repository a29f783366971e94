"""A slow, busy, failing, half-answering OpenSearch, and one that does not let everyone in."""

import json
import time
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from analect.index.breaker import Breaker
from analect.index.opensearch import OpenSearch, OpenSearchTextIndex
from analect.model.errors import ConfigurationError, EngineMisconfigured, EngineUnavailable
from analect.model.query import RecordFilter
from analect.telemetry.engines import EngineMetrics
from analect.testing.text import document, number_of
from tests.engines.faults import Alter, Answer, Delay, Drop, FaultProxy, Half, certificate
from tests.engines.opensearch.server import VERSION
from tests.engines.search import connect, refresh, text_index, vector_index, wall_clock

ALL = RecordFilter()


@pytest.fixture
def proxy(place):
    with FaultProxy(place.url) as proxy:
        yield proxy


@pytest.fixture
def index(place, proxy):
    settings = place.model_copy(update={"url": proxy.url, "timeout_seconds": 2.0})
    with closing(text_index(settings)) as index:
        index.upsert([document(0, "word zero")])
        yield index


def numbers(index):
    return sorted(number_of(hit.id) for hit in index.search("word", ALL, 100, None))


def of_bulk(*faults):
    """Each in turn for the next bulk request, then none."""
    waiting = list(faults)

    def plan(request):
        return waiting.pop(0) if request.path.startswith("/_bulk") and waiting else None

    return plan


def items_refused(status, kind, places):
    def change(answer):
        told = json.loads(answer)
        for place in places:
            (outcome,) = told["items"][place].values()
            outcome |= {"status": status, "error": {"type": kind}}
        return json.dumps(told).encode()

    return Alter(change)


def test_items_that_are_refused_for_want_of_room_are_sent_again(index, place, proxy):
    proxy.plan = of_bulk(items_refused(429, "rejected_execution_exception", [0, 2]))
    proxy.seen.clear()
    assert index.upsert([document(n, "word") for n in range(1, 5)]) == []
    sent = [one.body.count(b"\n") // 2 for one in proxy.seen if one.path.startswith("/_bulk")]
    assert sent == [4, 2]
    refresh(place)
    assert numbers(index) == [0, 1, 2, 3, 4]


def test_what_stays_busy_comes_back_as_transient_item_by_item(index, proxy):
    proxy.plan = of_bulk(
        items_refused(429, "rejected_execution_exception", [1]),
        *[items_refused(429, "rejected_execution_exception", [0])] * 5,
    )
    (failure,) = index.upsert([document(n, "word") for n in (1, 2, 3)])
    assert (number_of(failure.id), failure.code, failure.transient) == (2, "engine_busy", True)


def test_an_item_refused_for_good_is_named_with_a_code(index, place, proxy):
    proxy.plan = of_bulk(items_refused(400, "mapper_parsing_exception", [1]))
    (failure,) = index.upsert([document(n, "word") for n in (1, 2, 3)])
    assert number_of(failure.id) == 2
    assert failure.code == "search_mapper_parsing_exception"
    assert not failure.transient


@pytest.mark.parametrize(
    "fault",
    [Answer(500), Answer(503), Answer(429), Half(), Delay(4.0), Answer(200, b"no json")],
    ids=str,
)
def test_a_failing_request_is_transient_and_may_be_repeated(index, place, proxy, fault):
    # A connection that breaks is made once more at once.
    proxy.plan = of_bulk(*[fault] * (2 if fault == Half() else 1))
    documents = [document(n, "word") for n in (1, 2, 3)]
    with pytest.raises(EngineUnavailable):
        index.upsert(documents)
    assert index.upsert(documents) == []
    refresh(place)
    assert numbers(index) == [0, 1, 2, 3]
    assert index.count() == 4


def test_a_connection_closed_on_the_way_is_tried_again_at_once(index, place, proxy):
    proxy.plan = of_bulk(Drop(asked=True))
    assert index.upsert([document(1, "word")]) == []
    refresh(place)
    assert numbers(index) == [0, 1]


def test_a_batch_too_large_for_the_server_is_halved(index, place, proxy):
    proxy.plan = lambda request: (
        Answer(413) if request.path.startswith("/_bulk") and len(request.body) > 3000 else None
    )
    documents = [document(n, "word " * 100) for n in range(1, 9)]
    failures = index.upsert([*documents, document(9, "word " * 1000)])
    assert [(number_of(one.id), one.code) for one in failures] == [(9, "too_large")]
    refresh(place)
    assert numbers(index) == list(range(9))


def test_a_full_disk_is_transient(index, proxy):
    block = json.dumps({"error": {"type": "cluster_block_exception"}, "status": 403}).encode()
    proxy.plan = of_bulk(Answer(403, block))
    with pytest.raises(EngineUnavailable, match="read-only"):
        index.upsert([document(1, "word")])


def test_the_breaker_gives_it_a_rest_and_says_so(place, proxy):
    registry = CollectorRegistry()
    settings = place.model_copy(update={"url": proxy.url})
    breaker = Breaker("opensearch", EngineMetrics(registry), failures=3, rest_seconds=0.3)
    with closing(OpenSearchTextIndex(OpenSearch(settings, breaker), wall_clock)) as index:
        assert index.count() == 0
        proxy.plan = lambda _: Answer(503)
        for _ in range(5):
            with pytest.raises(EngineUnavailable):
                index.count()
        proxy.seen.clear()
        with pytest.raises(EngineUnavailable, match="asked again"):
            index.count()
        assert proxy.seen == []
        state = 'analect_engine_breaker_state{engine="opensearch"} 2.0'
        assert state in generate_latest(registry).decode()
        proxy.plan = lambda _: None
        deadline = time.monotonic() + 20
        while breaker.state != "closed":
            assert time.monotonic() < deadline
            try:
                index.count()
            except EngineUnavailable:
                time.sleep(0.05)
        shown = generate_latest(registry).decode()
    assert 'analect_engine_breaker_state{engine="opensearch"} 0.0' in shown
    assert 'analect_engine_failures_total{engine="opensearch"} 3.0' in shown


@pytest.fixture
def resting_long(place, proxy):
    """An index whose breaker stays open once it is, and that breaker."""
    settings = place.model_copy(update={"url": proxy.url})
    breaker = Breaker("opensearch", EngineMetrics(CollectorRegistry()), rest_seconds=600.0)
    with closing(OpenSearchTextIndex(OpenSearch(settings, breaker), wall_clock)) as index:
        index.upsert([document(0, "word zero")])
        index.count()
        yield index, breaker


def test_a_search_for_which_it_says_nothing_is_the_last_one_that_waits(
    resting_long, proxy, monkeypatch
):
    index, breaker = resting_long
    monkeypatch.setattr("analect.index.opensearch.engine._GRACE_SECONDS", -4.9)
    proxy.plan = lambda request: Delay(4.0) if "_search" in request.path else None
    with pytest.raises(EngineUnavailable, match="does not answer in time"):
        numbers(index)
    assert breaker.state == "open"
    proxy.seen.clear()
    with pytest.raises(EngineUnavailable, match="asked again"):
        numbers(index)
    assert proxy.seen == []


def test_what_is_written_may_take_longer_than_what_somebody_waits_for(
    resting_long, proxy, monkeypatch
):
    index, breaker = resting_long
    monkeypatch.setattr("analect.index.opensearch.engine._GRACE_SECONDS", -4.9)
    proxy.plan = of_bulk(Delay(0.5))
    assert index.upsert([document(1, "word")]) == []
    assert breaker.state == "closed"


@pytest.mark.skipif(VERSION.startswith("2."), reason="tests' own OpenSearch 2.19 has no scripts")
def test_a_search_that_takes_too_long_is_given_up_and_is_no_failure(resting_long, place):
    index, breaker = resting_long
    engine = index._family.engine
    name = f"/{place.prefix}-slow"
    lines = b"".join(b'{"index":{}}\n{"n":%d}\n' % n for n in range(10))
    engine.request("POST", f"{name}/_bulk", body=lines, refresh="true")
    slowly = "double x = 0; for (int i = 0; i < 900000; i++) { x += Math.sin(i) } return 1.0"
    scored = {"query": {"match_all": {}}, "script": {"source": slowly}}
    body = {"query": {"script_score": scored}}
    with pytest.raises(EngineUnavailable, match=r"search\.answer_seconds"):
        engine.request(
            "POST",
            f"{name}/_search",
            body=body,
            allow_partial_search_results="false",
            cancel_after_time_interval="10ms",
        )
    assert breaker.state == "closed"


def test_tls_and_password(place, tmp_path):
    authority, *pair = certificate(tmp_path)
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    with FaultProxy(place.url, tls=tuple(pair), credentials="analect:correct horse") as proxy:
        right = place.model_copy(
            update={
                "url": proxy.url,
                "user": "analect",
                "password_file": secret,
                "ca_file": authority,
            }
        )
        with closing(text_index(right)) as index:
            assert index.upsert([document(1, "word")]) == []
        with (
            closing(text_index(right.model_copy(update={"ca_file": None}))) as index,
            pytest.raises(EngineUnavailable, match="certificate"),
        ):
            index.count()
        secret.write_text("wrong")
        with (
            closing(text_index(right)) as index,
            pytest.raises(EngineMisconfigured, match="refused the password") as caught,
        ):
            index.count()
        assert "wrong" not in str(caught.value)
        assert proxy.url in str(caught.value)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ({"distribution": "opensearch", "number": "2.11.1"}, "2.19 or newer"),
        ({"number": "8.15.0"}, "no OpenSearch"),
    ],
)
def test_a_server_that_will_not_do_is_told_so(place, proxy, version, said):
    told = json.dumps({"version": version}).encode()
    proxy.plan = lambda request: Answer(200, told) if request.path == "/" else None
    with (
        closing(text_index(place.model_copy(update={"url": proxy.url}))) as index,
        pytest.raises(ConfigurationError, match=said),
    ):
        index.upsert([document(1, "word")])


def test_a_server_without_vectors_is_told_so(place, proxy):
    proxy.plan = lambda request: (
        Answer(200, b"[]") if request.path.startswith("/_cat/plugins") else None
    )
    settings = place.model_copy(update={"url": proxy.url})
    with (
        closing(vector_index(settings, model="m", dimension=4)) as index,
        pytest.raises(ConfigurationError, match="opensearch-knn"),
    ):
        index.check()


def test_nobody_listening(place):
    settings = place.model_copy(update={"url": "http://127.0.0.1:1"})
    engine = connect(settings)
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        engine.request("GET", "/")
    engine.close()
