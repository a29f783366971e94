"""Processes of a cluster are killed, frozen and given wrong clocks while records flow: in the end
every record is in the truth once, in every index once, and nothing stands in quarantine.
"""

from __future__ import annotations

import os
import random
import signal

import pytest
from sqlalchemy import func, select

from analect.model.record import Draft
from analect.service import AnalysisService
from analect.service.wiring import wall_clock
from analect.settings import Settings
from analect.store.engine import read_transaction
from analect.store.shared_clock import SharedClock
from analect.store.tables import outbox, records

pytest.importorskip("rq", reason="needs the extra `engines`")

from tests import asking
from tests.integration.clusters import (
    Cluster,
    Flow,
    nothing_lost,
    restart_at_once,
    under_faults,
    wait_for,
    waiting,
)
from tests.valkey import valkey_server

LONG = os.environ.get("ANALECT_FAULT_ROUNDS") == "long"
RECORDS = 20_000 if LONG else 1_500
ROUNDS = 12 if LONG else 1
MINUTE = 60_000_000

GATED = '''
import os
import time
from pathlib import Path

from analect.pipeline.processor import Outcome

HERE = Path(os.environ["GATED_FOLDER"])


class Gated:
    """Its index is a folder with a file a record; it waits where GATED_WAIT says."""

    name, version = "gated", 1

    def __init__(self, context):
        pass

    def process(self, records):
        if os.environ.get("GATED_WAIT"):
            (HERE / "begun").touch()
            while not (HERE / "open").exists():
                time.sleep(0.02)
        for record in records:
            (HERE / "index" / record.id).touch()
        return Outcome()

    def forget(self, ids):
        for record_id in ids:
            (HERE / "index" / record_id).unlink(missing_ok=True)
'''


@pytest.fixture
def cluster(tmp_path, postgres_url):
    with valkey_server() as valkey:
        cluster = Cluster(tmp_path, postgres_url, f"redis://127.0.0.1:{valkey.port}/0")
        yield cluster
        cluster.close()


@pytest.fixture
def gated(cluster, tmp_path, monkeypatch):
    """The processor above, installed for this process and those of the cluster."""
    info = tmp_path / "site" / "gated-1.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "index").mkdir()
    (tmp_path / "site" / "gated_processor.py").write_text(GATED)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gated\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[analect.processors]\ngated = gated_processor:Gated\n")
    said = {"PYTHONPATH": str(tmp_path / "site"), "GATED_FOLDER": str(tmp_path)}
    cluster.environment |= said | {"ANALECT_INDEX__TEXT": "false", "ANALECT_INDEX__GRAPH": "false"}
    cluster.values["index"] = {"text": False, "vectors": False, "graph": False}
    monkeypatch.setenv("GATED_FOLDER", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path


def test_a_worker_that_slept_through_its_lease_changes_nothing(cluster, gated):
    with AnalysisService.open(Settings(**cluster.values)) as service:
        drafts = [Draft(input=f"pelican {n}", session_id=f"s{n % 2}") for n in range(10)]
        ids = service.ingest(drafts).ids
        cluster.start("dispatch")
        asleep = cluster.start("work", "gated", GATED_WAIT="yes")
        wait_for((gated / "begun").exists)
        asleep.send_signal(signal.SIGSTOP)
        awake = cluster.start("work", "gated")
        wait_for(lambda: not waiting(service))
        service.erase("session", "s1")
        wait_for(lambda: not waiting(service))
        left = {name for n, name in enumerate(ids) if n % 2 == 0}
        assert {path.name for path in (gated / "index").iterdir()} == left
        (gated / "open").touch()
        asleep.send_signal(signal.SIGCONT)
        counted = 'analect_processing_records_total{processor="gated"} 10.0'
        wait_for(lambda: counted in asking.get(f"{asleep.url}/metrics").text)
        assert {path.name for path in (gated / "index").iterdir()} == left
        assert not waiting(service)
        assert not service.status()["quarantine"]
        for process in (asleep, awake):
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0


def test_processes_whose_clocks_differ_agree_on_the_time(cluster):
    settings = Settings(**cluster.values)
    with (
        AnalysisService.open(settings, clock=lambda: wall_clock() + 20 * MINUTE) as fast,
        AnalysisService.open(settings, clock=lambda: wall_clock() - 20 * MINUTE) as slow,
    ):
        assert abs(fast.clock() - slow.clock()) < MINUTE / 60
        fast.ingest([Draft(input="pelican")])
        assert slow.process("text") == 1  # not in twenty minutes' time
        fast.ingest([Draft(input="heron")])
        (held,) = slow.store.outbox.claim("text", "other", 10, slow.clock())
        fast.process("text")  # takes back what is stale: this is not
        assert slow.store.outbox.done([held], "other") == 1


def test_a_clock_that_cannot_be_compared_stays_as_it_was(engine):
    clock = SharedClock(engine, wall_clock)
    before = clock()
    clock.adjust()
    assert 0 <= clock() - before < MINUTE


@pytest.mark.faults
@pytest.mark.timeout(180 if not LONG else 3600)
def test_any_of_them_may_die_while_records_flow(cluster, own_postgres):
    url = own_postgres.get_uri().replace("postgresql://", "postgresql+psycopg://")
    cluster.values["database_url"] = cluster.environment["ANALECT_DATABASE_URL"] = url
    chance = random.Random(7)
    kinds = [("work", "text"), ("work", "graph"), ("dispatch",), ("dispatch",)]
    _, again = cluster.crew(*kinds)
    with AnalysisService.open(Settings(**cluster.values)) as service:
        flow = Flow(service, RECORDS)
        faults = [lambda n=n: again(n) for n in range(3)]
        faults += [cluster.flush, lambda: restart_at_once(own_postgres)]
        under_faults(flow, faults, ROUNDS, chance)
        nothing_lost(service, flow.acked)
        # Counted: what a status says of so many is about right, and a Postgres that was killed
        # begins its statistics anew.
        with read_transaction(service.store.engine) as connection:
            for table, rows in ((records, flow.acked), (outbox, 0)):
                counted = select(func.count()).select_from(table)
                assert connection.execute(counted).scalar_one() == rows
