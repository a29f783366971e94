"""A restore that another process helps: the same rows, the same refusals, nobody left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from analect.lifecycle.backup import restore as restoring
from analect.lifecycle.backup.beside import Beside, beside
from analect.lifecycle.backup.deciding import Selection
from analect.lifecycle.backup.format import SHA256
from analect.lifecycle.backup.read import LinkReader
from analect.lifecycle.places.opening import open_place
from analect.model.errors import Corrupt, StoreUnavailable
from analect.service import AnalysisService
from tests.integration.test_backup_faulty_store import put_into
from tests.integration.test_backup_increments import change, same


@pytest.fixture
def elsewhere(tmp_path):
    """Only SQLite is helped."""
    return f"sqlite:///{tmp_path}/elsewhere/analect.db"


def ready_behind(chunks):
    """An answer that the process is there once so many chunks were read without it."""
    read = iter(range(chunks))
    return lambda _: next(read, None) is None


@pytest.fixture(autouse=True)
def helped(monkeypatch):
    """However few rows there are; the numbers of the processes that helped."""
    numbers = []
    begin = Beside.begin

    def noted(self, place, key):
        numbers.append(self._process.pid)
        begin(self, place, key)

    monkeypatch.setattr(restoring, "HELPED", 0)
    monkeypatch.setattr(Beside, "ready", ready_behind(0))
    monkeypatch.setattr(Beside, "begin", noted)
    yield numbers
    assert not [one for one in numbers if Path(f"/proc/{one}").exists()]


@pytest.mark.parametrize("alone", [0, 1, 5, 1000])
def test_links_come_back_whole(backed, elsewhere, settings, *, helped, monkeypatch, alone):
    monkeypatch.setattr(Beside, "ready", ready_behind(alone))
    backed.write()
    change(settings, 1)
    backed.job().incremental()
    backed.restore(elsewhere)
    same(backed, elsewhere)
    assert len(helped) == 1


def test_what_was_erased_or_not_asked_for_stays_away(backed, elsewhere, settings):
    backed.write()
    with AnalysisService.open(settings) as service:
        assert service.erase("subject", "anna").state == "final"
    restored = backed.restore(elsewhere, selection=Selection(kinds=frozenset({"interaction"})))
    assert restored.dropped["records"] == 5
    assert restored.rows["records"] == 7


def test_damage_is_refused(backed, elsewhere):
    backed.write()
    path = backed.object("records")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match="records does not verify"):
        backed.restore(elsewhere)
    backed.object("records").unlink()
    with pytest.raises(Corrupt, match="lacks its object"):
        backed.restore(elsewhere)


def test_nothing_is_restored_without_it(backed, elsewhere, helped):
    backed.write()

    def gone(name):
        if name == "link loaded":
            os.kill(helped[0], signal.SIGKILL)

    with pytest.raises(StoreUnavailable, match="try again"):
        backed.restore(elsewhere, checkpoint=gone)
    backed.restore(elsewhere)
    same(backed, elsewhere)


def test_it_is_ready_by_itself(backed, elsewhere, monkeypatch):
    backed.write()
    with beside(backed.catalog.place, backed.catalog.keys.row_hash(SHA256)) as helper:
        assert helper.summed([]) == (0, f"{0:032x}")  # so it has begun
        monkeypatch.undo()
        assert helper.ready()
        reader = LinkReader(backed.catalog, backed.catalog.manifest(backed.catalog.newest()))
        assert list(reader.chunks(helper)) == list(reader.chunks())
        os.kill(helper._process.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable, match="ended by itself"):
            list(reader.chunks(helper))


def test_it_reads_from_a_bucket(backed, elsewhere, objects, bucket):
    put_into(backed, open_place(f"{bucket}/b", objects))
    backed.write()
    backed.restore(elsewhere)
    same(backed, elsewhere)
