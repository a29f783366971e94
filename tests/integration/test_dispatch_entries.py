"""Dispatcher and worker in one process: what a job may do, who leads, what RQ may know."""

from __future__ import annotations

import os
import threading
from functools import partial
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from analect.model.errors import ConfigurationError, EngineUnavailable, StoreUnavailable
from analect.model.ids import id_bytes, new_id
from analect.pipeline.processor import Outcome
from analect.pipeline.runner import Runner, RunnerOptions
from analect.settings import Limits
from analect.store.engine import open_engine, read_transaction, write_transaction
from analect.store.entries import Retry
from analect.store.handover import Handover
from analect.store.leader import Announcer, Leadership
from analect.store.migrate import migrate
from analect.store.outbox import (
    ALONE,
    BACKLOG,
    COMMITTED,
    INTERACTIVE,
    QUEUE,
    WORKER_LOST,
    Outbox,
    _load,
)
from analect.store.pauses import Pauses
from analect.store.tables import commits, outbox
from analect.telemetry.metrics import Telemetry

pytest.importorskip("rq", reason="needs the extra `engines`")

from redis import Redis
from rq import SimpleWorker
from rq.registry import FailedJobRegistry
from rq.worker import WorkerStatus

from analect_processors import worker as worker_module
from analect_processors.dispatcher import Dispatcher, DispatcherOptions
from analect_processors.queues import JobQueues
from analect_processors.worker import EntryWorker
from tests.integration.clusters import wait_for
from tests.valkey import valkey_server

NOW = 1_750_000_000_000_000
SECOND = 1_000_000
SECRET = "ada@example.org"


@pytest.fixture(scope="module")
def valkey():
    with valkey_server() as server:
        yield server


@pytest.fixture
def connection(valkey):
    with Redis(port=valkey.port) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def postgres(postgres_url):
    engine = open_engine(postgres_url)
    migrate(engine)
    yield engine
    engine.dispose()


class World:
    def __init__(self, engine, connection):
        self.engine = engine
        self.now = NOW
        self.outbox = Outbox(engine, retry=Retry(attempts=3), jitter=lambda: 1.0)
        self.handover = Handover(engine)
        self.queues = JobQueues(connection, "test")
        self.telemetry = Telemetry()

    def dispatcher(self, *, batch_size=500, concurrency=None, rate=None, **options):
        limits = {"batch_size": batch_size, "concurrency": concurrency, "rate": rate}
        return Dispatcher(
            outbox=self.outbox,
            handover=self.handover,
            leadership=Leadership(self.engine),
            queues=self.queues,
            processors=["text"],
            options=DispatcherOptions(
                limits=lambda _: Limits(**limits), **{"batches": 1, **options}
            ),
            metrics=self.telemetry.queue,
            clock=lambda: self.now,
            seconds=lambda: self.now / SECOND,
        )

    def commit(self, count=1, *, size=1, priority=COMMITTED):
        for _ in range(count):
            ids = b"".join(id_bytes(new_id(self.now, os.urandom)) for _ in range(size))
            with write_transaction(self.engine) as connection:
                row = {"txid": 0, "operation": "put", "ids": ids, "committed_at": self.now}
                seq = connection.execute(commits.insert().values(row)).inserted_primary_key[0]
                entry = {"processor": "text", "commit_seq": seq, "operation": "put"}
                entry |= {"state": "pending", "priority": priority, "attempts": 0}
                entry |= {"not_before": self.now, "created_at": self.now}
                connection.execute(outbox.insert().values(entry))

    def claimed(self):
        with read_transaction(self.engine) as connection:
            return _load(connection, outbox.c.state == "claimed")

    def rows(self):
        with read_transaction(self.engine) as connection:
            return connection.execute(select(outbox).order_by(outbox.c.seq)).all()


@pytest.fixture
def world(postgres, connection):
    return World(postgres, connection)


def test_a_queue_takes_so_many_and_the_rest_waits_in_the_database(world):
    world.commit(5, size=10)
    dispatcher = world.dispatcher(jobs_waiting=3, batch_size=10)
    assert dispatcher.dispatch() is True
    assert dispatcher.dispatch() is True
    assert [row.state for row in world.rows()] == ["claimed"] * 3 + ["pending"] * 2
    assert world.queues.waiting("text") == 3


def test_small_entries_share_a_job(world):
    world.commit(25)
    world.commit(1, size=30)
    world.commit(3)
    assert world.dispatcher(batch_size=10).dispatch() is True
    jobs = [job.args[1] for job in world.queues.queue("text").jobs]
    seqs = [row.seq for row in world.rows()]
    assert jobs == [seqs[:10], seqs[10:20], seqs[20:25], [seqs[25]], seqs[26:]]


