"""What the contract does not ask of an index in OpenSearch: versions, generations, months, purge."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from analect.index.opensearch.control import Control
from analect.index.opensearch.family import Family
from analect.index.opensearch.mapping import meta, text_fields
from analect.index.opensearch.purging import TOMBSTONES_KEPT_SECONDS
from analect.model.errors import ConfigurationError, Conflict
from analect.model.query import RecordFilter
from analect.testing.text import again, document, number_of
from tests.engines.search import (
    AtOnce,
    connect,
    drop,
    refresh,
    text_index,
    vector_index,
    wall_clock,
)

ALL = RecordFilter()
MONTH = 31 * 86_400


@pytest.fixture
def index(place):
    with closing(AtOnce(text_index(place), place)) as index:
        yield index


def numbers(index, query):
    return [number_of(hit.id) for hit in index.search(query, ALL, 1000, None)]


def came_at(one, micros):
    return replace(one, facets=replace(one.facets, received_at=micros))


def indices(place, kind="text"):
    engine = connect(place)
    found = engine.request("GET", f"/{place.prefix}-{kind}-*/_alias")
    engine.close()
    return {name: set(one["aliases"]) for name, one in found.items()}


def test_a_late_write_does_not_bring_a_deleted_record_back(index, place):
    late = came_at(document(1, "the late word"), wall_clock())
    index.delete([late.facets.id])  # before it was ever written
    assert index.upsert([late]) == []
    assert numbers(index, "late") == []
    assert index.count() == 0
    assert list(index.entries()) == []
    index.upsert([again(late)])
    assert numbers(index, "late") == [1]
    index.delete([late.facets.id])  # by a clock that is behind the one it came by
    assert index.upsert([again(late)]) == []
    assert numbers(index, "late") == []


def test_nor_while_another_generation_is_filled(index, place):
    one, other = (came_at(document(n, "word"), wall_clock()) for n in (1, 2))
    index.upsert([one])
    with index.rebuilding() as fresh:
        index.delete([one.facets.id])
        fresh.upsert([one, other])
        index.upsert([one])
    refresh(place)
    assert numbers(index, "word") == [2]


def test_what_was_just_written_does_not_wait_for_a_merge_to_be_found(index, place):
    index.upsert([document(1, "word")])
    with closing(connect(place)) as engine:
        asked = {"include_defaults": "true", "flat_settings": "true"}
        found = engine.request("GET", f"/{place.prefix}-text-*/_settings", **asked)
    holding = {name: one["settings"] for name, one in found.items()}
    assert holding
    for settings in holding.values():
        assert settings["index.merge_on_flush.enabled"] == "false"


def test_tombstones_go_after_a_day(index, place):
    index.upsert([document(1, "word")])
    tomorrow = wall_clock() + (TOMBSTONES_KEPT_SECONDS + 60) * 1_000_000
    index.delete([document(1, "").facets.id])
    engine = connect(place)
    held = {"query": {"match_all": {}}}
    assert engine.request("POST", f"/{place.prefix}-text-*/_count", body=held)["count"] == 1
    engine.close()
    later = type(index._index)(connect(place), lambda: tomorrow, purge_seconds=0.0)
    AtOnce(later, place).purge()
    later.close()
    engine = connect(place)
    assert engine.request("POST", f"/{place.prefix}-text-*/_count", body=held)["count"] == 0
    engine.close()


def test_who_reads_while_another_one_begins_waits(place, monkeypatch):
    """An index that was made this moment answers no read before its first shard is ready."""
    asked = threading.Event()
    engine = connect(place)
    plain = engine.request

    def request(method, path, **given):
        if "health" in path:
            asked.set()
        return plain(method, path, **given)

    monkeypatch.setattr(
        type(engine), "request", lambda _, *words, **given: request(*words, **given)
    )
    name = f"/{place.prefix}-control"
    nowhere = "index.routing.allocation.require._name"
    plain("PUT", f"{name}?wait_for_active_shards=0", body={"settings": {nowhere: "nobody"}})
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(Control(engine, "text", lambda: 7).read)
        assert asked.wait(30)
        plain("PUT", f"{name}/_settings", body={nowhere: None})
        assert reading.result(60).current == 7
    engine.close()


def test_nothing_of_a_purged_record_is_left_in_any_file(opensearch, index):
    secret = f"zebra{uuid.uuid4().hex[:10]}"  # the server keeps files of other tests, too
    kept = [document(n, f"shared {secret[::-1]}{n}") for n in range(50)]
    gone = [document(n, f"shared {secret}{n}", thread_id=f"{secret}{n}") for n in range(50, 90)]
    index.upsert(kept)
    index.upsert(gone)
    assert on_disk(opensearch, secret.encode())
    index.delete([one.facets.id for one in gone])
    index._index.purge()
    assert not on_disk(opensearch, secret.encode())
    assert on_disk(opensearch, secret[::-1].encode())
    assert len(numbers(index, "shared")) == 50


def on_disk(opensearch, trace):
    return any(
        trace in path.read_bytes()
        for path in (opensearch.folder / "data").rglob("*")
        if path.is_file()
    )


def test_months_are_indices_and_go_at_once(index, place):
    index.upsert([document(n * MONTH, "word") for n in range(3)])
    assert [name[-7:] for name in sorted(indices(place))] == ["2023.11", "2023.12", "2024.01"]
    assert all(found == {f"{place.prefix}-text"} for found in indices(place).values())
    assert [number_of(id_) for id_, _ in index.entries()] == [0, MONTH, 2 * MONTH]
    after = document(MONTH, "").facets.id
    assert [number_of(id_) for id_, _ in index.entries(after)] == [2 * MONTH]
    index.drop_month("2023.12".replace(".", "-"))
    assert sorted(numbers(index, "word")) == [0, 2 * MONTH]
    index.upsert([document(MONTH, "word")])
    assert sorted(numbers(index, "word")) == [0, MONTH, 2 * MONTH]


def test_what_somebody_else_wrote_does_not_end_a_walk_nor_a_search(index, place):
    index.upsert([document(n, "word", content_hash=b"h") for n in (2, MONTH)])
    (name, _) = sorted(indices(place))
    ids = [document(n, "").facets.id for n in range(1, 6)]
    put(place, name, ids[0], {"body": "word", "id": ids[0]})
    put(place, name, ids[2], {"body": "word"})
    put(place, name, ids[3], {"body": "word", "id": ids[3], "content_hash": "no hash"})
    put(place, name, "mine", {"body": "word"})
    put(place, name, "yours", {"body": "word", "id": "yours"})
    put(place, name, "elsewhere", {"body": "word", "id": document(MONTH, "").facets.id})
    refresh(place)
    numbered = [(number_of(id_), hash_) for id_, hash_ in index.entries()]
    assert numbered == [(1, b""), (2, b"h"), (3, b""), (4, b""), (MONTH, b"h")]
    assert {1, 2, 4, MONTH} <= set(numbers(index, "word"))
    index.delete([ids[0], ids[2]])
    index.upsert([again(document(4, "word", content_hash=b"4"))])
    assert [hash_ for _, hash_ in index.entries()] == [b"h", b"4", b"h"]


def put(place, index, name, values):
    engine = connect(place)
    engine.request("PUT", f"/{index}/_doc/{name}", body=values)
    engine.close()


def test_scores_of_months_can_be_compared(index):
    index.upsert([document(n, "rare" if n == 0 else "filler") for n in range(40)])
    index.upsert([document(MONTH + n, "rare") for n in range(40)])
    scores = {hit.score for hit in index.search("rare", ALL, 100, None)}
    assert len(scores) == 1


def test_another_process_sees_a_rebuild_and_may_not_do_one_at_the_same_time(index, place):
    other = AtOnce(text_index(place), place)
    index.upsert([document(1, "before")])
    assert numbers(other, "before") == [1]
    with index.rebuilding() as fresh:
        fresh.upsert([document(2, "after")])
        other.upsert([document(3, "after")])
        with pytest.raises(Conflict), other.rebuilding():
            pass
    refresh(place)
    assert sorted(numbers(other, "after")) == [2, 3]
    assert numbers(other, "before") == []
    other.upsert([document(4, "after")])
    assert sorted(numbers(index, "after")) == [2, 3, 4]
    other.close()
    assert len({name.split("-")[-2] for name in indices(place)}) == 1


_KILLED = """
import sys
from analect.settings import Search
from analect.testing.text import document
from tests.engines.search import text_index

