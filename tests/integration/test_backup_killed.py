"""SIGKILL at every named point of a backup, of the log, of a restore and of a prune: nothing is lost,
doubled or left half.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from analect.lifecycle.backup.check import check
from analect.lifecycle.backup.manifest import FILES, MANIFEST, VERIFIED
from analect.lifecycle.backup.shipper import Shipper
from analect.model.errors import Conflict
from analect.service import AnalysisService
from analect.store.engine import open_engine, read_transaction
from tests.integration.backing_up import Backed, drafts, everything
from tests.integration.commands import Commands

ROOT = Path(__file__).parents[2]


def reaching(objects):
    """Variables with which another process reaches an object store, if there is one."""
    if objects.endpoint is None:
        return {}
    return {
        f"ANALECT_OBJECTS__{name.upper()}": str(value)
        for name, value in (("endpoint", objects.endpoint), *secrets(objects))
    }


def secrets(objects):
    return ((name, value.get_secret_value()) for name, value in objects.credentials().items())


@contextmanager
def dying(backed, settings, elsewhere=""):
    """Does a job and dies at the point that is asked for; says its name."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **Commands(settings, **reaching(settings.objects)).variables,
        "TEST_BACKUPS": str(backed.folder),
        "TEST_ELSEWHERE": elsewhere,
        "TEST_TIERS": str(settings.home.parent / "tiers again"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.backup_dying"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )

    def ask(job, point, passed=()):
        process.stdin.write(f"{job} {point} {','.join(passed)}\n")
        return process.stdout.readline().strip()

    try:
        yield ask
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def points(ask, job, after):
    """Die at every point of a job, one after the other; their names."""
    names = []
    while (name := ask(job, len(names))) != "done":
        assert name not in {"", "failed"}, names
        names.append(name)
        after(name)
    return names


def grow(settings, number):
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(2, subject=f"person {number}"))
        service.put_document("story", "s1", {"title": f"the {number}th"})


ACROSS = pytest.mark.parametrize(
    ("store_url", "elsewhere"), [("sqlite", "postgres"), ("postgres", "sqlite")], indirect=True
)
"""Each kind as where it comes from and as where it goes; either to itself: `test_backup_increments`."""


@ACROSS
def test_a_backup_that_was_killed_is_none_and_the_next_one_is_whole(backed, settings, elsewhere):
    names_so_far: list[str] = []

    def after(name):
        names_so_far.append(name)
        assert all(one.whole for one in check(backed.catalog, None))
        # It stands from its manifest on, and not a moment before.
        written = [one for one in names_so_far if one in {"manifest written", "head moved"}]
        assert len(backed.catalog.ids()) == len(written), names_so_far[-6:]

    with dying(backed, settings) as ask:
        names = points(ask, "full", after)
        assert {"changes noted", "records written", "manifest written", "head moved"} <= set(names)
        grow(settings, 1)
        known = len(backed.catalog.ids())

        def increment(name):
            assert all(one.whole for one in check(backed.catalog, None))
            grow(settings, len(backed.catalog.ids()))

        names = points(ask, "incremental", increment)
        assert {"records written", "manifest written", "head moved"} <= set(names)
        assert len(backed.catalog.ids()) == known + 3  # the killed ones stand from the manifest on
    backed.restore(elsewhere)
    engine = open_engine(elsewhere)
    assert everything(engine) == everything(backed.engine)
    engine.dispose()


@ACROSS
def test_a_restore_that_was_killed_is_whole_or_nothing(backed, settings, elsewhere):
    backed.write()
    grow(settings, 1)
    backed.job().incremental()
    wanted = everything(backed.engine)
    with dying(backed, settings, elsewhere) as ask:
        engine = open_engine(elsewhere)

        def after(name):
            with read_transaction(engine) as connection:
                count = connection.execute(text("SELECT count(*) FROM records")).scalar()
            assert count == (len(wanted["records"]) if name == "committed" else 0)

        names = []
        while "committed" not in names:
            names.append(ask("restore", len(names)))
            assert names[-1] not in {"", "failed", "done"}
            after(names[-1])
        assert names == [
            "prepared",
            "files brought",
            "link loaded",
            "link loaded",
            "read back",
            "committed",
        ]
        assert everything(engine) == wanted
        engine.dispose()
    with pytest.raises(Conflict, match="already"):
        backed.restore(elsewhere)


def test_a_log_that_was_killed_loses_nothing(backed, settings, elsewhere):
    if "postgres" in settings.database_url.get_secret_value() or "postgres" in elsewhere:
        pytest.skip("the log of changes is SQLite's")
    backed.write()
    grow(settings, 0)
    with dying(backed, settings) as ask:

        def after(name):
            assert all(one.whole for one in check(backed.catalog, None))
            grow(settings, name)

        names = points(ask, "ship", after)
    assert {"records written", "manifest written", "head moved"} <= set(names)
    Shipper(backed.job()).ship()
    newest = backed.catalog.newest()
    backed.restore(elsewhere, (backed.catalog.segments(newest) or [newest])[-1])
    engine = open_engine(elsewhere)
    found, wanted = everything(engine), everything(backed.engine)
    engine.dispose()
    found.pop("outbox")
    wanted.pop("outbox")
    assert found == wanted


@pytest.fixture(params=["folder", "bucket"])
def kept_in(request, backed, settings):
    """The same store, with its backups in each kind of place."""
    if request.param == "folder":
        yield backed
        return
    objects = request.getfixturevalue("objects")
    there = settings.model_copy(update={"objects": objects})
    other = Backed(there, f"{request.getfixturevalue('bucket')}/b")
    yield other
    other.engine.dispose()


def test_a_prune_that_was_killed_breaks_nothing_and_the_next_one_ends_it(kept_in, tmp_path):
    backed, settings = kept_in, kept_in.settings
    catalog, place = backed.catalog, backed.catalog.place
    backed.write()
    backed.job().incremental()
    if "sqlite" in settings.database_url.get_secret_value():
        for number in (0, 1):
            grow(settings, number)
            Shipper(backed.job()).ship()
    verified = backed.write().id
    backed.drill(verified, tmp_path)
    backed.job().incremental()
    newest = backed.write().id
    with place.create(catalog.path(FILES, "warm/task/2024-01/of no backup")) as stream:
        stream.write(b"a copy")
    seen = []
    with dying(backed, settings) as ask:
        assert ask("full", 3) == "key_shards written"
        assert len(catalog.unfinished()) == 1
        while (name := ask("prune", 0, seen)) != "done":
            assert name not in {"", "failed", *seen}, seen
            seen.append(name)
            assert {verified, newest} <= set(catalog.ids())
            assert all(one.whole for one in check(catalog, None))
    assert set(seen) == {
        "manifest removed",
        "object removed",
        "backup removed",
        "references kept",
        "copy removed",
    }
    assert catalog.ids() == place.names(catalog.store) == [verified, newest]
    for one in (verified, newest):
        objects = {stored.name for stored in catalog.manifest(one).objects}
        assert {*place.names(catalog.path(one))} - {VERIFIED} == objects | {MANIFEST}
    backed.drill(newest, tmp_path)
