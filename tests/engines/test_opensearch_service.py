"""The whole service with words and meaning in OpenSearch, which is killed and comes back."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from analect.index.protocols import ItemFailure
from analect.model.errors import EngineUnavailable
from analect.model.query import RecordFilter, SearchRequest
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.service.finding import wait_until
from analect.settings import Settings
from analect.store.tables import outbox
from tests.engines.search import connect, wall_clock

WAIT = 60


@pytest.fixture
def settings(place, tmp_path):
    return Settings(
        home=tmp_path / "home",
        keys={"ring": tmp_path / "ring"},
        processing={"interval_seconds": 0.05, "backoff_seconds": 0.05},
        index={"graph": False},
        search=place,
    )


@pytest.fixture
def service(settings):
    with AnalysisService.open(settings) as service:
        service.start()
        yield service


def settle(service):
    assert wait_until(
        lambda: not any(one["entries"] for one in service.status()["processors"].values()), WAIT
    )


def clean(service, name):
    report = service.verify(name)
    return report.clean and report.indexed == report.truth


def test_it_is_killed_while_records_flow(service, opensearch):
    stop = threading.Event()
    stored: list[str] = []

    def store() -> None:
        while not stop.is_set():
            start = len(stored)
            result = service.ingest(
                [Draft(input=f"quince number{start + n}", subject="p") for n in range(20)]
            )
            stored.extend(id_ for id_ in result.ids if id_ is not None)
            stop.wait(0.02)

    flow = threading.Thread(target=store)
    flow.start()
    try:
        assert wait_until(lambda: len(stored) > 200, WAIT)
        opensearch.kill()
        had = len(stored)
        assert wait_until(lambda: len(stored) > had + 200, WAIT)  # ingest goes on
        for mode in ("text", "hybrid"):
            found = service.search(SearchRequest("quince", mode=mode))
            assert found.degraded
            assert "newest" in found.reason
            assert len(found.items) == 20
            assert found.items[0].highlights[0].startswith("<em>quince</em>")
        none = service.search(SearchRequest("quince", filter=RecordFilter(tags=("absent",))))
        assert none.degraded
        assert none.items == ()
        with pytest.raises(EngineUnavailable):
            service.search(SearchRequest("quince", mode="semantic"))
        assert service.status()["indexes"]["text"]["state"] == "unavailable"
    finally:
        opensearch.start()
        stop.set()
        flow.join()
        opensearch.wait()
    settle(service)
    for name in ("text", "vectors"):
        assert wait_until(lambda name=name: clean(service, name), WAIT), service.verify(name)
        assert service.verify(name).truth == len(set(stored))
    assert service.status()["quarantine"] == []
    assert wait_until(lambda: not service.search(SearchRequest("quince")).degraded, WAIT)
    hybrid = service.search(SearchRequest(f"number{had}", mode="hybrid"))
    assert not hybrid.degraded
    assert hybrid.items[0].record.input == f"quince number{had}"


@pytest.fixture
def read_only(place):
    """Do with the indices of words what OpenSearch does when its disk is full, or undo it."""

    def switch(full):
        block = {"index.blocks.read_only_allow_delete": full}
        engine.request("PUT", f"/{place.prefix}-text-*/_settings", body=block)

    engine = connect(place)
    yield switch
    switch(None)
    engine.close()


def test_a_disk_that_is_full_for_long_costs_no_record(settings, read_only):
    impatient = settings.processing.model_copy(update={"max_attempts": 2, "backoff_seconds": 0.01})

    def tried(service):
        with service.store.engine.connect() as connection:
            return connection.execute(select(func.max(outbox.c.attempts))).scalar_one() or 0

    changed = settings.model_copy(update={"processing": impatient})
    with AnalysisService.open(changed) as service:
        service.start()
        service.ingest([Draft(input="quince before")])
        settle(service)
        read_only(True)
        service.ingest([Draft(input="quince meanwhile")])
        assert wait_until(lambda: tried(service) > 2, WAIT)
        shown = service.status()
        assert shown["processors"]["text"]["code"] == "engine_read_only"
        assert shown["quarantine"] == []
        assert wait_until(lambda: service.search(SearchRequest("before")).items, WAIT)
        report = service.verify("text", repair=True)
        assert (report.missing, report.waiting) == (1, 1)
        read_only(None)
        settle(service)
        assert service.status()["quarantine"] == []
        assert wait_until(lambda: clean(service, "text"), WAIT)


def test_a_rebuild_does_not_put_half_an_index_in_the_place_of_a_whole_one(
    service, read_only, monkeypatch
):
    monkeypatch.setattr("analect.service.upkeep.BATCH", 2)
    service.ingest([Draft(input=f"quince {n}") for n in range(5)])
    settle(service)
    with pytest.raises(EngineUnavailable, match="goes on from here"):
        service.rebuild("text", lambda *_: read_only(True))
    assert wait_until(lambda: len(service.search(SearchRequest("quince")).items) == 5, WAIT)
    assert clean(service, "text")
    read_only(None)
    assert service.rebuild("text") == 5
    assert clean(service, "text")


def test_what_is_erased_while_it_is_on_its_way_does_not_come_back(service, monkeypatch):
    """A worker holds a record, sleeps beyond all patience, and writes it when it is erased."""
    kept = service.ingest([Draft(input="quince kept", subject="other")]).ids
    settle(service)
    indexes = {name: service._parts.indexes.named(name) for name in ("text", "vectors")}
    wakes_up = {name: type(index).upsert for name, index in indexes.items()}
    late: dict[str, list[object]] = {name: [] for name in indexes}
    for name, index in indexes.items():

        def slow(self, documents, name=name) -> list[ItemFailure]:
            late[name].extend(documents)
            return []

        monkeypatch.setattr(type(index), "upsert", slow)
    service.ingest([Draft(input="quince erased", subject="gone")])
    settle(service)
    monkeypatch.undo()
    receipt = service.erase("subject", "gone")
    for name, index in indexes.items():
        assert len(late[name]) == 1
        assert wakes_up[name](index, late[name]) == []
    if receipt.state != "final":
        assert wait_until(lambda: service.erasures()[0].state == "final", WAIT)
    for name, mode in (("text", "text"), ("vectors", "semantic")):
        report = service.verify(name)
        assert (report.truth, report.indexed, report.orphaned) == (1, 1, 0)
        request = SearchRequest("quince", mode=mode)
        assert wait_until(
            lambda request=request: (
                [hit.record.id for hit in service.search(request).items] == list(kept)
            ),
            WAIT,
        )


def test_a_rebuild_while_records_arrive(service):
    ids = service.ingest([Draft(input=f"medlar {n}") for n in range(300)]).ids
    settle(service)

    def one_more(done: int, _total: int) -> None:
        if done:
            service.ingest([Draft(input="medlar meanwhile")])

    assert service.rebuild("text", one_more) >= len(ids)
    settle(service)
    assert wait_until(lambda: clean(service, "text"), WAIT)
    found = service.search(SearchRequest("medlar meanwhile"))
    assert not found.degraded
    assert found.items


def test_what_somebody_wrote_in_the_place_of_a_record_is_mended(service):
    """With a later version than the record's, as whatever is written there by hand has."""
    (record_id,) = service.ingest([Draft(input="quince")]).ids
    settle(service)
    indexes = service._parts.indexes
    other = replace(service.get(record_id), input="medlar", content_hash=b"another")
    for name in ("text", "vectors"):
        indexes.fill(name, indexes.named(name), [other], seen_at=wall_clock())
        assert service.verify(name, repair=True).stale == 1
        assert clean(service, name)
    assert [hit.record.id for hit in service.search(SearchRequest("quince")).items] == [record_id]


