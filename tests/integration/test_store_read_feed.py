"""The change feed: everything once, in the order of commits, whoever writes meanwhile."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, insert, text

from analect.model.errors import InvalidQuery
from analect.model.ids import id_bytes, new_id
from analect.model.record import Draft
from analect.store.cursor import Cursors
from analect.store.engine import is_postgres, open_engine, write_transaction
from analect.store.feed import Feed
from analect.store.reads import RecordReads
from analect.store.tables import commits, records
from tests.integration.store_filling import BASE, append, append_within

CURSORS = Cursors(b"c" * 32)


@pytest.fixture
def feed(engine):
    return Feed(engine, CURSORS, RecordReads(engine, CURSORS))


def drafts(rng, count):
    ats = [BASE + rng.randrange(10**9) for _ in range(count)]
    return [Draft(id=new_id(at, rng.randbytes), occurred_at=at) for at in ats]


def remove(engine, ids):
    with write_transaction(engine) as connection:
        txid = 0
        if is_postgres(engine):
            txid = connection.execute(
                text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
            ).scalar_one()
        connection.execute(delete(records).where(records.c.id.in_(ids)))
        raw = b"".join(map(id_bytes, ids))
        connection.execute(
            insert(commits).values(txid=txid, operation="delete", ids=raw, committed_at=BASE)
        )


def read_all(feed, after=None, limit=10):
    items = []
    while True:
        page = feed.changes(after, limit)
        assert page.next is not None
        assert len(page.items) <= limit
        if not page.items:
            return items, page.next
        items += page.items
        after = page.next


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_everything_once_in_commit_order(engine, feed, limit):
    rng = random.Random(2)
    batches = [drafts(rng, count) for count in (1, 5, 7, 1, 3)]
    for batch in batches:
        append(engine, batch)
    items, cursor = read_all(feed, limit=limit)
    assert [item.record_id for item in items] == [one.id for batch in batches for one in batch]
    assert {item.operation for item in items} == {"put"}
    assert all(item.stored.record.id == item.record_id for item in items)
    more = drafts(rng, 2)
    append(engine, more)
    items, _ = read_all(feed, cursor, limit)
    assert [item.record_id for item in items] == [one.id for one in more]


def test_every_item_can_be_resumed_behind(engine, feed):
    rng = random.Random(3)
    for count in (2, 4):
        append(engine, drafts(rng, count))
    items, _ = read_all(feed)
    for number, item in enumerate(items):
        rest, _ = read_all(feed, item.cursor, 2)
        assert [one.record_id for one in rest] == [one.record_id for one in items[number + 1 :]]


def test_what_is_gone_shows_its_deletion_only(engine, feed):
    batch = drafts(random.Random(4), 5)
    append(engine, batch)
    remove(engine, [batch[1].id, batch[3].id])
    items, _ = read_all(feed, limit=2)
    assert [(item.operation, item.record_id) for item in items] == [
        ("put", batch[0].id),
        ("put", batch[2].id),
        ("put", batch[4].id),
        ("delete", batch[1].id),
        ("delete", batch[3].id),
    ]
    assert items[-1].stored is None


def test_an_empty_store_has_a_cursor_that_holds(engine, feed):
    page = feed.changes(None, 10)
    assert page.items == ()
    batch = drafts(random.Random(5), 3)
    append(engine, batch)
    for after in (page.next, None):
        assert [item.record_id for item in feed.changes(after, 10).items] == [b.id for b in batch]
    assert feed.changes(feed.head(), 10).items == ()


def test_a_wrong_cursor_is_refused(feed):
    for cursor in ("", "x", CURSORS.make(b"another query", b"\0" * 20)):
        with pytest.raises(InvalidQuery) as caught:
            feed.changes(cursor, 10)
        assert caught.value.field == "after"


def test_exactly_once_under_concurrent_writers(engine, feed):
    """Writers commit while the feed is read, on Postgres in another order than they began."""
    writers, rounds = 4, 12
    done = threading.Event()
    gate = threading.Semaphore(0)

    def write(seed):
        rng = random.Random(seed)
        written = []
        for _ in range(rounds):
            batch = drafts(rng, rng.randrange(1, 5))
            if is_postgres(engine):
                append(engine, batch[:1])
                if batch[1:]:
                    with write_transaction(engine) as connection:
                        append_within(connection, batch[1:])
                        # Stay open with a transaction id until somebody else came by.
                        gate.release()
                        gate.acquire(timeout=0.05)
            else:
                append(engine, batch)
            written += [one.id for one in batch]
        return written

    def follow():
        seen, after = [], None
        while True:
            last = done.is_set()
            page = feed.changes(after, 3)
            seen += [item.record_id for item in page.items]
            after = page.next
            if last and not page.items:
                return seen

    with ThreadPoolExecutor(writers + 1) as pool:
        reader = pool.submit(follow)
        written = [pool.submit(write, seed) for seed in range(writers)]
        ids = [record_id for future in written for record_id in future.result()]
        done.set()
        seen = reader.result()
    assert len(seen) == len(set(seen))
    assert set(seen) == set(ids)


def test_an_open_transaction_holds_back_what_is_behind_it(postgres_url):
    from analect.store.migrate import migrate

    engine = open_engine(postgres_url)
    migrate(engine)
    feed = Feed(engine, CURSORS, RecordReads(engine, CURSORS))
    first, second, third = (drafts(random.Random(seed), 2) for seed in range(3))
    append(engine, first)
    with write_transaction(engine) as connection:
        append_within(connection, second)
        append(engine, third)
        seen, cursor = read_all(feed)
        assert [item.record_id for item in seen] == [one.id for one in first]
    seen, _ = read_all(feed, cursor)
    assert [item.record_id for item in seen] == [one.id for one in (*second, *third)]
    engine.dispose()


def test_waiting_ends_with_a_commit_of_this_process(engine, feed):
    cursor = feed.head()
    assert not feed.wait_for_change(0.0)
    assert not feed.wait_for_change(0.01, cursor)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(feed.wait_for_change, 20.0, cursor)
        append(engine, drafts(random.Random(6), 1))
        feed.notify()
        assert waiting.result(timeout=20)
    assert feed.wait_for_change(0.0, cursor)


def test_waiting_sees_commits_that_nobody_announced(engine, feed, store_url):
    cursor = feed.head()
    other = open_engine(store_url)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(feed.wait_for_change, 20.0, cursor)
        append(other, drafts(random.Random(7), 1))
        assert waiting.result(timeout=20)
    other.dispose()