def test_while_small_jobs_wait_what_is_committed_gathers(world):
    dispatcher = world.dispatcher(batch_size=10)
    for _ in range(8):
        world.commit()
        dispatcher.dispatch()
    assert world.queues.waiting("text") == 4
    world.commit(8)  # more than a job's worth waits by now
    assert dispatcher.dispatch() is True
    jobs = [job.args[1] for job in world.queues.queue("text").jobs]
    assert [len(job) for job in jobs] == [1, 1, 1, 1, 10]


def test_what_someone_waits_for_goes_first(world):
    world.commit(2, size=10, priority=BACKLOG)
    world.commit(1, size=10, priority=COMMITTED)
    world.dispatcher(batch_size=10).dispatch()
    world.commit(1, size=10, priority=INTERACTIVE)
    world.dispatcher(batch_size=10).dispatch()
    order = [job.args[1][0] for job in world.queues.queue("text").jobs]
    backlog, backlog_too, committed, interactive = (row.seq for row in world.rows())
    assert order == [interactive, committed, backlog, backlog_too]


def test_no_more_jobs_are_out_than_may_be_done_at_once(world):
    world.commit(5, size=10)
    dispatcher = world.dispatcher(batch_size=10, concurrency=2)
    dispatcher.dispatch()
    jobs = world.queues.queue("text").jobs
    assert len(jobs) == 2
    entries = world.outbox.take(*jobs[0].args, "text", "one", NOW)
    dispatcher.dispatch()
    assert world.queues.waiting("text") == 2
    world.outbox.done(entries, "one")
    dispatcher.dispatch()
    assert world.queues.waiting("text") == 3


def test_no_more_records_go_out_than_a_rate_allows(world):
    world.commit(50)
    dispatcher = world.dispatcher(rate=20)
    for _ in range(3):
        assert dispatcher.dispatch() is True
    (job,) = world.queues.queue("text").jobs
    assert len(job.args[1]) == 20
    assert len(world.claimed()) == 20
    world.now += SECOND // 2
    dispatcher.dispatch()
    assert len(world.claimed()) == 30


def test_a_paused_processor_begins_nothing_not_even_what_is_in_its_queue(world):
    world.commit(2)
    pauses = Pauses(world.engine)
    dispatcher = world.dispatcher(grace=5)
    dispatcher.dispatch()
    (job,) = world.queues.queue("text").jobs
    pauses.pause("text")
    assert world.outbox.take(*job.args, "text", "one", NOW) == []
    job.delete()  # as RQ does with one that is done
    world.now += 10 * SECOND
    assert dispatcher.sweep() == 2
    assert dispatcher.dispatch() is False
    pauses.resume("text")
    assert dispatcher.dispatch() is True
    assert world.queues.waiting("text") == 1


def test_who_may_have_killed_a_worker_travels_alone(world):
    world.commit(3)
    with write_transaction(world.engine) as connection:
        second = sorted(row.seq for row in world.rows())[1]
        lost = {"attempts": ALONE, "error_code": WORKER_LOST}
        connection.execute(outbox.update().where(outbox.c.seq == second).values(lost))
    world.dispatcher().dispatch()
    jobs = world.queues.queue("text").jobs
    assert [len(job.args[1]) for job in jobs] == [1, 1, 1]
    world.handover.give_back("text", [job.args[0] for job in jobs])
    claims = [world.outbox.claim("text", "one", 10, NOW) for _ in range(3)]
    assert [len(claim) for claim in claims] == [1, 1, 1]


def test_of_two_jobs_for_an_entry_one_gets_it(world):
    world.commit()
    world.dispatcher().dispatch()
    (row,) = world.rows()
    job = row.claimed_by.removeprefix(QUEUE)
    assert world.queues.queue("text").jobs[0].args == [job, [row.seq]]
    (entry,) = world.outbox.take(job, [row.seq], "text", "one", NOW)
    assert world.outbox.take(job, [row.seq], "text", "two", NOW) == []
    assert world.outbox.done([entry], "one") == 1
    assert world.outbox.take(job, [row.seq], "text", "two", NOW) == []


def test_a_job_from_before_has_no_effect(world, connection):
    world.commit()
    dispatcher = world.dispatcher()
    dispatcher.dispatch()
    (before,) = world.rows()
    connection.flushall()
    world.now += 10 * SECOND
    dispatcher.sweep()
    dispatcher.dispatch()
    job = before.claimed_by.removeprefix(QUEUE)
    assert world.outbox.take(job, [before.seq], "text", "late", world.now) == []


