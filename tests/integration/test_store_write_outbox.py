from __future__ import annotations

import os
import socket
import subprocess

import pytest

from analect.model.ids import EARLIEST, id_bytes, new_id
from analect.pipeline.workers import release_dead, worker_name
from analect.store.engine import write_transaction
from analect.store.entries import Retry
from analect.store.outbox import BACKLOG, CLAIMED, Outbox
from analect.store.partitions import Partitions
from analect.store.pauses import Pauses
from analect.store.tables import commits, outbox, records

NOW = EARLIEST + 10**15
SECOND = 1_000_000


def _tail(size: int) -> bytes:
    _tail.count += 1
    return _tail.count.to_bytes(size, "big")


_tail.count = 0


def _ids(count: int) -> list[str]:
    return [new_id(NOW, _tail) for _ in range(count)]


def _commit(engine, ids, *, processors=("text",), at=NOW, operation="put"):
    with write_transaction(engine) as connection:
        seq = connection.execute(
            commits.insert().values(
                txid=0, operation=operation, ids=b"".join(map(id_bytes, ids)), committed_at=at
            )
        ).inserted_primary_key[0]
        for name in processors:
            connection.execute(
                outbox.insert().values(
                    processor=name,
                    commit_seq=seq,
                    operation=operation,
                    state="pending",
                    priority=0,
                    attempts=0,
                    not_before=at,
                    created_at=at,
                )
            )
    return seq


@pytest.fixture
def box(engine):
    return Outbox(engine, retry=Retry(attempts=3), jitter=lambda: 1.0)


def test_a_claim_holds_the_records_of_the_commit(engine, box):
    ids = _ids(3)
    seq = _commit(engine, ids, processors=("text", "graph"))
    (entry,) = box.claim("text", "w1", 100, NOW)
    assert (list(entry.ids), entry.operation, entry.commit_seq) == (ids, "put", seq)
    assert box.claim("text", "w2", 100, NOW) == []
    assert len(box.claim("graph", "w2", 100, NOW)) == 1


def test_a_claim_takes_about_as_many_records_as_asked_for(engine, box):
    for _ in range(5):
        _commit(engine, _ids(10))
    assert len(box.claim("text", "w", 25, NOW)) == 2
    assert len(box.claim("text", "w", 1, NOW)) == 1
    assert len(box.claim("text", "w", 500, NOW)) == 2


def test_backlog_waits_for_what_is_interactive(engine, box):
    late = _ids(1)
    box.requeue(late, ["text"], NOW, priority=BACKLOG)
    now = _ids(1)
    _commit(engine, now)
    assert [list(e.ids) for e in box.claim("text", "w", 1, NOW)] == [now]
    assert [list(e.ids) for e in box.claim("text", "w", 1, NOW)] == [late]


def test_done_is_gone(engine, box):
    _commit(engine, _ids(2))
    entries = box.claim("text", "w", 10, NOW)
    assert box.done(entries, "w") == 1
    assert box.depth() == {}


def test_who_lost_the_lease_has_no_effect(engine, box):
    _commit(engine, _ids(2))
    mine = box.claim("text", "slow", 10, NOW)
    assert box.release_stale(NOW + 10 * SECOND, 5 * SECOND) == 1
    (theirs,) = box.claim("text", "quick", 10, NOW + 20 * SECOND)
    assert box.done(mine, "slow") == 0
    box.fail(mine[0], "slow", "late", NOW, transient=False)
    assert theirs.attempts == 1
    assert box.done([theirs], "quick") == 1


def test_the_same_worker_cannot_finish_an_older_lease(engine, box):
    _commit(engine, _ids(2))
    old = box.claim("text", "w", 10, NOW)
    box.release_stale(NOW + 10 * SECOND, 5 * SECOND)
    new = box.claim("text", "w", 10, NOW + 20 * SECOND)
    assert box.done(old, "w") == 0
    assert box.done(new, "w") == 1


def test_a_fresh_claim_is_not_stale(engine, box):
    _commit(engine, _ids(1))
    box.claim("text", "w", 10, NOW)
    assert box.release_stale(NOW + SECOND, 5 * SECOND) == 0


def test_a_transient_failure_backs_off_twice_as_long_each_time(engine, box):
    _commit(engine, _ids(2))
    (entry,) = box.claim("text", "w", 10, NOW)
    box.fail(entry, "w", "engine_unavailable", NOW, transient=True)
    assert box.claim("text", "w", 10, NOW + SECOND - 1) == []
    (entry,) = box.claim("text", "w", 10, NOW + SECOND)
    box.fail(entry, "w", "engine_unavailable", NOW, transient=True)
    assert box.claim("text", "w", 10, NOW + 2 * SECOND - 1) == []
    assert box.claim("text", "w", 10, NOW + 2 * SECOND)[0].attempts == 2


