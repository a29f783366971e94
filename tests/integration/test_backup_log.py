"""The log of changes: any moment comes back, on SQLite, a few seconds at most are lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from analect.lifecycle.backup.check import check
from analect.lifecycle.backup.shipper import Shipper
from analect.model.errors import Conflict, Corrupt, NotFound
from analect.service import AnalysisService
from analect.settings import Backup
from analect.store.engine import open_engine
from tests.integration.backing_up import clock, drafts, everything
from tests.integration.test_backup_increments import change


@pytest.fixture
def store_url(sqlite_url):
    """Archiving the write-ahead log does it on Postgres."""
    return sqlite_url


@pytest.fixture
def elsewhere(tmp_path):
    return f"sqlite:///{tmp_path}/elsewhere/analect.db"


def without_done(rows):
    """Entries of the outbox that were done since the last backup come again: leave them out."""
    return {name: found for name, found in rows.items() if name != "outbox"}


def copied(engine):
    """The whole database file."""
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Path(engine.url.database).read_bytes()


def rows_at(backed, moment, tmp_path, number):
    url = f"sqlite:///{tmp_path}/moment-{number}/analect.db"
    backed.restore(url, backed.catalog.at(moment))
    engine = open_engine(url)
    try:
        return without_done(everything(engine))
    finally:
        engine.dispose()


def test_every_moment_comes_back(backed, settings, tmp_path):
    backed.write()
    shipper = Shipper(backed.job())
    moments = [(clock(), without_done(everything(backed.engine)))]
    for number in (1, 2, 3):
        change(settings, number)
        assert shipper.ship()
        assert not shipper.ship()
        moments.append((clock(), without_done(everything(backed.engine))))
    backed.job().incremental()
    shipper.ship()
    change(settings, 4)
    assert shipper.ship()
    moments.append((clock(), without_done(everything(backed.engine))))
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(1))  # never shipped
    for number, (moment, rows) in enumerate(moments):
        found = rows_at(backed, moment, tmp_path, number)
        # Keys that were destroyed since are nowhere: what they sealed is not there either.
        assert found["documents"] == rows["documents"]
        assert {row[0] for row in found["records"]} <= {row[0] for row in rows["records"]}
        if number == len(moments) - 1:
            assert found == rows
    with pytest.raises(NotFound, match="old"):
        backed.catalog.at(moments[0][0] - 3_600_000_000)
    assert all(one.whole for one in check(backed.catalog, None))
    assert [one.log_until is not None for one in backed.catalog.listed()] == [True, True]


def test_a_segment_that_is_missing_or_swapped_is_named(backed, settings, elsewhere):
    base = backed.write().id
    shipper = Shipper(backed.job())
    for number in (1, 2, 3):
        change(settings, number)
        shipper.ship()
    links = backed.catalog.segments(base)
    folder = backed.folder / backed.catalog.store
    first, second = (folder / link / "changes" for link in links[:2])
    kept = first.read_bytes(), second.read_bytes()
    first.write_bytes(kept[1])
    second.write_bytes(kept[0])
    with pytest.raises(Corrupt, match="0000000001/changes"):
        backed.restore(elsewhere, links[-1])
    first.write_bytes(kept[0])
    second.write_bytes(kept[1])
    for name in ("changes", "manifest"):
        (folder / links[1] / name).rename(folder / links[1] / f"x{name}")
    with pytest.raises(Corrupt, match="0000000002"):
        backed.restore(elsewhere, links[-1])
    (one,) = check(backed.catalog, None)
    assert "0000000002" in one.problem


def test_nothing_is_shipped_before_there_is_a_backup(backed):
    with pytest.raises(Conflict, match="backup create"):
        Shipper(backed.job()).ship()


def test_an_older_copy_of_the_database_goes_on_behind_a_backup_of_its_own(
    backed, settings, elsewhere
):
    backed.write()
    change(settings, 1)
    Shipper(backed.job()).ship()
    rows = without_done(everything(backed.engine))
    database = backed.engine.url.database
    copy = copied(backed.engine)
    change(settings, 2)
    Shipper(backed.job()).ship()
    backed.engine.dispose()
    Path(database).write_bytes(copy)
    assert without_done(everything(backed.engine)) == rows
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(3, subject="after"))
    Shipper(backed.job()).ship()
    assert [one.kind for one in backed.catalog.listed()] == ["manual", "log"]
    last = backed.catalog.segments(backed.catalog.newest()) or [backed.catalog.newest()]
    backed.restore(elsewhere, last[-1])


def test_a_service_at_work_ships_by_itself(backed, settings, tmp_path):
    backed.write()
    settings = settings.model_copy(
        update={"backup": Backup(place=str(backed.folder), log_seconds=0.1)}
    )
    pause = threading.Event()
    with AnalysisService.open(settings) as service:
        service.start()
        ids = service.ingest(drafts(20, subject="dora"), wait_indexed=20).ids
        deadline = time.monotonic() + 20
        acked = clock()
        while (service._parts.shipping.shipped_at or 0) < acked:
            assert time.monotonic() < deadline
            pause.wait(0.02)
        assert service._parts.status.look().shipped_age < 20
        found = rows_at(backed, clock(), tmp_path, 0)
        assert len(found["records"]) == 12 + 20
        service.ingest(drafts(1, subject="late"))
    assert len(rows_at(backed, clock(), tmp_path, 1)["records"]) == 12 + 20 + 1
    assert len(ids) == 20
