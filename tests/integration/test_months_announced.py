"""A session that lists the months at the very moment one is made sees it all the same."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event, text

from analect.model.ids import id_floor, month_bounds
from analect.service.finding import wait_until
from analect.store import partitions
from analect.store.dropping import IdSum, drop_month, reattach
from analect.store.engine import open_engine, write_transaction
from analect.store.migrate import migrate
from analect.store.partitions import PARTITIONED, Partitions, announce, attach

MONTH = "2026-08"
RECORD = id_floor(month_bounds(MONTH)[0])
ROW = (
    "INSERT INTO records (id, kind, occurred_at, received_at, content_hash)"
    f" VALUES ('{RECORD}', 'task', 0, 0, 'x')"
)
_WAITING = """
SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s AND relation = 'pg_class'::regclass
"""


class Broken(Exception):
    pass


@pytest.fixture
def engine(postgres_url):
    engine = open_engine(postgres_url)
    migrate(engine)
    Partitions(engine).ensure(["2026-06", "2026-07"])
    yield engine
    engine.dispose()


@pytest.fixture
def listing(postgres_url):
    with closing(Listing(postgres_url)) as listing:
        yield listing


class Listing:
    """A session that is held while it lists the months: it has read which there are, and not yet
    what they are like, for the table that says it is locked.
    """

    def __init__(self, url: str) -> None:
        plain = url.replace("+psycopg", "")
        self.session: Any = psycopg.connect(plain, autocommit=True)
        self._locker: Any = psycopg.connect(plain)
        self._pool = ThreadPoolExecutor(1)
        self._answer: Future[int] | None = None
        self._locker.execute("SET lock_timeout = '20s'")
        self._waiting()
        self._locker.commit()

    @property
    def begun(self) -> bool:
        """Whether it was held once."""
        return self._answer is not None

    def begin(self) -> None:
        """Returns once it is held."""
        # It knows all that the question needs but the months themselves.
        self.session.execute("SELECT count(*) FROM record_tags")
        self.session.execute("SELECT count(*) FROM ONLY records")
        self.session.execute("PREPARE ask AS SELECT count(*) FROM records")
        self._locker.execute("LOCK TABLE pg_class IN ACCESS EXCLUSIVE MODE")
        self._answer = self._pool.submit(self.count)
        assert wait_until(self._waiting, 20)

    def end(self) -> None:
        """Let it go on."""
        self._locker.rollback()

    def count(self) -> int:
        """The records that it sees."""
        return int(self.session.execute("EXECUTE ask").fetchone()[0])

    def close(self) -> None:
        """End its sessions."""
        with self.session, self._locker, self._pool:
            self.end()

    def _waiting(self) -> bool:
        found = self._locker.execute(_WAITING, (self.session.info.backend_pid,)).fetchone()
        return bool(found[0])


def between(engine: Engine, listing: Listing) -> None:
    """``listing`` begins before the next transaction of the engine commits, and ends after it."""

    event.listen(engine, "commit", lambda _: listing.begin(), once=True)

    def end(*_: Any) -> None:
        if listing.begun:
            listing.end()

    event.listen(engine, "checkin", end)


def store_one(engine):
    with write_transaction(engine) as connection:
        connection.execute(text(ROW))


def test_who_lists_the_months_while_one_is_made_sees_what_comes_to_it(engine, listing):
    between(engine, listing)
    Partitions(engine).ensure([MONTH])
    store_one(engine)
    assert listing.count() == 1


@pytest.mark.parametrize("how", ["at once", "by the next run"])
def test_who_lists_the_months_while_one_is_put_back_sees_what_it_holds(engine, listing, how):
    Partitions(engine).ensure([MONTH])
    store_one(engine)
    held = IdSum().plus([RECORD])
    if how == "at once":
        step = at_last_detached(lambda: between(engine, listing))
        assert not drop_month(engine, MONTH, held, step, within=lambda _: False)
    else:
        with pytest.raises(Broken):
            drop_month(engine, MONTH, held, at_last_detached(broken))
        between(engine, listing)
        assert reattach(engine) == [MONTH]
    assert listing.count() == 1


@pytest.mark.parametrize("by", ["a writer", "a run"])
def test_a_month_whose_maker_broke_off_is_announced_by_the_next_one(engine, listing, by):
    between(engine, listing)
    with write_transaction(engine) as connection:
        for table in PARTITIONED:
            attach(connection, table, MONTH)
    if by == "a writer":
        Partitions(engine).ensure([MONTH])
    else:
        reattach(engine)
    store_one(engine)
    assert listing.count() == 1


def test_a_statement_under_way_is_waited_for_but_not_for_ever(engine, postgres_url, monkeypatch):
    plain = postgres_url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as gate, psycopg.connect(plain) as reader:
        gate.execute("SELECT pg_advisory_lock(1)")
        reader.execute("LOCK TABLE ONLY records IN ACCESS SHARE MODE")
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(reader.execute, "SELECT pg_advisory_xact_lock(1)")
            assert wait_until(lambda: waits_for_gate(gate), 20)
            monkeypatch.setattr(partitions, "_LISTING_SECONDS", 0.05)
            assert pauses(engine, "2026-08") == 10
            monkeypatch.setattr(partitions, "_LISTING_SECONDS", 60)
            opened = {3: lambda: gate.execute("SELECT pg_advisory_unlock(1)")}
            assert 3 <= pauses(engine, "2026-09", opened) < 12_000
            reading.result(20)
        # It is idle in its transaction, and lists nothing.
        assert pauses(engine, "2026-10") == 0


def pauses(engine, month, acts=None):
    """How often it is waited while a month is made; ``acts`` by the number of the pause."""
    count = 0

    def pause(seconds):
        nonlocal count
        count += 1
        (acts or {}).get(count, lambda: wait_until(lambda: False, seconds))()

    with write_transaction(engine) as connection:
        for table in PARTITIONED:
            attach(connection, table, month)
    announce(engine, pause)
    return count


def waits_for_gate(session):
    asked = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return session.execute(asked).fetchone() is not None


def at_last_detached(act):
    """A step that does something once all tables of a month are detached."""
    seen = []

    def step(name):
        seen.append(name)
        if name == "month detached" and seen.count(name) == len(PARTITIONED):
            act()

    return step


def broken():
    raise Broken
