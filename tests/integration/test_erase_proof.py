"""The proof: with every key that still exists, no copy of the raw files yields what was erased.

Copies are taken before and after, whatever step of an erasure the process ended at; whoever has
them also has the present key ring and the key-encryption key.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.tables import data_keys, key_shards, metadata
from tests.integration.erasing import Copy, Crash, World, attack

ANNA, BERT = "<subject:aaaaaaaaaaaaaaaa>", "<subject:bbbbbbbbbbbbbbbb>"
VISIT = "<session:1111111111111111>"
STEPS = [
    "planned",
    "retired",
    "sealed again",
    "ring written",
    "generation committed",
    "generation dropped",
    "records deleted",
    "documents deleted",
    "text purged",
]
SECRETS = {"secret of the visit", "secret of anna"}


@pytest.fixture
def world(engine, tmp_path):
    world = World(engine, tmp_path)
    yield world
    world.close()


def raw_files(engine) -> list[Path]:
    """The database's files as they lie on disk, write-ahead log included."""
    if not is_postgres(engine):
        folder = Path(engine.url.database).parent
        return sorted(folder.glob("analect.db*"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))
        home = Path(connection.execute(text("SHOW data_directory")).scalar_one())
        database = connection.execute(
            text("SELECT oid FROM pg_database WHERE datname = current_database()")
        ).scalar_one()
    files = [*(home / "base" / str(database)).iterdir(), *(home / "pg_wal").iterdir()]
    return sorted(path for path in files if path.is_file())


def copy(world) -> Copy:
    return Copy.of(world.engine, raw_files(world.engine))


def fill(world) -> dict[str, str]:
    """Records of two people, one session among them; what must stay, by id."""
    world.put("secret of the visit", subject=ANNA, session_id=VISIT)
    world.put("secret of the visit", subject=BERT, session_id=VISIT)
    stays = [world.put(f"bert stays {n}", subject=BERT) for n in range(20)]
    world.document("notes", "notes of bert", BERT)
    world.put("secret of anna", subject=ANNA)
    return {record_id: f"bert stays {n}" for n, record_id in enumerate(stays)}


TARGETS = [("session", VISIT), ("subject", ANNA)]


def test_the_attack_works_as_long_as_nothing_is_erased(world):
    stays = fill(world)
    before = copy(world)
    assert attack(world, [before]) == SECRETS | set(stays.values())
    # Even without rows: the wrapped keys are there in the raw bytes.
    raw = Copy([(k, s, scope, b"") for k, s, scope, _ in before.keys], before.payloads, before.raw)
    assert attack(world, [raw]) == SECRETS | set(stays.values())


def test_no_copy_yields_what_was_erased(world):
    stays = fill(world)
    copies = [copy(world)]
    receipts = world.eraser.erase_many(TARGETS)
    assert {receipt.state for receipt in receipts} == {"final"}
    copies.append(copy(world))
    # What stays is found with keys of today in copies of any age: that is how a backup is used.
    assert attack(world, copies) == set(stays.values())
    assert attack(world, copies[1:]) == set(stays.values())
    assert world.texts() == stays
    assert world.read_document("notes") == "notes of bert"


def test_nothing_of_it_is_left_in_the_files_of_sqlite(sqlite_url, tmp_path):
    from analect.store.engine import open_engine
    from analect.store.migrate import migrate

    engine = open_engine(sqlite_url)
    migrate(engine)
    world = World(engine, tmp_path)
    world.put("secret", subject=ANNA, name="a name that is only hers", tags=["her-own-tag"])
    world.put("stays", subject=BERT, name="a name that stays")
    before = copy(world)
    world.eraser.erase("subject", ANNA)
    after = copy(world)
    for found in (b"a name that is only hers", b"her-own-tag"):
        assert found in before.raw
        assert found not in after.raw
    blobs = [blob for _, blob in before.payloads if blob not in dict(after.payloads).values()]
    assert len(blobs) == 1
    assert blobs[0] not in after.raw
    assert b"a name that stays" in after.raw
    world.close()
    engine.dispose()


@pytest.mark.parametrize("where", STEPS)
def test_a_crash_at_any_step_is_settled_by_the_next_run(world, where):
    stays = fill(world)
    copies = [copy(world)]

    def crash(name: str) -> None:
        if name == where:
            raise Crash(name)

    world.step = crash
    with pytest.raises(Crash):
        world.eraser.erase_many(TARGETS)
    copies.append(copy(world))
    again = World(world.engine, world.folder, index=world.index)
    # Meanwhile nothing that stays is lost.
    there = again.texts() if where in STEPS[:4] else again_without_erased(again)
    assert stays.items() <= there.items()
    late = again.put("bert stays late", subject=BERT)
    settled = again.eraser.settle()
    assert {receipt.state for receipt in settled} == {"final"}
    assert len(settled) == 2
    copies.append(copy(again))
    stays[late] = "bert stays late"
    assert again.texts() == stays
    assert again.read_document("notes") == "notes of bert"
    assert attack(again, copies) == set(stays.values())
    assert all(len(found) == 1 for found in again.keys.shards.generations().values())
    assert again.index.held == set(stays)
    assert again.eraser.settle() == []
    again.close()


