"""What the indexes are told to forget stays in them where it stands, and only there."""

import pytest

from analect.lifecycle.erase import Eraser
from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.tiers.moving import Mover
from analect.model.record import Draft
from analect.service import AnalysisService
from tests.integration.sending_again import aged, what_is_sent_again_stays_found, words_of


@pytest.fixture
def service(settings):
    """Open; what is to be processed is processed when a test says so."""
    with AnalysisService.open(settings) as service:
        yield service


def test_what_is_deleted_by_policy_and_sent_again_is_found(service):
    what_is_sent_again_stays_found(service)


def test_what_becomes_warm_and_unindexed_is_forgotten_while_it_is_hot_as_well(service, monkeypatch):
    removed = Mover.remove_copied

    def processing(self, month):
        assert service.process() > 0
        return removed(self, month)

    monkeypatch.setattr(Mover, "remove_copied", processing)
    service.ingest(aged(4))
    service.ingest([Draft(input="quince today")])
    service.process()
    policy = parse_policy({"rules": [{"name": "w", "hotDays": 90}], "warmIndexed": False})
    assert service.retention.run([policy], lambda _done, _total: None).archived == 4
    assert len(words_of(service, "quince")) == 1
    service.process()
    report = service.verify("text")
    assert report.clean
    assert report.indexed == 1


def test_what_is_erased_and_sent_again_is_found_by_what_it_says_now(service, monkeypatch):
    purge = Eraser._purge

    def late(self, ids):
        service.process()
        service.ingest(aged(1, input="medlar", session_id="b"))
        service.process()
        purge(self, ids)

    monkeypatch.setattr(Eraser, "_purge", late)
    (record_id,) = service.ingest(aged(1, session_id="a")).ids
    service.ingest(aged(2, session_id="a")[1:])
    service.process()
    assert service.erase("session", "a").state == "final"
    service.process()
    assert words_of(service, "quince") == []
    assert words_of(service, "medlar") == [record_id]
    for name in ("text", "vectors", "graph"):
        report = service.verify(name)
        assert report.clean, (name, report)
        assert report.indexed == 1


def test_what_is_warm_and_unindexed_stays_out_when_it_is_processed_again(service):
    ids = service.ingest(aged(4)).ids
    service.process()
    policy = parse_policy({"rules": [{"name": "w", "hotDays": 90}], "warmIndexed": False})
    assert service.retention.run([policy], lambda _done, _total: None).archived == 4
    service.process()
    assert words_of(service, "quince") == []
    service.reprocess(ids)
    assert service.process() > 0
    assert words_of(service, "quince") == []
    for name in service.status()["indexes"]:
        report = service.verify(name)
        assert (report.clean, report.indexed) == (True, 0), name
