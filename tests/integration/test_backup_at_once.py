"""Several backups of one store into one place at the same time: whichever ends first, what comes
after them lacks nothing.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from analect.lifecycle.backup.check import check
from analect.lifecycle.backup.job import BackupJob
from analect.lifecycle.backup.shipper import Shipper
from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.retention.run import Report
from analect.model.ids import DAY
from analect.service import AnalysisService
from analect.service.finding import wait_until
from analect.store.engine import is_postgres, open_engine, read_transaction
from tests.integration.backing_up import drafts, everything

AGEING = [parse_policy({"rules": [{"name": "all", "hotDays": 90}]})]
REMOVING = """
SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
 AND strpos(query, 'DETACH') > 0 AND pid <> pg_backend_pid()
"""


def change(settings, title):
    """What no journal tells: only the notes of changed rows do."""
    with AnalysisService.open(settings) as service:
        service.put_document("story", "s1", {"title": title})
        service.ingest(drafts(2, subject=title))


def once(do, at):
    """A checkpoint that does something the first time it comes by."""
    left = [do]

    def checkpoint(name):
        if name == at and left:
            left.pop()()

    return checkpoint


def same(backed, folder, link=None):
    url = f"sqlite:///{folder}/elsewhere.db"
    backed.restore(url, link)
    engine = open_engine(url)
    found, wanted = everything(engine), everything(backed.engine)
    engine.dispose()
    assert found == wanted


@pytest.mark.parametrize("other", ["full", "incremental"])
def test_one_that_began_earlier_and_ends_later_takes_nothing_away(
    backed, settings, tmp_path, other
):
    backed.write()
    change(settings, "before")

    def meanwhile():
        change(settings, "meanwhile")
        getattr(backed.job(), other)()

    backed.job(checkpoint=once(meanwhile, "objects written")).full()
    backed.job().incremental()
    same(backed, tmp_path)
    assert all(one.whole for one in check(backed.catalog, None))


def test_an_increment_whose_base_is_overtaken_before_it_looks_goes_on_from_the_newer_one(
    backed, settings, tmp_path, monkeypatch
):
    backed.write()
    change(settings, "before")
    found = BackupJob.base

    def overtaken(job):
        base = found(job)
        monkeypatch.undo()
        backed.write()
        return base

    monkeypatch.setattr(BackupJob, "base", overtaken)
    backed.job().incremental()
    same(backed, tmp_path)


@pytest.mark.parametrize("at", ["files held", "objects written", "manifest written"])
def test_a_segment_of_the_log_does_not_take_a_new_backups_place(backed, settings, tmp_path, at):
    if "postgres" in settings.database_url.get_secret_value():
        pytest.skip("the log of changes is SQLite's")
    backed.write()
    change(settings, "first")

    def meanwhile():
        change(settings, "meanwhile")
        backed.write()

    Shipper(backed.job(checkpoint=once(meanwhile, at))).ship()
    change(settings, "last")
    last = backed.job().incremental()
    same(backed, tmp_path, last.id)


def test_a_segment_looks_behind_a_backup_that_ended_meanwhile(
    backed, settings, tmp_path, monkeypatch
):
    if "postgres" in settings.database_url.get_secret_value():
        pytest.skip("the log of changes is SQLite's")
    first = backed.write().id
    shipper = Shipper(backed.job())
    change(settings, "shipped")
    shipper.ship()
    change(settings, "before")
    found = Shipper._base

    def overtaken(self, head):
        monkeypatch.undo()
        backed.write()
        change(settings, "after")
        return found(self, head)

    monkeypatch.setattr(Shipper, "_base", overtaken)
    shipper.ship()
    newest = backed.catalog.newest()
    assert newest != first
    assert len(backed.catalog.segments(first)) == 1
    same(backed, tmp_path, backed.catalog.segments(newest)[-1])


@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_a_month_that_becomes_warm_while_a_backup_looks_is_in_it(backed, settings, tmp_path, kind):
    backed.write()
    long_ago = backed.job().clock() - 200 * DAY
    with AnalysisService.open(settings) as service, ThreadPoolExecutor(1) as pool:
        old = [replace(one, occurred_at=long_ago) for one in drafts(6)]
        service.ingest(old)
        moving: list[Future[Report]] = []

        def meanwhile():
            moving.append(pool.submit(service.retention.run, AGEING, lambda _done, _all: None))
            assert wait_until(lambda: moving[0].done() or removing(backed.engine), 60)

        getattr(backed.job(checkpoint=once(meanwhile, "files held")), kind)()
        assert moving[0].result(60).archived == 6
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    backed.restore(url)
    engine = open_engine(url)
    with read_transaction(engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM records").scalar() == 18
    engine.dispose()


def removing(engine):
    """Whether the removal of a month waits for somebody."""
    if not is_postgres(engine):
        return False
    with read_transaction(engine) as connection:
        return connection.exec_driver_sql(REMOVING).first() is not None
