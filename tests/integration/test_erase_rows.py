"""What an erasure takes and what it leaves, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from analect.model.errors import EngineUnavailable, InvalidInput
from analect.store.engine import read_transaction
from analect.store.tables import (
    commits,
    content_hashes,
    data_keys,
    document_versions,
    outbox,
    record_tags,
)
from tests.integration.erasing import DAY, NOW, World

ANNA, BERT = "<subject:aaaaaaaaaaaaaaaa>", "<subject:bbbbbbbbbbbbbbbb>"
VISIT = "<session:1111111111111111>"


@pytest.fixture
def world(engine, tmp_path):
    world = World(engine, tmp_path)
    yield world
    world.close()


def count(world, table) -> int:
    with read_transaction(world.engine) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_subject_goes_with_all_that_is_theirs(world):
    hers = [world.put(f"hers {n}", subject=ANNA, tags=["a", "b"]) for n in range(3)]
    his = world.put("his", subject=BERT, tags=["a"])
    about = world.put("what bert thinks", subject=BERT, kind="evaluation", parent_id=hers[0])
    deeper = world.put("a remark", kind="evaluation", parent_id=about)
    world.annotate(hers[1], "she asked")
    world.annotate(his, "he asked")
    for text in ("first", "second"):
        world.document("diary", text, ANNA)
    world.document("notes", "of bert", BERT)
    receipt = world.eraser.erase("subject", ANNA)
    assert receipt.state == "final"
    assert receipt.finished_at > receipt.created_at
    assert receipt.counts["records"] == 5
    assert (receipt.counts["documents"], receipt.counts["document_versions"]) == (1, 2)
    assert receipt.counts["annotations"] == 1
    assert receipt.readable_elsewhere
    assert world.texts() == {his: "his"}
    assert world.annotation(his) == "he asked"
    assert world.read_document("diary") is None
    assert world.read_document("notes") == "of bert"
    assert count(world, record_tags) == 1
    assert count(world, content_hashes) == 1
    assert count(world, document_versions) == 1
    assert world.index.held == {his}
    assert world.index.purged == 1
    assert deeper not in world.texts()
    assert world.eraser.receipts() == [receipt]


def test_the_feed_and_the_processors_hear_of_it(world):
    gone = [world.put(f"{n}", subject=ANNA) for n in range(2)]
    world.eraser.erase("subject", ANNA)
    page = world.store.feed.changes(None, 100)
    deleted = [change.record_id for change in page.items if change.operation == "delete"]
    assert sorted(deleted) == sorted(gone)
    with read_transaction(world.engine) as connection:
        left = connection.execute(select(outbox).where(outbox.c.operation == "delete")).one()
    assert (left.processor, left.state) == ("text", "pending")
    claimed = world.store.outbox.claim("text", "w", 100, world.clock())
    (entry,) = [one for one in claimed if one.operation == "delete"]
    assert sorted(entry.ids) == sorted(gone)
    # It goes before the puts that wait: those find nothing to process any more.
    assert claimed[0] == entry


def test_a_session_goes_and_the_rest_of_the_person_stays(world):
    gone = world.put(
        "in the visit <email:00000000000000aa>",
        subject=ANNA,
        session_id=VISIT,
        vault_values=[("<email:00000000000000aa>", "a@x"), ("<email:00000000000000bb>", "b@x")],
    )
    stays = world.put("before <email:00000000000000bb>", subject=ANNA, name="talk")
    world.annotate(stays, "kept")
    world.document("diary", "hers", ANNA)
    alone = world.put("by nobody", session_id=VISIT)
    with read_transaction(world.engine) as connection:
        before = set(connection.execute(select(data_keys.c.key_id)).scalars())
    receipt = world.eraser.erase("session", VISIT)
    assert receipt.counts["records"] == 2
    assert receipt.counts["keys"] == 1 or receipt.counts["keys"] == 2
    assert receipt.counts["sealed_again"] == 2
    assert world.texts() == {stays: "before <email:00000000000000bb>"}
    assert world.annotation(stays) == "kept"
    assert world.read_document("diary") == "hers"
    assert world.read_document("diary", 1) == "hers"
    assert world.revealed() == {"<email:00000000000000bb>": "b@x"}
    with read_transaction(world.engine) as connection:
        after = set(connection.execute(select(data_keys.c.key_id)).scalars())
    assert not before & after
    assert {gone, alone}.isdisjoint(world.index.held)
    again = world.put("later", subject=ANNA)
    assert world.texts()[again] == "later"


def test_a_thread_and_a_record(world):
    talk = [world.put(f"said {n}", thread_id="talk") for n in range(3)]
    other = world.put("elsewhere", thread_id="other")
    loose = [world.put(f"loose {n}", at=NOW - DAY) for n in range(200)]
    world.eraser.erase("thread", "talk")
    assert set(world.texts()) == {other, *loose}
    receipt = world.eraser.erase("record", loose[7].upper())
    assert receipt.target == loose[7]
    assert receipt.counts["records"] == 1
    assert set(world.texts()) == {other, *loose} - {loose[7]}
    assert world.texts()[loose[8]] == "loose 8"
    assert set(talk).isdisjoint(world.index.held)


def test_many_at_once_share_their_generations(world):
    people = [f"<subject:{n:016x}>" for n in range(40)]
    for person in people:
        world.put("secret", subject=person)
    stays = world.put("kept", subject=BERT)
    receipts = world.eraser.erase_many([("subject", person) for person in people])
    assert [receipt.target for receipt in receipts] == people
    assert {receipt.state for receipt in receipts} == {"final"}
    assert sum(receipt.counts["records"] for receipt in receipts) == 40
    assert world.texts() == {stays: "kept"}
    assert world.index.purged == 1
    assert all(len(g) == 1 for g in world.keys.shards.generations().values())


def test_nobody_leaves_nothing_and_says_so(world):
    receipt = world.eraser.erase("subject", ANNA)
    assert (receipt.state, receipt.counts) == ("final", {})
    with pytest.raises(InvalidInput, match="scope"):
        world.eraser.erase("planet", "x")
    with pytest.raises(InvalidInput, match="UUIDv7"):
        world.eraser.erase("record", "x")
    assert world.eraser.erase_many([]) == []


def test_records_without_a_payload_leave_their_values_behind_in_no_vault(world):
    import os

    from analect.model.ids import new_id
    from analect.model.record import Draft
    from analect.privacy.scope import scope_of
    from analect.privacy.vault import vault_row
    from analect.store.append import SealedDraft

    at = NOW - DAY
    draft = Draft(
        id=new_id(at, os.urandom),
        occurred_at=at,
        subject=ANNA,
        thread_id="t",
        name="<email:00000000000000aa>",
    )
    scope = scope_of(draft, world.keys.pseudonym_key)
    key = world.keys.for_scopes([scope])[scope]
    world.store.append(
        [SealedDraft(draft, NOW, None, None, os.urandom(16))],
        processors=(),
        new_keys=world.keys.pending_rows([key.key_id]),
        vault_rows=[vault_row(world.sealer, key, "<email:00000000000000aa>", "a@x")],
    ).result(20)
    assert world.revealed()
    world.eraser.erase("thread", "t")
    assert world.revealed() == {}


def test_an_index_that_is_down_leaves_the_receipt_pending(world):
    gone = world.put("secret", subject=ANNA)
    world.index.failing = EngineUnavailable("down")
    receipt = world.eraser.erase("subject", ANNA)
    assert receipt.state == "pending"
    assert world.texts() == {}
    assert gone in world.index.held
    world.index.failing = None
    (settled,) = world.eraser.settle()
    assert (settled.id, settled.state) == (receipt.id, "final")
    assert world.index.held == set()
    assert world.eraser.settle() == []


def test_a_processor_that_holds_the_record_is_waited_for(world):
    world.put("secret", subject=ANNA)
    entries = world.store.outbox.claim("text", "w", 100, world.clock())
    receipt = world.eraser.erase("subject", ANNA)
    assert receipt.state == "pending"
    assert world.index.purged == 0
    world.store.outbox.done(entries, "w")
    assert [one.state for one in world.eraser.settle()] == ["final"]
    assert world.index.purged == 1
    assert count(world, commits) == 2