def test_what_somebody_deleted_is_put_in_again_at_once(service, place):
    """OpenSearch remembers the deletion for a minute, and that it came later than the record."""
    ids = service.ingest([Draft(input=f"quince {n}") for n in range(3)]).ids
    settle(service)
    engine = connect(place)
    for kind in ("text", "vectors"):
        (name,) = engine.request("GET", f"/{place.prefix}-{kind}/_alias")
        engine.request("DELETE", f"/{name}/_doc/{ids[0]}")
        assert service.verify(kind, repair=True).missing == 1
        assert clean(service, kind)
    engine.close()


def test_an_alias_that_somebody_took_away_is_put_back(service, place, monkeypatch):
    monkeypatch.setattr("analect.index.opensearch.family.READY_SECONDS", 0.0)
    service.ingest([Draft(input="quince")])
    settle(service)
    engine = connect(place)
    for kind in ("text", "vectors"):
        alias = f"{place.prefix}-{kind}"
        taken = {"remove": {"index": f"{alias}-*", "alias": alias}}
        engine.request("POST", "/_aliases", body={"actions": [taken]})
        mode = "text" if kind == "text" else "semantic"
        request = SearchRequest("quince", mode=mode)
        assert wait_until(lambda asked=request: len(service.search(asked).items) == 1, WAIT)
    engine.close()