def test_a_transient_failure_of_some_keeps_only_those(engine, box):
    ids = _ids(4)
    _commit(engine, ids)
    (entry,) = box.claim("text", "w", 10, NOW)
    box.fail(entry, "w", "busy", NOW, transient=True, ids=ids[1:3])
    assert [list(e.ids) for e in box.claim("text", "w", 10, NOW + SECOND)] == [ids[1:3]]


def test_splitting_finds_the_poison_record(engine, box):
    ids = _ids(9)
    _commit(engine, ids)
    done: set[str] = set()
    now = NOW
    while entries := box.claim("text", "w", 1, now):
        (entry,) = entries
        if ids[5] in entry.ids:
            box.fail(entry, "w", "ValueError", now, transient=False)
        else:
            done.update(entry.ids)
            box.done([entry], "w")
    assert done == set(ids) - {ids[5]}
    (poison,) = box.quarantined()
    assert (poison.record_id, poison.code) == (ids[5], "ValueError")
    assert box.depth()["text"].quarantined == 1
    assert box.depth()["text"].entries == 0


def test_named_records_go_to_quarantine_at_once(engine, box):
    ids = _ids(4)
    _commit(engine, ids)
    (entry,) = box.claim("text", "w", 10, NOW)
    box.fail(entry, "w", "too_large", NOW, transient=False, ids=ids[:2])
    assert {q.record_id for q in box.quarantined()} == set(ids[:2])
    assert box.claim("text", "w", 10, NOW) == []


def test_nothing_is_given_up_because_an_engine_is_away(engine, box):
    ids = _ids(2)
    _commit(engine, ids)
    now = NOW
    for _ in range(12):
        for entry in box.claim("text", "w", 10, now):
            box.fail(entry, "w", "engine_unavailable", now, transient=True)
        now += 1000 * SECOND
    assert not box.quarantined()
    again = box.claim("text", "w", 10, now)
    assert sorted(id_ for entry in again for id_ in entry.ids) == sorted(ids)
    for entry in again:  # however often it failed, it comes soon after the engine
        box.fail(entry, "w", "engine_unavailable", now, transient=True)
    assert box.claim("text", "w", 10, now + 30 * SECOND - 1) == []
    assert len(box.claim("text", "w", 10, now + 30 * SECOND)) == 2


def test_who_follows_gets_what_is_done_and_what_is_given_up(engine):
    box = Outbox(engine, retry=Retry(attempts=3), followers={"text": ["late"], "late": ["last"]})
    ids = _ids(4)
    _commit(engine, ids)
    (entry,) = box.claim("text", "w", 10, NOW)
    assert box._upstream("last") == {"text", "late"}
    box.fail(entry, "w", "broken", NOW, transient=False, ids=ids[:1])
    (passed,) = box.claim("late", "w", 10, NOW)
    assert set(passed.ids) == set(ids)
    box.done([passed], "w")
    (last,) = box.claim("last", "w", 10, NOW)
    box.done([last], "w")
    box.requeue(ids, ["text", "late", "last"], NOW)
    assert box.depth()["text"].entries == 1
    assert {"late", "last"}.isdisjoint(box.depth())


def test_a_paused_processor_gets_nothing_until_it_is_resumed(engine, box):
    _commit(engine, _ids(1))
    pauses = Pauses(engine)
    pauses.pause("text")
    pauses.pause("text")
    assert pauses.paused() == {"text"}
    assert box.claim("text", "w", 10, NOW) == []
    pauses.resume("text")
    assert pauses.paused() == set()
    assert box.claim("text", "w", 10, NOW)


def test_failing_for_too_long_ends_in_quarantine(engine, box):
    (record_id,) = _ids(1)
    _commit(engine, [record_id])
    now = NOW
    for _ in range(3):
        (entry,) = box.claim("text", "w", 10, now)
        box.fail(entry, "w", "overloaded", now, transient=True)
        now += 10 * SECOND
    assert [q.record_id for q in box.quarantined()] == [record_id]


