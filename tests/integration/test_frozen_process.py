"""A process that is frozen (a machine that swaps, a paused container) does not hold the database."""

import signal
import subprocess
import sys

import pytest
from sqlalchemy import insert, select, text, update

from analect.model.errors import StoreUnavailable
from analect.store.alone import alone
from analect.store.engine import open_engine, read_transaction, write_transaction
from analect.store.leader import Leadership
from analect.store.migrate import migrate
from analect.store.tables import meta
from tests.integration.clusters import wait_for

_HOLDS = """
import sys
from sqlalchemy import update
from analect.model.errors import StoreUnavailable
from analect.store.engine import open_engine, write_transaction
from analect.store.tables import meta

engine = open_engine(sys.argv[1], idle_seconds=2)
try:
    with write_transaction(engine) as connection:
        connection.execute(update(meta).where(meta.c.name == "row").values(value="frozen"))
        print("held", flush=True)
        sys.stdin.readline()
except StoreUnavailable:
    print("lost", flush=True)
"""
_LEADS = """
import sys
from analect.model.errors import StoreUnavailable
from analect.store.engine import open_engine
from analect.store.leader import Leadership

leadership = Leadership(open_engine(sys.argv[1]), silent_seconds=2)
assert leadership.try_lead()
print("held", flush=True)
sys.stdin.readline()
try:
    leadership.try_lead()
except StoreUnavailable:
    print("lost", flush=True)
"""
_ALONE = """
import sys
from sqlalchemy import update
from analect.model.errors import StoreUnavailable
from analect.store.alone import alone
from analect.store.engine import open_engine, write_transaction
from analect.store.tables import meta

engine = open_engine(sys.argv[1])
try:
    with alone(engine, "erasing", silent_seconds=2):
        print("held", flush=True)
        sys.stdin.readline()
        with write_transaction(engine) as connection:
            connection.execute(update(meta).where(meta.c.name == "row").values(value="frozen"))
        print("written", flush=True)
except StoreUnavailable:
    print("lost", flush=True)
"""


@pytest.fixture
def database(postgres_url):
    engine = open_engine(postgres_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def frozen(postgres_url):
    """Starts a program, and freezes it when it holds what it holds; wakes it in the end."""
    running = []

    def start(program):
        process = subprocess.Popen(
            [sys.executable, "-c", program, postgres_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)

        def wake():
            process.send_signal(signal.SIGCONT)
            said, _ = process.communicate("\n", timeout=30)
            return said

        return wake

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_its_locks_are_taken_from_it(database, frozen):
    with write_transaction(database) as connection:
        connection.execute(insert(meta).values(name="row", value="first"))
    wake = frozen(_HOLDS)
    with write_transaction(database) as connection:  # waits until the lock is free
        connection.execute(update(meta).where(meta.c.name == "row").values(value="second"))
    assert wake() == "lost\n"
    with read_transaction(database) as connection:
        value = connection.execute(select(meta.c.value).where(meta.c.name == "row")).scalar_one()
    assert value == "second"


def test_who_waits_for_its_turn_gets_it_and_the_frozen_one_changes_nothing_any_more(
    database, frozen
):
    with write_transaction(database) as connection:
        connection.execute(insert(meta).values(name="row", value="first"))
    wake = frozen(_ALONE)
    with alone(database, "erasing"):  # waits until the lock is free
        assert wake().endswith("lost\n")
        with write_transaction(database) as connection:
            connection.execute(update(meta).where(meta.c.name == "row").values(value="second"))
    with read_transaction(database) as connection:
        value = connection.execute(select(meta.c.value).where(meta.c.name == "row")).scalar_one()
    assert value == "second"


def test_the_next_one_has_its_turn_at_once(database):
    for _ in range(20):
        with alone(database, "retention", wait=False):
            pass
        with pytest.raises(LookupError), alone(database, "retention", wait=False):
            raise LookupError


def test_who_works_for_long_speaks_and_keeps_its_lock(database, monkeypatch):
    monkeypatch.setattr("analect.store.alone._SPEAKS", 100)
    asked = text(
        "SELECT pid, state_change FROM pg_stat_activity JOIN pg_locks USING (pid) "
        "WHERE locktype = 'advisory' AND datname = current_database()"
    )
    with alone(database, "retention"):

        def sessions():
            with read_transaction(database) as connection:
                return set(connection.execute(asked).fetchall())

        before = sessions()
        assert before
        wait_for(lambda: sessions() - before)
        with (
            pytest.raises(StoreUnavailable, match="at it already"),
            alone(database, "retention", wait=False),
        ):
            pass
        with write_transaction(database) as connection:
            connection.execute(insert(meta).values(name="row", value="mine"))


def test_another_dispatcher_leads_in_its_place(database, frozen):
    wake = frozen(_LEADS)
    other = Leadership(database)
    wait_for(other.try_lead)
    assert wake() == "lost\n"
    assert other.try_lead()
    other.close()