def test_a_worker_that_lost_its_lease_has_no_effect(world):
    world.commit()
    dispatcher = world.dispatcher(lease=10)
    dispatcher.dispatch()
    (row,) = world.rows()
    job = row.claimed_by.removeprefix(QUEUE)
    (late,) = world.outbox.take(job, [row.seq], "text", "late", NOW)
    world.now += 20 * SECOND
    assert dispatcher.sweep() == 1
    world.now += 20 * SECOND
    dispatcher.dispatch()
    (again,) = world.rows()
    assert again.attempts == 1
    assert again.claimed_by.startswith(QUEUE)
    assert world.outbox.done([late], "late") == 0
    world.outbox.fail(late, "late", "broken", world.now, transient=False)
    assert [row.seq for row in world.rows()] == [again.seq]


def test_what_only_waited_in_the_queue_was_never_tried(world, connection):
    world.commit()
    dispatcher = world.dispatcher(lease=10, grace=5)
    for _ in range(5):  # more often than an entry is tried
        dispatcher.dispatch()
        connection.flushall()
        world.now += 6 * SECOND
        assert dispatcher.sweep() == 1
    for _ in range(5):  # nobody works: the jobs stay where they are
        dispatcher.dispatch()
        world.now += 11 * SECOND
        dispatcher.sweep()
    (row,) = world.rows()
    assert (row.state, row.attempts) == ("pending", 0)


def test_a_queue_that_is_away_leaves_the_entries_due(world):
    world.commit(2)
    with Redis(port=1) as nowhere:
        world.queues = JobQueues(nowhere, "test")
        with pytest.raises(EngineUnavailable):
            world.dispatcher().dispatch()
    assert {row.state for row in world.rows()} == {"pending"}


def test_what_is_kept_of_a_failure_is_a_code(world, connection, capfd):
    world.commit(3)
    world.dispatcher(batch_size=1).dispatch()
    seen = []

    def take(_job, seqs):
        seen.extend(seqs)
        if len(seen) == 1:
            raise StoreUnavailable(f"away {SECRET}")
        if len(seen) == 2:
            raise RuntimeError(SECRET)
        return 1

    queue = world.queues.queue("text")
    worker_module._present.append(take)
    try:
        EntryWorker(queue, threading.Event()).work(burst=True, logging_level="WARNING")
    finally:
        worker_module._present.remove(take)
    assert seen == [row.seq for row in world.rows()]
    failed = FailedJobRegistry(queue=queue)
    jobs = [queue.fetch_job(id_) for id_ in failed.get_job_ids()]
    kept = [job.latest_result().exc_string for job in jobs]
    assert sorted(kept) == ["RuntimeError", "store_unavailable"]
    assert all(b"exc_info" not in connection.hgetall(job.key) for job in jobs)
    assert "example" not in "".join(capfd.readouterr())
    seen = {"queued": 0, "started": 0, "failed": 2, "stuck": 0, "workers": 0}
    assert world.queues.counts("text") == seen


def test_a_job_whose_worker_is_gone_is_stuck_in_the_end(world, connection):
    world.commit()
    world.dispatcher().dispatch()
    queue = world.queues.queue("text")
    worker = EntryWorker(queue, threading.Event())
    job, _ = worker.dequeue_job_and_maintain_ttl(None)
    execution = worker.prepare_execution(job)
    worker.prepare_job_execution(job)
    assert execution.job_id == job.id
    assert world.queues.counts("text")["started"] == 1
    assert world.queues.counts("text")["stuck"] == 0
    assert JobQueues(connection, "test", lease=-1).counts("text")["stuck"] == 1


class Picky:
    """A processor that cannot handle one record."""

    name, version = "text", 1

    def __init__(self, poison):
        self.poison = poison
        self.done = []

    def process(self, records):
        if any(record.id == self.poison for record in records):
            raise ValueError(SECRET)
        self.done += [record.id for record in records]
        return Outcome()


class Deaf:
    def processed(self, *_):
        pass


def runner_of(world, processor, **options):
    return Runner(
        outbox=world.outbox,
        processors={"text": processor},
        load=lambda ids: [SimpleNamespace(id=id_, payload_state="open") for id_ in ids],
        absent=lambda _: (),
        indexed=set,
        annotate=lambda _: None,
        observer=Deaf(),
        options=RunnerOptions(**options),
        worker="one",
        clock=lambda: world.now,
    )