def test_a_record_that_kills_its_worker_ends_alone_in_quarantine(engine, box):
    ids = _ids(2)
    _commit(engine, ids)
    now = NOW
    for _ in range(20):
        now += 100 * SECOND
        for entry in box.claim("text", "w", 1, now):
            if ids[0] not in entry.ids:
                box.done([entry], "w")
        now += 100 * SECOND
        box.release_stale(now, 50 * SECOND)
    assert [(q.record_id, q.code) for q in box.quarantined()] == [(ids[0], "worker_lost")]
    assert box.depth()["text"].entries == 0


def test_requeue_brings_back_what_is_quarantined(engine, box):
    ids = _ids(3)
    _commit(engine, ids)
    (entry,) = box.claim("text", "w", 10, NOW)
    box.fail(entry, "w", "bad", NOW, transient=False, ids=ids)
    assert box.requeue(ids, ["text"], NOW) == 1
    assert box.quarantined() == []
    assert [list(e.ids) for e in box.claim("text", "w", 10, NOW)] == [ids]


def test_a_deletion_in_quarantine_is_still_owed(engine, box):
    ids = _ids(1)
    _commit(engine, ids, operation="delete")
    (entry,) = box.claim("text", "w", 10, NOW)
    box.fail(entry, "w", "bad", NOW, transient=False)
    box.requeue(ids, ["text"], NOW)
    assert sorted(e.operation for e in box.claim("text", "w", 10, NOW)) == ["delete", "put"]


def _store_rows(engine, ids, at=NOW):
    Partitions(engine).ensure_ids(ids)
    with write_transaction(engine) as connection:
        for id_ in ids:
            connection.execute(
                records.insert().values(
                    id=id_, kind="event", occurred_at=at, received_at=at, content_hash=b"0" * 16
                )
            )


def test_pending_until_done_or_quarantined(engine, box):
    ids = _ids(3)
    _store_rows(engine, ids)
    _commit(engine, ids, at=NOW + 5)
    names = ["text", "graph"]
    assert box.pending(ids[1:2], names)
    assert not box.pending(ids[1:2], ["graph"])
    assert not box.pending(_ids(1), names)
    (entry,) = box.claim("text", "w", 10, NOW + 5)
    assert box.pending(ids, names)
    box.fail(entry, "w", "bad", NOW + 5, transient=False, ids=ids[:1])
    assert not box.pending(ids, names)
    box.requeue(ids[:1], ["text"], NOW + 10)
    assert box.pending(ids, names)
    assert not box.pending(ids[1:], names)


def test_depth_tells_the_oldest(engine, box):
    _commit(engine, _ids(1), at=NOW)
    _commit(engine, _ids(1), at=NOW + SECOND, processors=("text", "graph"))
    assert (box.depth()["text"].entries, box.depth()["text"].oldest) == (2, NOW)
    assert box.depth()["graph"].oldest == NOW + SECOND
    (entry,) = box.claim("text", "w", 1, NOW + SECOND)
    assert (box.depth()["text"].entries, box.depth()["text"].oldest) == (2, NOW)
    assert box.depth()["text"].code is None
    box.fail(entry, "w", "away", NOW + SECOND, transient=True)
    assert (box.depth()["text"].code, box.depth()["graph"].code) == ("away", None)


def test_two_workers_never_share_an_entry(engine, box):
    for _ in range(40):
        _commit(engine, _ids(1))
    from concurrent.futures import ThreadPoolExecutor

    def work(name: str) -> list[int]:
        taken: list[int] = []
        while entries := box.claim("text", name, 3, NOW):
            taken.extend(entry.seq for entry in entries)
            assert box.done(entries, name) == len(entries)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [seq for part in pool.map(work, "abcd") for seq in part]
    assert len(taken) == len(set(taken))
    # On Postgres a worker may see nothing due while another looks at the last entries.
    while entries := box.claim("text", "e", 10, NOW):
        taken.extend(entry.seq for entry in entries)
    assert len(set(taken)) == 40
    assert CLAIMED == "claimed"


def test_claims_of_a_process_that_is_gone_are_given_back_at_once(engine, box):
    host = socket.gethostname()
    gone = subprocess.Popen(["true"])
    gone.wait()
    alive = f"{host}-{os.getppid()}"
    for worker in (f"{host}-{gone.pid}", worker_name(), alive, "elsewhere-1"):
        _commit(engine, _ids(1))
        assert box.claim("text", worker, 1, NOW)
    assert release_dead(box, lambda: NOW) == 2
    assert box.claimants() == {alive, "elsewhere-1"}
    assert len(box.claim("text", "next", 10, NOW + 600 * SECOND)) == 2