index = text_index(Search(url=sys.argv[1], prefix=sys.argv[2]))
with index.rebuilding() as fresh:
    for n in range(0, 100_000, 100):
        documents = [document(m, "word") for m in range(n, n + 100)]
        fresh.upsert(documents)
        fresh.reach(documents[-1].facets.id)
        print(n, flush=True)
"""


def test_a_killed_rebuild_goes_on_where_it_was(index, place, monkeypatch):
    monkeypatch.setattr("analect.index.opensearch.building.PATIENCE_SECONDS", 3.0)
    index.upsert([document(n, "old") for n in (5, 6)])
    command = [sys.executable, "-c", _KILLED, place.url, place.prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        done, until = 0, None
        for line in builder.stdout:
            done = int(line)
            until = until or time.monotonic() + 3.0
            if time.monotonic() > until:
                break
        os.kill(builder.pid, signal.SIGKILL)
    index.upsert([document(5, "changed meanwhile")])
    index.delete([document(6, "").facets.id])
    refresh(place)
    assert numbers(index, "old") == []
    with index.rebuilding() as fresh:
        reached = number_of(fresh.reached())
        assert 0 < reached <= done + 99
        fresh.upsert([document(n, "word") for n in range(reached + 1, reached + 50)])
    refresh(place)
    assert index.count() >= reached + 49  # 6 is gone, the rest up to there is in
    assert numbers(index, "meanwhile") == [5]
    assert document(6, "").facets.id not in dict(index.entries())


def test_an_index_of_another_model_is_refused_until_it_is_rebuilt(place):
    with closing(vector_index(place, model="one", dimension=4)) as first:
        first.check()
        second = vector_index(place, model="two", dimension=4)
        with pytest.raises(ConfigurationError) as caught:
            second.check()
        assert "analect rebuild vectors" in str(caught.value)
        assert "one" in str(caught.value)
        with second.rebuilding() as fresh:
            assert fresh.count() == 0
        second.check()
        with pytest.raises(ConfigurationError):
            first.check()
        second.close()


def test_an_index_of_another_layout_is_refused_until_it_is_rebuilt(index, place):
    index.upsert([document(1, "word")])
    engine = connect(place)
    family = Family(engine, "text", text_fields(), {**meta(), "layout": 0}, wall_clock)
    with pytest.raises(ConfigurationError) as caught:
        family.fit(family.state().current)
    assert "analect rebuild text" in str(caught.value)
    engine.close()


def test_an_index_of_somebody_else_under_the_alias_is_named(index, place):
    index.upsert([document(1, "word")])
    stranger, alias = f"{place.prefix}-stranger", f"{place.prefix}-text"
    engine = connect(place)
    engine.request("PUT", f"/{stranger}", body={"aliases": {alias: {}}})
    with closing(text_index(place)) as other:
        for ask in (other.check, other.count, lambda: numbers(other, "word")):
            with pytest.raises(ConfigurationError, match=f"{stranger}: take it out") as caught:
                ask()
            assert caught.value.field == "search.prefix"
        assert other.upsert([document(2, "word")]) == []  # what is ours is written all the same
        engine.request("DELETE", f"/{stranger}/_alias/{alias}")
        refresh(place)
        assert numbers(other, "word") == [2, 1]
    engine.close()


def test_a_month_that_is_dropped_while_one_looks_is_no_stranger(index, place, monkeypatch):
    index.upsert([document(1, "word"), document(MONTH, "word")])
    first, _ = sorted(indices(place))
    with closing(text_index(place)) as other:
        ask = other._family.engine.request

        def dropped_meanwhile(method, path, **options):
            answer = ask(method, path, **options)
            if path.startswith("/_alias/"):
                ask("DELETE", f"/{first}", ignore_unavailable="true")
            return answer

        monkeypatch.setattr(other._family.engine, "request", dropped_meanwhile)
        other.check()
        assert numbers(other, "word") == [MONTH]


def test_a_month_that_was_not_made_as_ours_are_asks_for_a_rebuild(index, place):
    index.upsert([document(1, "word")])
    (ours,) = indices(place)
    alias = f"{place.prefix}-text"
    engine = connect(place)
    engine.request("DELETE", f"/_index_template/{ours[:-8]}")
    index.upsert([document(MONTH, "word")])  # made rightly, template or not
    engine.request("PUT", f"/{ours[:-7]}2024.01", body={"aliases": {alias: {}}})
    engine.close()
    with closing(AtOnce(text_index(place), place)) as other:
        for ask in (other.check, other.count, lambda: numbers(other, "word")):
            with pytest.raises(ConfigurationError, match="analect rebuild text"):
                ask()
        with other.rebuilding() as fresh:
            fresh.upsert([document(n, "word") for n in (1, MONTH, 2 * MONTH)])
        refresh(place)
        assert sorted(numbers(other, "word")) == [1, MONTH, 2 * MONTH]
        other.check()


def test_everything_of_a_store_has_its_prefix_and_no_text_is_kept(index, place):
    index.upsert([document(1, "a very particular sentence")])
    engine = connect(place)
    found = engine.request(
        "POST", f"/{place.prefix}-text/_search", body={"query": {"match_all": {}}}
    )
    assert "_source" not in found["hits"]["hits"][0]
    engine.close()
    drop(place)
    assert indices(place) == {}
