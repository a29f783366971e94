"""What ages out of OpenSearch goes by whole months where nothing is left of them."""

import time

import pytest

from analect.index.opensearch import OpenSearchTextIndex
from analect.lifecycle.retention.loading import parse_policy
from analect.model.errors import EngineUnavailable
from analect.model.query import RecordFilter, SearchRequest
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings
from analect.testing.text import document
from tests.engines.search import connect, refresh, text_index
from tests.integration.sending_again import what_is_sent_again_stays_found

DAY = 86_400_000_000
WARM = {"name": "all", "hotDays": 90, "warmDays": 200}


@pytest.fixture
def service(place, tmp_path):
    settings = Settings(
        home=tmp_path / "home",
        keys={"ring": tmp_path / "ring"},
        processing={"backoff_seconds": 0.01},
        index={"graph": False, "vectors": False},
        search=place,
    )
    with AnalysisService.open(settings) as service:
        yield service


def stored(service, days, count=6, **more):
    at = time.time_ns() // 1000 - days * DAY
    drafts = [Draft(occurred_at=at + n, input=f"quince {days} {n}", **more) for n in range(count)]
    ids = service.ingest(drafts).ids
    service.process()
    return ids


def months(place):
    engine = connect(place)
    found = engine.request("GET", f"/{place.prefix}-text-*/_alias")
    engine.close()
    return sorted(name[-7:] for name in found)


def month(days):
    return time.strftime("%Y.%m", time.gmtime(time.time() - days * 86_400))


def run(service, rule, **more):
    policy = parse_policy({"rules": [rule], **more})
    return service.retention.run([policy], lambda _done, _total: None)


def waiting(service):
    return service.status()["processors"].get("text", {"entries": 0})["entries"]


def whole(service, place, count):
    service.process()
    refresh(place)
    report = service.verify("text")
    assert report.clean, report
    assert report.indexed == count


@pytest.mark.parametrize("how", ["gone", "warm", "cold"])
def test_a_month_that_leaves_whole_is_dropped(service, place, how):
    stored(service, 300)
    stored(service, 2)
    assert months(place) == [month(300), month(2)]
    if how == "gone":
        report = run(service, {"name": "all", "hotDays": 90, "then": "delete"})
    elif how == "warm":
        report = run(service, {"name": "all", "hotDays": 90}, warmIndexed=False)
    else:
        run(service, WARM)
        assert months(place) == [month(300), month(2)]  # warm stays indexed
        report = run(service, WARM)
        assert report.compressed == 6
    assert report.dropped == {"text": [month(300).replace(".", "-")]}
    assert months(place) == [month(2)]
    assert waiting(service) == 0  # nothing is deleted one by one
    assert service.process() == 0
    assert months(place) == [month(2)]
    whole(service, place, 6)
    stored(service, 300)  # and a record of that month may come later
    refresh(place)
    assert len(service.search(SearchRequest("quince")).items) == 12


def test_of_a_month_that_stays_records_are_deleted_one_by_one(service, place):
    stored(service, 300, kind="task")
    kept = stored(service, 300)
    rule = {"name": "t", "selector": {"kinds": ["task"]}, "hotDays": 90, "then": "delete"}
    report = run(service, rule)
    assert (report.deleted, report.dropped) == (6, {"text": []})
    assert waiting(service) == 1  # due at once
    whole(service, place, 6)
    assert {hit.record.id for hit in service.search(SearchRequest("quince")).items} == set(kept)


def test_an_engine_that_is_away_gets_its_deletions_later(service, place, monkeypatch):
    def away(_self, _month):
        raise EngineUnavailable("away")

    stored(service, 300)
    monkeypatch.setattr(OpenSearchTextIndex, "drop_month", away)
    report = run(service, {"name": "all", "hotDays": 90, "then": "delete"})
    assert report.dropped == {"text": []}
    assert waiting(service) == 1
    whole(service, place, 0)


def test_a_record_that_comes_while_its_month_is_dropped_is_found(service, place, monkeypatch):
    late = []
    drop = OpenSearchTextIndex.drop_month

    def dropping(self, named):
        late.extend(stored(service, 300, 1))
        return drop(self, named)

    stored(service, 300)
    monkeypatch.setattr(OpenSearchTextIndex, "drop_month", dropping)
    run(service, {"name": "all", "hotDays": 90, "then": "delete"})
    whole(service, place, 1)
    assert [hit.record.id for hit in service.search(SearchRequest("quince")).items] == late


def test_who_took_a_month_to_be_there_makes_it_again_where_it_is_found(place):
    one, other = text_index(place), text_index(place)
    other.upsert([document(1, "before")])
    assert one.drop_month("2023-11")
    other.upsert([document(2, "after")])
    refresh(place)
    assert [hit.id for hit in one.search("after", RecordFilter(), 5, None)] == [
        document(2, "").facets.id
    ]
    with one.rebuilding():
        assert not other.drop_month("2023-11")
    one.close()
    other.close()


def test_what_is_deleted_and_sent_again_is_found(service, place):
    what_is_sent_again_stays_found(service, lambda: refresh(place))
