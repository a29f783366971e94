"""The write-ahead log goes into the file without any commit doing it, and begins anew."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import text

from analect.store import checkpoints
from analect.store.checkpoints import Checkpoints
from analect.store.engine import checkpoint, open_engine, write_transaction


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "PAUSE_SECONDS", 0.01)
    engine = open_engine(f"sqlite:///{tmp_path / 'log.db'}")
    with write_transaction(engine) as connection:
        connection.execute(text("CREATE TABLE filled (content BLOB)"))
    checkpoint(engine, "TRUNCATE")
    yield engine
    engine.dispose()


@pytest.fixture
def moving(engine):
    thread = Checkpoints(engine)
    yield thread
    thread.close()


def fill(engine) -> None:
    with write_transaction(engine) as connection:
        connection.execute(text("INSERT INTO filled VALUES (randomblob(1000000))"))


def wait_for(condition) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_what_was_committed_reaches_the_file(engine, moving, tmp_path):
    fill(engine)
    moving.wake()
    wait_for(lambda: (tmp_path / "log.db").stat().st_size > 1_000_000)


def test_a_long_log_begins_anew_while_commits_go_on(engine, moving, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "WAL_KEEP_PAGES", 100)
    log = Path(f"{tmp_path / 'log.db'}-wal")
    for _ in range(40):
        fill(engine)
        moving.wake()
        wait_for(lambda: checkpoint(engine, "PASSIVE")[1] < 400)
    assert log.stat().st_size < 20_000_000


def test_a_log_that_cannot_be_moved_does_not_end_the_thread(engine, moving, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        asked = []
        broken.setattr(checkpoints, "checkpoint", lambda *_: asked.append(1) or fail())
        moving.wake()
        wait_for(lambda: asked)
    fill(engine)
    moving.wake()
    wait_for(lambda: (tmp_path / "log.db").stat().st_size > 1_000_000)


def fail():
    from analect.model.errors import StoreUnavailable

    raise StoreUnavailable("the disk is full", disk_full=True)