def test_without_its_control_document_an_index_answers_as_before(service, settings, place):
    """Somebody deleted it; whoever comes next takes up what answers, and does not begin anew."""
    service.ingest([Draft(input="quince")])
    settle(service)
    engine = connect(place)
    engine.request("DELETE", f"/{place.prefix}-control")
    service.ingest([Draft(input="quince again")])
    settle(service)
    with AnalysisService.open(settings) as second:
        assert wait_until(lambda: len(second.search(SearchRequest("quince")).items) == 2, WAIT)
        assert all(clean(second, name) for name in ("text", "vectors"))
    engine.close()


def test_an_index_of_somebody_else_under_the_alias_is_told(service, place, monkeypatch):
    monkeypatch.setattr("analect.index.opensearch.family.READY_SECONDS", 0.0)
    service.ingest([Draft(input="quince")])
    settle(service)
    engine = connect(place)
    stranger, alias = f"{place.prefix}-stranger", f"{place.prefix}-text"
    engine.request("PUT", f"/{stranger}", body={"aliases": {alias: {}}})
    found = service.search(SearchRequest("quince"))
    assert found.degraded
    assert len(found.items) == 1
    assert stranger in found.reason
    shown = service.status()["indexes"]["text"]
    assert (shown["state"], stranger in shown["problem"]) == ("damaged", True)
    engine.request("DELETE", f"/{stranger}")
    assert not service.search(SearchRequest("quince")).degraded
    assert service.status()["indexes"]["text"]["state"] == "ok"
    engine.close()


def test_what_somebody_else_wrote_there_is_not_counted(service, place):
    service.ingest([Draft(input="quince")])
    settle(service)
    engine = connect(place)
    for kind in ("text", "vectors"):
        (name,) = engine.request("GET", f"/{place.prefix}-{kind}/_alias")
        engine.request("PUT", f"/{name}/_doc/odd", body={"note": "by hand"}, refresh="true")
        assert service.status()["indexes"][kind]["records"] == 1
        assert clean(service, kind)
    engine.close()


def test_another_model_in_the_settings_is_told_and_nothing_is_made_again_behind_ones_back(
    service, settings, monkeypatch
):
    service.ingest([Draft(input="a sloe is a small plum")])
    settle(service)
    monkeypatch.setattr("analect.index.embed.WordLlamaEmbedder.model", "another/1")
    with AnalysisService.open(settings) as second:
        with pytest.raises(EngineUnavailable, match="analect rebuild vectors"):
            second.search(SearchRequest("plum", mode="semantic"))
        shown = second.status()["indexes"]["vectors"]
        assert shown["state"] == "damaged"
        assert "analect rebuild vectors" in shown["problem"]
        assert second._parts.indexes.health.damaged() == []
        second.rebuild("vectors")
        assert second.search(SearchRequest("plum", mode="semantic")).items
        assert second.status()["indexes"]["vectors"]["state"] == "ok"


def test_no_word_of_a_question_or_record_is_logged(service, capfd):
    service.ingest([Draft(input="the word xylocarp is nowhere else")])
    settle(service)
    assert wait_until(lambda: service.search(SearchRequest("xylocarp")).items, WAIT)
    said = capfd.readouterr()
    assert "xylocarp" not in said.out + said.err


def test_the_home_folder_holds_no_index(service, settings):
    service.ingest([Draft(input="word")])
    settle(service)
    assert not list(Path(settings.home, "index").glob("*"))
