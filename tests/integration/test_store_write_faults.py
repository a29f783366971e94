"""Several processes at once, killed connections, full disks."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from analect.model.errors import (
    AnalectError,
    ConfigurationError,
    Conflict,
    InvalidInput,
    StoreUnavailable,
)
from analect.model.ids import derived_id
from analect.model.record import Draft
from analect.store.append import SealedDraft
from analect.store.cursor import Cursors
from analect.store.engine import open_engine, read_transaction, write_transaction
from analect.store.failures import translate
from analect.store.migrate import migrate
from analect.store.partitions import Partitions
from analect.store.store import Store

NOW = time.time_ns() // 1000
DAY = 86_400 * 1_000_000


def _item(number: int, at: int = NOW, payload: bytes = b"sealed") -> SealedDraft:
    at += number * 1000
    draft = Draft(
        id=derived_id(b"k", "test", str(number), at), occurred_at=at, tags=[f"tag {number % 3}"]
    )
    return SealedDraft(draft, at, None, payload, number.to_bytes(16, "big"))


def _open(url: str) -> Store:
    return Store.open(url, cursors=Cursors(b"k" * 32), clock=lambda: time.time_ns() // 1000)


def _count(engine) -> int:
    with read_transaction(engine) as connection:
        return connection.execute(text("SELECT count(*) FROM records")).scalar_one()


def _append_overlapping(job: tuple[str, int, int]) -> Counter[str]:
    """Records 0-599 in batches of 20, every process from another start."""
    url, start, at = job
    store = _open(url)
    futures = [
        store.append(
            [_item((start + first + i) % 600, at) for i in range(20)], processors=("text", "graph")
        )
        for first in range(0, 600, 20)
    ]
    outcomes = Counter(o for future in futures for o in future.result(60).outcomes)
    store.close()
    return outcomes


def test_processes_with_the_same_records_store_each_once(store_url):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(
            _append_overlapping, [(store_url, 0, NOW), (store_url, 310, NOW)], chunksize=1
        )
    assert first["stored"] + second["stored"] == 600
    assert first["duplicate"] + second["duplicate"] == 600
    store = _open(store_url)
    assert _count(store.engine) == 600
    with read_transaction(store.engine) as connection:
        journal = connection.execute(text("SELECT ids FROM commits")).scalars().all()
    ids = [bytes(raw)[i : i + 16] for raw in journal for i in range(0, len(raw), 16)]
    assert len(ids) == len(set(ids)) == 600
    assert store.close()


def test_months_are_made_on_demand_by_many_at_once(postgres_url):
    engines = [open_engine(postgres_url) for _ in range(4)]
    migrate(engines[0])
    months = [f"20{year:02d}-{month:02d}" for year in (3, 4) for month in range(1, 13)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda engine: Partitions(engine).ensure(months), engines))
    with read_transaction(engines[0]) as connection:
        attached = connection.execute(
            text("SELECT count(*) FROM pg_inherits WHERE inhparent = 'records'::regclass")
        ).scalar_one()
    assert attached == 24
    for engine in engines:
        engine.dispose()


def test_a_month_that_was_dropped_comes_back(postgres_url):
    store = _open(postgres_url)
    item = _item(1)
    store.append([item], processors=()).result(20)
    with write_transaction(store.engine) as connection:
        for name in (
            connection.execute(
                text(
                    "SELECT inhrelid::regclass::text FROM pg_inherits i "
                    "JOIN pg_class c ON c.oid = inhrelid WHERE relkind = 'r'"
                )
            )
            .scalars()
            .all()
        ):
            connection.execute(text(f"DROP TABLE {name}"))
    assert store.append([item], processors=()).result(20).outcomes == ("stored",)
    assert store.close()


def test_a_month_is_made_beside_open_readers_and_writers(postgres_url):
    store = _open(postgres_url)
    with write_transaction(store.engine) as connection:
        connection.execute(text("SELECT count(*) FROM records")).all()
        old = _item(1, NOW - 900 * DAY)
        assert store.append([old], processors=()).result(20).outcomes == ("stored",)
    assert store.close()


def test_a_killed_backend_is_replaced(postgres_url):
    store = _open(postgres_url)
    store.append([_item(1)], processors=()).result(20)
    admin = open_engine(postgres_url)
    stored, tries = 0, 0
    for round_ in range(5):
        with write_transaction(admin) as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            )
        while stored <= round_ and tries < 50:
            tries += 1
            try:
                result = store.append([_item(10 + round_)], processors=()).result(20)
            except StoreUnavailable:
                continue
            stored += result.outcomes in {("stored",), ("duplicate",)}
    assert stored == 5
    store.health()
    admin.dispose()
    assert store.close()


def test_a_backend_killed_in_its_transaction_is_unavailable_not_a_driver_error(postgres_url):
    engine = open_engine(postgres_url)
    migrate(engine)
    admin = open_engine(postgres_url)
    with pytest.raises(StoreUnavailable):
        _kill_own_backend(engine, admin)
    with read_transaction(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()
    admin.dispose()


def _kill_own_backend(engine, admin):
    with write_transaction(engine) as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with write_transaction(admin) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        connection.execute(text("SELECT 1"))


def test_nobody_listening_is_unavailable():
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable), read_transaction(engine):
        pass
    engine.dispose()


@pytest.mark.parametrize(
    "url", ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "not a url", ""]
)
def test_other_databases_are_refused(url):
    with pytest.raises(ConfigurationError) as refusal:
        open_engine(url)
    assert refusal.value.field == "database_url"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="ANALECT_HOME") as refusal:
        open_engine(f"sqlite:///{tmp_path}/file/analect.db")
    assert refusal.value.field == "home"


def test_a_database_without_tables_says_what_to_do(empty_url):
    engine = open_engine(empty_url)
    with pytest.raises(ConfigurationError, match="analect migrate"), read_transaction(engine) as c:
        c.execute(text("SELECT * FROM records"))
    engine.dispose()


class _PostgresError(Exception):
    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "expected", "disk_full"),
    [
        ("53100", StoreUnavailable, True),
        ("57P01", StoreUnavailable, False),
        ("08006", StoreUnavailable, False),
        ("40P01", StoreUnavailable, False),
        ("25006", StoreUnavailable, False),
        ("58030", StoreUnavailable, False),
        ("23505", Conflict, False),
        ("22001", InvalidInput, False),
        ("42P01", ConfigurationError, False),
        ("42601", AnalectError, False),
    ],
)
def test_what_postgres_says_is_translated(state, expected, disk_full):
    error = translate(_PostgresError(state))
    assert isinstance(error, expected)
    assert getattr(error, "disk_full", False) is disk_full


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing_that_was_acked(small_disk):
    store = _open(f"sqlite:///{small_disk}/analect.db")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6 * 1024 * 1024))
    acked, number, refusal = [], 0, None
    while refusal is None and number < 500:
        items = [_item(number + i, payload=os.urandom(4000)) for i in range(10)]
        number += 10
        try:
            acked.extend(store.append(items, processors=("text",)).result(20).ids)
        except StoreUnavailable as error:
            refusal = error
    assert refusal is not None
    assert refusal.disk_full
    with pytest.raises(StoreUnavailable) as sick:
        store.health()
    assert sick.value.disk_full
    assert _count(store.engine) == len(acked) > 0

    ballast.unlink()
    store.health()
    again = store.append([_item(9_000)], processors=("text",)).result(20)
    assert again.outcomes == ("stored",)
    assert len(store.reads.get(acked)) == len(acked)
    assert store.close()