def again_without_erased(world) -> dict[str, str]:
    """As ``texts``, of rows whose keys are still there."""
    from sqlalchemy import select

    from analect.store.rows import COLUMNS, stored_record
    from analect.store.tables import records

    with read_transaction(world.engine) as connection:
        rows = connection.execute(select(*(records.c[name] for name in COLUMNS))).fetchall()
    stored = [stored_record(row) for row in rows]
    keys = world.keys.by_ids(list({one.key_id for one in stored}))
    return {
        one.record.id: world.sealer.open(one.payload, one.record.id, keys)[0]
        for one in stored
        if one.key_id in keys
    }


@pytest.mark.parametrize("where", ["planned", "retired", "sealed again"])
def test_what_another_process_stores_meanwhile_is_erased_or_kept_as_it_should(world, where):
    stays = fill(world)
    other = World(world.engine, world.folder, index=world.index)
    other.texts()
    other.put("warm up", subject=BERT)  # it has the old keys in memory
    added: dict[str, str] = {}

    def meanwhile(name: str) -> None:
        if name == where:
            other.put("secret of the visit", subject=BERT, session_id=VISIT)
            added[other.put("bert goes on", subject=BERT)] = "bert goes on"
            other.document("notes", "notes go on", BERT)

    world.step = meanwhile
    world.eraser.erase("session", VISIT)
    copies = [copy(world)]
    found = other.texts()
    assert stays.items() <= found.items()
    assert added.items() <= found.items()
    assert "secret of the visit" not in found.values()
    assert other.read_document("notes") == "notes go on"
    assert other.read_document("notes", 1) == "notes of bert"
    assert "secret of the visit" not in attack(world, copies)
    later = other.put("and on", subject=BERT)
    assert world.texts()[later] == "and on"
    other.close()


def test_writers_lose_nothing_while_people_are_erased(world):
    """Records that were acked stay readable, unless they were asked to go."""
    people = [f"<subject:{n:016x}>" for n in range(8)]
    others = [World(world.engine, world.folder, index=world.index) for _ in range(2)]
    stop = threading.Event()
    acked: dict[str, str] = {}
    failures: list[BaseException] = []

    def write(number: int) -> None:
        turn = 0
        try:
            while not stop.is_set():
                turn += 1
                person = people[turn % len(people)]
                words = f"{number} {turn}"
                visit = VISIT if turn % 5 == 0 else None
                record_id = others[number].put(words, subject=person, session_id=visit)
                if visit is None:
                    acked[record_id] = words
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            receipt = world.eraser.erase("session", VISIT)
            assert receipt.state == "final"
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert acked.items() <= world.texts().items()
    assert len(acked) > 10
    for other in others:
        other.close()


def rows_of(engine):
    """Every row of every table."""
    with read_transaction(engine) as connection:
        return {
            table.name: [dict(row._mapping) for row in connection.execute(table.select())]
            for table in metadata.sorted_tables
        }


def put_back(engine, rows) -> None:
    """As if a copy of the database were put in its place."""
    with write_transaction(engine) as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
            if rows[table.name]:
                connection.execute(table.insert(), rows[table.name])


def test_an_older_database_takes_its_keys_from_the_ring(world):
    """A copy from before an erasure is put back: what was erased stays erased, others open."""
    stays = fill(world)
    before = rows_of(world.engine)
    world.eraser.erase("subject", ANNA)
    put_back(world.engine, before)
    again = World(world.engine, world.folder, index=world.index)
    again.eraser.settle()
    assert again_without_erased(again).items() >= stays.items()
    assert "secret of anna" not in again_without_erased(again).values()
    with read_transaction(world.engine) as connection:
        shards = dict(map(tuple, connection.execute(key_shards.select())))
        used = {row.shard for row in connection.execute(data_keys.select())}
    ring = again.keys.shards.generations()
    assert {shard: [shards[shard]] for shard in used} == {shard: ring[shard] for shard in used}
    again.close()


@pytest.mark.parametrize("where", ["ring written", "generation committed"])
def test_an_older_database_after_a_crash_drops_no_generation_that_the_newer_one_has(world, where):
    stays = fill(world)
    before = rows_of(world.engine)

    def crash(name: str) -> None:
        if name == where:
            raise Crash(name)

    world.step = crash
    with pytest.raises(Crash):
        world.eraser.erase("subject", ANNA)
    newer = rows_of(world.engine)
    # The older copy is opened, used, and tidies the ring as every process does.
    put_back(world.engine, before)
    older = World(world.engine, world.folder, index=world.index)
    late = older.put("anna is back", subject=ANNA)
    older.eraser.settle()
    there = again_without_erased(older)
    assert there.items() >= stays.items()
    older.close()
    put_back(world.engine, newer)
    again = World(world.engine, world.folder, index=world.index)
    assert {receipt.state for receipt in again.eraser.settle()} == {"final"}
    assert again.texts() == {
        record_id: words for record_id, words in again.texts().items() if words != "secret of anna"
    }
    assert again.texts().items() >= stays.items()
    assert late not in again.texts()
    assert all(len(found) == 1 for found in again.keys.shards.generations().values())
    again.close()
