"""Documents and annotations: versions, optimistic locking, pages, expiry."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from analect.model.errors import Conflict, InvalidQuery, NotFound
from analect.model.ids import new_id
from analect.model.query import PageRequest
from analect.model.record import Draft
from analect.store.annotations import Annotations, StoredAnnotation
from analect.store.append import KeyRace
from analect.store.cursor import Cursors
from analect.store.documents import Documents
from analect.store.engine import write_transaction
from tests.integration.store_filling import BASE, KEY_ID, Key, append, begin_shard


class Clock:
    now = BASE

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def documents(engine, clock):
    with write_transaction(engine) as connection:
        begin_shard(connection)
    return Documents(engine, Cursors(b"c" * 32), clock)


def put(documents, id="d", body=b"body", kind="story", **options):
    given = {"key_id": KEY_ID, "new_keys": [Key()], "now": BASE, **options}
    return documents.put(kind, id, body, **given)


def test_every_save_is_a_version(documents):
    first = put(documents, body=b"one", owner="o", status="draft", now=BASE)
    second = put(documents, body=b"two", status="done", now=BASE + 5, expires_at=BASE + 10**9)
    assert (first.version, second.version) == (1, 2)
    assert second.created_at == BASE
    assert second.updated_at == BASE + 5
    assert documents.get("story", "d") == second
    assert documents.get("story", "d", 1) == first
    assert documents.get("story", "d", 2) == second
    assert documents.get("story", "d", 3) is None
    assert documents.get("story", "e") is None
    assert documents.get("user", "d") is None


def test_optimistic_locking(documents):
    assert put(documents, expected_version=0).version == 1
    assert put(documents, expected_version=1).version == 2
    for expected in (0, 1, 3):
        with pytest.raises(Conflict, match="at version 2"):
            put(documents, expected_version=expected)
    with pytest.raises(Conflict, match="does not exist"):
        put(documents, id="new", expected_version=1)
    with pytest.raises(Conflict, match="at version 2"):
        documents.delete("story", "d", expected_version=1)
    documents.delete("story", "d", expected_version=2)
    assert documents.get("story", "d") is None
    assert documents.get("story", "d", 1) is None
    with pytest.raises(NotFound):
        documents.delete("story", "d")
    assert put(documents, expected_version=0).version == 1


@pytest.mark.parametrize("version", [0, 1])
def test_of_concurrent_writers_one_wins(documents, version):
    put(documents, id="other")
    if version:
        put(documents)
    barrier = Barrier(4)

    def save(number):
        barrier.wait(timeout=20)
        try:
            return put(documents, body=bytes([number]), expected_version=version).version
        except Conflict as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(save, range(4)))
    assert results.count(version + 1) == 1
    assert sum(f"at version {version + 1}" in str(result) for result in results) == 3


def test_without_an_expected_version_everyone_is_saved(documents):
    barrier = Barrier(4)

    def save(number):
        barrier.wait(timeout=20)
        return put(documents, body=bytes([number])).version

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(save, range(4))) == [1, 2, 3, 4]
    bodies = {documents.get("story", "d", version).body for version in (1, 2, 3, 4)}
    assert bodies == {bytes([number]) for number in range(4)}


def test_a_key_that_does_not_stand_saves_nothing(documents):
    with pytest.raises(KeyRace) as caught:
        put(documents, key_id=99)
    assert caught.value.key_ids == {99}
    assert documents.get("story", "d") is None


def walk(documents, limit, *, descending, **where):
    ids, cursor = [], None
    while True:
        page = documents.list("story", page=PageRequest(limit, cursor, descending), **where)
        ids += [one.id for one in page.items]
        cursor = page.next
        if cursor is None:
            return ids


def test_pages_by_kind_owner_and_status(documents):
    for number in range(25):
        put(
            documents,
            id=f"d{number:02}",
            owner=f"o{number % 2}",
            status=["draft", "done", None][number % 3],
            now=BASE + number // 4,
        )
    put(documents, kind="user", id="x", owner="o0")
    ids = [f"d{number:02}" for number in range(25)]
    for limit in (1, 4, 100):
        assert walk(documents, limit, descending=False) == ids
        assert walk(documents, limit, descending=True) == ids[::-1]
        assert walk(documents, limit, descending=True, owner="o1") == ids[1::2][::-1]
        assert walk(documents, limit, descending=False, status="done") == ids[1::3]
        assert walk(documents, limit, descending=False, owner="o0", status="done") == ids[4::6]
    assert sorted(one.id for one in documents.owned_by("o0")) == [*ids[::2], "x"]
    cursor = documents.list("story", page=PageRequest(3)).next
    with pytest.raises(InvalidQuery):
        documents.list("story", owner="o0", page=PageRequest(3, cursor))


def test_a_walk_is_not_disturbed_by_new_versions(documents):
    for number in range(6):
        put(documents, id=f"d{number}", now=BASE + number)
    page = documents.list("story", page=PageRequest(3))
    for number in range(6):
        put(documents, id=f"d{number}", now=BASE + 100)
    rest = documents.list("story", page=PageRequest(3, page.next))
    assert [one.id for one in (*page.items, *rest.items)] == [f"d{n}" for n in range(5, -1, -1)]


def test_expired_documents_are_gone_before_they_are_swept(documents, clock):
    put(documents, id="short", expires_at=BASE + 10)
    put(documents, id="long", expires_at=BASE + 20)
    put(documents, id="ever")
    assert len(documents.list("story").items) == 3
    clock.now = BASE + 10
    assert documents.get("story", "short") is None
    assert documents.get("story", "short", 1) is None
    assert {one.id for one in documents.list("story").items} == {"long", "ever"}
    with pytest.raises(NotFound):
        documents.delete("story", "short")
    assert documents.expire(BASE + 10) == 1
    assert documents.expire(BASE + 10) == 0
    clock.now = BASE + 30
    again = put(documents, id="long", expected_version=0, now=clock.now)
    assert (again.version, again.created_at) == (1, clock.now)
    assert documents.expire(clock.now) == 0


def note(record_id, name, value=None, **more):
    fields = {"processor": "mood", "processor_version": 1, "created_at": BASE, **more}
    return StoredAnnotation(record_id=record_id, name=name, value=value, **fields)


def test_annotations_replace_their_own_kind(engine):
    ids = [new_id(BASE + n * 1000, lambda size: b"a" * size) for n in range(3)]
    append(engine, [Draft(id=one, occurred_at=BASE + n * 1000) for n, one in enumerate(ids)])
    annotations = Annotations(engine)
    nobody = new_id(BASE, lambda size: b"b" * size)
    first = note(ids[0], "mood", "glad", confidence=0.5)
    secret = note(ids[0], "summary", key_id=KEY_ID, text=b"sealed")
    assert annotations.put([secret, first, note(ids[1], "mood", "sad")]) == 3
    assert annotations.put([note(nobody, "mood", "glad")]) == 0
    assert annotations.put([]) == 0
    assert annotations.get([ids[0], ids[2]]) == {ids[0]: [first, secret], ids[2]: []}
    later = note(ids[0], "mood", "sad", processor_version=2)
    assert annotations.put([first, later]) == 1
    other = note(ids[0], "mood", "sad", processor="zeal")
    annotations.put([other])
    assert annotations.get([ids[0]])[ids[0]] == [later, secret, other]
    assert annotations.counts("mood") == annotations.counts() == {("mood", "sad"): 2}
    assert annotations.delete([ids[0], ids[2]]) == 3
    assert annotations.counts() == {("mood", "sad"): 1}
