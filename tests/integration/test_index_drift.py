"""Samples in the background tell how far an index is from the truth, and only what is not on its
way counts.
"""

import threading
from dataclasses import replace

import pytest

from analect.model.errors import EngineUnavailable, TerminalError
from analect.model.ids import id_floor
from analect.model.query import SearchRequest
from analect.model.record import Draft
from analect.service import AnalysisService, drift
from analect.settings import Settings
from analect.store.sampling import place_by_chance
from analect_processors.watching import watched


@pytest.fixture
def service(tmp_path, store_url):
    settings = Settings(
        home=tmp_path / "home",
        database_url=store_url,
        keys={"ring": tmp_path / "ring"},
        index={"vectors": False},
    )
    with AnalysisService.open(settings) as service:
        yield service


def told(service, index="text"):
    ask = service.telemetry.registry.get_sample_value
    return {
        kind: ask("analect_index_drift_records", {"index": index, "difference": kind})
        for kind in drift.KINDS
    }


def stored(service, count):
    ids = service.ingest([Draft(input=f"quince {n}") for n in range(count)]).ids
    service.process()
    return ids


def test_what_an_index_lacks_or_has_too_much_is_told(service):
    ids = stored(service, 30)
    service.drift.look()
    assert set(told(service).values()) == {0}
    text, graph = (service._parts.indexes.named(name) for name in ("text", "graph"))
    text.delete(ids[:3])
    with graph.rebuilding():
        pass  # an empty one
    service.drift.look()
    assert set(told(service).values()) == {0}  # it might have been on its way
    service.drift.look()
    assert told(service) == {"missing": 3, "stale": 0, "orphaned": 0}
    assert told(service, "graph")["missing"] == 30
    service.rebuild("graph")
    service.verify("text", repair=True)
    service.drift.look()
    assert set(told(service).values()) == set(told(service, "graph").values()) == {0}


def test_what_is_stale_is_replaced(service):
    first, *_ = stored(service, 3)
    indexes = service._parts.indexes
    other = replace(service.get(first), input="medlar", content_hash=b"another")
    for name in ("text", "graph"):
        assert indexes.fill(name, indexes.named(name), [other]) == []
        report = service.verify(name, repair=True)
        assert (report.missing, report.stale, report.orphaned) == (0, 1, 0)
        assert service.verify(name).clean
    assert service.search(SearchRequest("medlar")).items == ()
    assert len(service.search(SearchRequest("quince")).items) == 3


def test_who_is_erased_while_an_index_is_mended_does_not_come_back(service, monkeypatch):
    ids = [*stored(service, 2), *service.ingest([Draft(input="quince", subject="gone")]).ids]
    service.process()
    text = service._parts.indexes.named("text")
    text.delete(ids)
    fill = type(service._parts.indexes).fill

    def erased_meanwhile(*args, **options):
        monkeypatch.undo()
        assert service.erase("subject", "gone").state == "final"
        return fill(*args, **options)

    monkeypatch.setattr(type(service._parts.indexes), "fill", erased_meanwhile)
    assert service.verify("text", repair=True).missing == 3
    assert service.verify("text").clean
    assert sorted(dict(text.entries())) == sorted(ids[:2])


@pytest.mark.parametrize("error", [EngineUnavailable("busy"), TerminalError("these texts")])
def test_what_cannot_be_mended_at_once_is_put_in_later(service, monkeypatch, error):
    ids = stored(service, 3)
    text = service._parts.indexes.named("text")
    text.delete(ids[:2])

    def refused(*_args):
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(type(text), "upsert", refused)
    assert service.verify("text", repair=True).missing == 2
    assert service.verify("text").missing == 2
    service.process()
    assert service.verify("text").clean
    assert service.status()["quarantine"] == []


def test_what_is_on_its_way_is_no_drift(service):
    stored(service, 5)
    service.ingest([Draft(input="quince late")])
    for _ in range(3):
        service.drift.look()  # nobody processes
        assert told(service) == {"missing": None, "stale": None, "orphaned": None}
    service.process()
    service.drift.look()
    assert told(service)["missing"] == 0


def test_samples_of_many_are_projected_on_the_whole(service, monkeypatch):
    monkeypatch.setattr(drift, "SAMPLE", 10)
    for _ in range(10):
        stored(service, 10)
    text = service._parts.indexes.named("text")
    everything = [record_id for record_id, _ in text.entries()]
    text.delete(everything[::2])
    for _ in range(60):
        service.drift.look()
    assert told(service)["missing"] == pytest.approx(50, abs=10)
    compared = service.telemetry.registry.get_sample_value(
        "analect_index_compared_records", {"index": "text"}
    )
    assert 100 <= compared <= 600


def test_places_are_those_of_commits(service):
    assert place_by_chance(service.store.engine, 5) is None
    ids = [stored(service, 1)[0] for _ in range(4)]
    places = [place_by_chance(service.store.engine, number) for number in range(4)]
    assert all(place < record_id for place, record_id in zip(places, ids, strict=True))
    assert places == sorted(places)
    assert all(place >= id_floor(0) for place in places)


def test_one_process_looks(service):
    stop, looked, forgot = threading.Event(), threading.Event(), threading.Event()
    leads = [True]

    class Drift:
        def look(self):
            looked.set()
            leads[0] = False

        def forget(self):
            forgot.set()

    with watched(Drift(), lambda: leads[0], stop, seconds=0.01):
        assert looked.wait(10)
        assert forgot.wait(10)
    stored(service, 1)
    service.drift.look()
    service.drift.forget()
    assert set(told(service).values()) == {None}
