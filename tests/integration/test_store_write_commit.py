from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import func, select

from analect.model.errors import InvalidInput, Overloaded, StoreUnavailable
from analect.model.ids import id_bytes, new_id
from analect.model.record import Draft
from analect.store.append import KeyRace, Request, SealedDraft
from analect.store.engine import read_transaction, write_transaction
from analect.store.partitions import Partitions
from analect.store.tables import commits, data_keys, key_shards, outbox, record_tags, records, vault
from analect.store.writer import ENOUGH, Writer, WriterLimits

NOW = time.time_ns() // 1000
MONTH = 31 * 86_400 * 1_000_000


@dataclass(frozen=True)
class KeyRow:
    key_id: int
    scope: bytes
    shard: int = 1
    wrapped: bytes = b"w" * 40
    created_at: int = NOW
    generation: int = 1


def begin_shard(store, generation=1) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(key_shards.insert().values(shard=1, generation=generation))


def item(at=NOW, *, record_id=None, content=b"", key_id=None, **fields) -> SealedDraft:
    draft = Draft(id=record_id or new_id(at, os.urandom), occurred_at=at, **fields)
    return SealedDraft(draft, at, key_id, b"sealed", content or os.urandom(16))


def count(engine, table) -> int:
    with read_transaction(engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def put(store, *items, **options):
    options.setdefault("processors", ("text", "graph"))
    return store.append(items, **options).result(20)


def test_a_batch_is_stored_with_tags_journal_and_outbox(store):
    first, second = item(tags=["a", "b", "a"]), item(tags=["b"], dimensions={"lang": "de"})
    result = put(store, first, second)
    assert result.outcomes == ("stored", "stored")
    assert result.ids == (first.draft.id, second.draft.id)
    assert count(store.engine, records) == 2
    assert count(store.engine, record_tags) == 3
    with read_transaction(store.engine) as connection:
        journal = connection.execute(select(commits)).one()
        entries = connection.execute(select(outbox)).all()
    assert journal.seq == result.commit_seq
    assert bytes(journal.ids) == b"".join(map(id_bytes, result.ids))
    assert {entry.processor for entry in entries} == {"text", "graph"}
    assert {entry.commit_seq for entry in entries} == {result.commit_seq}
    assert {entry.ids for entry in entries} == {None}


def test_the_same_content_is_a_duplicate_other_content_a_conflict(store):
    one = item()
    put(store, one)
    other = replace(one, content_hash=os.urandom(16))
    result = put(store, one, other, item())
    assert result.outcomes == ("duplicate", "conflict", "stored")
    assert count(store.engine, records) == 2
    assert put(store, one).commit_seq is None
    assert count(store.engine, commits) == 2


def test_repeats_within_a_batch_are_seen(store):
    one = item()
    result = put(store, one, one, replace(one, content_hash=os.urandom(16)))
    assert result.outcomes == ("stored", "duplicate", "conflict")
    assert count(store.engine, records) == 1


def test_content_dedupe_is_for_those_who_ask(store):
    content = os.urandom(16)
    first, second, third = (item(content=content) for _ in range(3))
    put(store, first, dedupe=True)
    result = put(store, second, dedupe=True)
    assert result.outcomes == ("duplicate",)
    assert result.ids == (first.draft.id,)
    assert put(store, third).outcomes == ("stored",)


def test_an_empty_batch_is_nothing(store):
    assert put(store).outcomes == ()
    assert count(store.engine, commits) == 0


def test_no_processors_no_outbox(store):
    assert put(store, item(), processors=()).commit_seq is not None
    assert count(store.engine, outbox) == 0


def test_new_keys_and_vault_rows_come_in_with_their_records(store):
    begin_shard(store)
    key = KeyRow(7, b"s" * 16)
    put(store, item(key_id=7), new_keys=[key], vault_rows=[("<email:00>", 7, b"sealed")])
    put(store, item(key_id=7), new_keys=[key], vault_rows=[("<email:00>", 7, b"sealed again")])
    assert count(store.engine, data_keys) == 1
    assert count(store.engine, vault) == 1


def test_a_key_that_does_not_stand_is_a_race(store):
    with pytest.raises(KeyRace) as race:
        put(store, item(key_id=8), item())
    assert race.value.key_ids == {8}
    assert count(store.engine, records) == 0


def test_the_scope_belongs_to_who_came_first(store):
    begin_shard(store)
    put(store, item(key_id=7), new_keys=[KeyRow(7, b"s" * 16)])
    with pytest.raises(KeyRace) as race:
        put(store, item(key_id=9), new_keys=[KeyRow(9, b"s" * 16)])
    assert race.value.key_ids == {9}
    assert count(store.engine, data_keys) == 1


def test_a_key_wrapped_by_a_generation_that_is_over_does_not_get_in(store):
    begin_shard(store, generation=2)
    with pytest.raises(KeyRace):
        put(store, item(key_id=7), new_keys=[KeyRow(7, b"s" * 16)])
    assert count(store.engine, data_keys) == 0
    assert count(store.engine, records) == 0


@pytest.fixture
def held(engine):
    """A writer that is held up until ``release`` is set, so that what comes piles up."""
    release, reached = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert release.wait(20)

    writer = Writer(engine, Partitions(engine), clock=lambda: NOW, on_commit=hold)
    answers = [writer.append(Request([item()], ("text",)))]
    assert reached.wait(20)
    yield writer, answers, release
    release.set()
    assert writer.close()


def test_what_piles_up_is_one_commit(engine, held):
    writer, answers, release = held
    answers += [writer.append(Request([item(), item()], ("text",))) for _ in range(5)]
    release.set()
    seqs = [answer.result(20).commit_seq for answer in answers]
    assert len(set(seqs[1:])) == 1
    assert seqs[0] != seqs[1]
    assert count(engine, commits) == 2
    assert count(engine, records) == 11


@pytest.fixture
def patient(engine, monkeypatch):
    """A writer that would wait for company longer than any test."""
    monkeypatch.setattr("analect.store.writer.LINGER", 60)
    writer = Writer(engine, Partitions(engine), clock=lambda: NOW)
    yield writer
    assert writer.close()


def test_a_commit_waits_for_what_is_on_its_way(engine, patient):
    patient.company.expect()
    patient.company.expect()
    first = patient.append(Request([item()], ("text",)))
    patient.company.arrived()
    second = patient.append(Request([item()], ("text",)))
    patient.company.arrived()
    assert first.result(20).commit_seq == second.result(20).commit_seq
    assert count(engine, commits) == 1


def test_a_commit_does_not_wait_for_what_was_given_up(patient):
    patient.company.expect()
    answer = patient.append(Request([item()], ("text",)))
    with pytest.raises(TimeoutError):
        answer.result(0.05)
    patient.company.arrived()
    assert answer.result(20).outcomes == ("stored",)


def test_a_big_batch_waits_for_nobody_and_so_does_a_writer_that_is_closed(engine, patient):
    patient.company.expect()
    big = patient.append(Request([item() for _ in range(ENOUGH)], ("text",)))
    assert big.result(20).outcomes[0] == "stored"
    small = patient.append(Request([item()], ("text",)))
    assert patient.close()
    assert small.result(20).outcomes == ("stored",)


def test_each_caller_of_a_group_hears_its_own(engine, held):
    writer, _, release = held
    same = item()
    good = writer.append(Request([same], ("text",)))
    again = writer.append(Request([same], ("text",)))
    race = writer.append(Request([item(key_id=404)], ("text",)))
    wrong = writer.append(Request([item(turn=2**70)], ("text",)))
    other = writer.append(Request([item()], ("graph",)))
    release.set()
    assert good.result(20).outcomes == ("stored",)
    assert again.result(20).outcomes == ("duplicate",)
    assert other.result(20).outcomes == ("stored",)
    with pytest.raises(KeyRace):
        race.result(20)
    with pytest.raises(InvalidInput):
        wrong.result(20)
    assert count(engine, records) == 3


def test_who_gives_up_in_time_stores_nothing_and_harms_nobody(engine, held):
    writer, answers, release = held
    given_up = writer.append(Request([item()], ()))
    other = writer.append(Request([item()], ()))
    assert given_up.cancel()
    release.set()
    assert other.result(20).outcomes == ("stored",)
    assert not answers[0].cancel()
    assert count(engine, records) == 2


def test_a_listener_that_fails_does_not_end_the_writing(store):
    def fail() -> None:
        raise RuntimeError

    store.on_commit(fail)
    assert put(store, item()).outcomes == ("stored",)
    assert put(store, item()).outcomes == ("stored",)


def test_too_much_waiting_is_refused(engine):
    release = threading.Event()
    limits = WriterLimits(queued_bytes=3_000)
    writer = Writer(
        engine,
        Partitions(engine),
        clock=lambda: NOW,
        limits=limits,
        on_commit=lambda: release.wait(20),
    )
    answers = [writer.append(Request([item()], ())) for _ in range(4)]
    with pytest.raises(Overloaded) as refusal:
        writer.append(Request([item()], ()))
    assert refusal.value.retry_after
    release.set()
    assert [answer.result(20).outcomes for answer in answers] == [("stored",)] * 4
    assert writer.close()
    assert writer.queued_bytes == 0


def test_closing_commits_what_waits(engine, held):
    writer, answers, release = held
    answers += [writer.append(Request([item()], ())) for _ in range(20)]
    release.set()
    assert writer.close()
    assert all(answer.done() for answer in answers)
    assert count(engine, records) == 21
    with pytest.raises(StoreUnavailable):
        writer.append(Request([item()], ()))


def test_threads_with_overlapping_batches_store_each_record_once(store):
    items = [item() for _ in range(200)]
    outcomes: list[str] = []

    def work(start: int) -> None:
        futures = [
            store.append([items[(start + i + j) % 200] for j in range(10)], processors=("text",))
            for i in range(0, 200, 10)
        ]
        for future in futures:
            outcomes.extend(future.result(20).outcomes)

    threads = [threading.Thread(target=work, args=(n * 37,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("stored") == 200
    assert outcomes.count("duplicate") == 1000
    assert count(store.engine, records) == 200


def test_an_erased_key_holds_off_until_the_commit(store):
    """Whoever erases a key waits for commits that use it, and commits after that see it gone."""
    begin_shard(store)
    put(store, item(key_id=7), new_keys=[KeyRow(7, b"s" * 16)])
    with write_transaction(store.engine) as connection:
        connection.execute(data_keys.delete())
        waiting = store.append([item(key_id=7)], processors=())
        assert not waiting.done()
    with pytest.raises(KeyRace):
        waiting.result(20)


def test_any_accepted_time_has_room(store):
    from analect.model.ids import EARLIEST

    times = [EARLIEST, EARLIEST + 40 * MONTH, NOW - 3 * MONTH, NOW + 86_400_000_000 - 1]
    assert put(store, *(item(at) for at in times)).outcomes == ("stored",) * 4


def test_the_store_says_how_it_is(store):
    put(store, item())
    store.health()
    assert store.size() > 1000
    assert store.queued_bytes == 0


def test_listeners_hear_of_commits(store):
    heard = threading.Event()
    store.on_commit(heard.set)
    put(store, item())
    assert heard.wait(20)