class Noting:
    name = "text"
    version = 1

    def __init__(self, before=lambda: None):
        self.before = before
        self.batches = []

    def process(self, records):
        self.before()
        self.batches.append([record.id for record in records])
        return Outcome()


def job_of(world, batches):
    """The one job of all that is due, each batch of ten records."""
    world.dispatcher(batch_size=10, batches=batches).dispatch()
    (job,) = world.queues.queue("text").jobs
    return job.args


def test_a_job_is_processed_in_batches(world):
    world.commit(7, size=4)
    noting = Noting()
    runner = runner_of(world, noting, limits=lambda _: Limits(batch_size=10))
    assert runner.take("text", *job_of(world, batches=4)) == 28
    assert [len(batch) for batch in noting.batches] == [8, 8, 8, 4]
    assert not world.rows()


def test_what_is_not_begun_in_time_or_before_the_end_goes_back_untried(world):
    limits = {"limits": lambda _: Limits(batch_size=10)}
    stop = threading.Event()

    def taken(runner, **asked):
        return runner.take("text", *job_of(world, batches=3), **asked)

    world.commit(3, size=10)
    assert taken(runner_of(world, Noting(), lease=0.0, **limits)) == 10  # its lease is over
    assert [(row.state, row.attempts) for row in world.rows()] == [("pending", 0)] * 2
    world.queues.queue("text").empty()
    ending = runner_of(world, Noting(stop.set), **limits)
    assert taken(ending, stop=stop.is_set) == 10
    assert [(row.state, row.attempts) for row in world.rows()] == [("pending", 0)]


def test_only_the_batch_that_met_an_engine_that_is_away_counts_as_tried(world):
    def away():
        raise EngineUnavailable("away")

    world.commit(3, size=10)
    runner = runner_of(world, Noting(away), limits=lambda _: Limits(batch_size=10))
    assert runner.take("text", *job_of(world, batches=3)) == 10
    assert sorted(row.attempts for row in world.rows()) == [0, 0, 1]
    assert {row.state for row in world.rows()} == {"pending"}


def test_a_poison_record_stops_nothing(world):
    world.commit(8)
    world.dispatcher().dispatch()
    ids = [entry.ids[0] for entry in world.claimed()]
    world.outbox.requeue(ids, ["text"], world.now)  # one entry of eight
    picky = Picky(ids[3])
    runner = runner_of(world, picky)
    dispatcher = world.dispatcher()
    worker_module._present.append(partial(runner.take, "text"))
    try:
        while any(row.state != "quarantined" for row in world.rows()):
            dispatcher.dispatch()
            queue = world.queues.queue("text")
            EntryWorker(queue, threading.Event()).work(burst=True, logging_level="WARNING")
            world.now += SECOND
    finally:
        worker_module._present.pop()
    assert {row.ids for row in world.rows()} == {id_bytes(ids[3])}
    assert {row.error_code for row in world.rows()} == {"ValueError"}
    assert set(picky.done) == set(ids) - {ids[3]}


def test_one_leads_and_the_next_takes_over(postgres):
    one, two = Leadership(postgres), Leadership(postgres)
    assert one.try_lead()
    assert one.try_lead()
    assert not two.try_lead()
    one.close()
    wait_for(two.try_lead)  # its session ends when Postgres has seen it go
    two.close()


def test_a_leader_whose_session_is_cut_leads_no_more(postgres):
    leadership = Leadership(postgres)
    assert leadership.try_lead()
    with write_transaction(postgres) as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
    with pytest.raises(StoreUnavailable):
        leadership.try_lead()
    assert leadership.try_lead()
    leadership.close()


def test_a_commit_is_announced(postgres):
    leadership = Leadership(postgres)
    assert leadership.try_lead()
    announcer = Announcer(postgres)
    announcer.wake()
    assert leadership.wait(20)
    assert not leadership.wait(0.01)
    announcer.close()
    leadership.close()


def test_a_folder_needs_no_dispatcher(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/analect.db")
    with pytest.raises(ConfigurationError, match="Postgres"):
        Leadership(engine)
    engine.dispose()


def test_workers_that_have_a_job_at_hand_are_named_by_their_host(world, connection):
    for host, state in (("pod-a", WorkerStatus.BUSY), ("pod-b", WorkerStatus.IDLE)):
        worker = SimpleWorker([world.queues.queue("text")], connection=connection)
        worker.hostname = host
        worker.register_birth()
        worker.set_state(state)
    assert world.queues.busy("text") == ["pod-a"]
    assert world.queues.busy("graph") == []
