"""Data keys: candidates, races, generations; over a ring in a folder and rows in memory."""

from __future__ import annotations

import os
import threading

import pytest

from analect.model.errors import ConfigurationError, Corrupt, KeyUnavailable
from analect.privacy.kek import LocalKek
from analect.privacy.keyring import FolderKeyRing
from analect.privacy.keys import DataKeyRow, DataKeys, keys_of_ring, open_data_keys
from analect.privacy.shards import SHARDS, rotate_kek, wrapped_by
from analect.settings import Settings

KEK = LocalKek("test", [os.urandom(32)], os.urandom)


class Rows:
    """SQL's side, in memory, with SQL's rules."""

    def __init__(self) -> None:
        self.store: str | None = None
        self.keys: dict[int, DataKeyRow] = {}
        self.shards: dict[int, int] = {}
        self.asked = 0

    def store_id(self):
        return self.store

    def register_store(self, store_id):
        self.store = self.store or store_id
        return self.store

    def find_scopes(self, scopes):
        self.asked += 1
        return [self._now(row) for row in self.keys.values() if row.scope in scopes]

    def find_ids(self, key_ids):
        self.asked += 1
        return [self._now(row) for key_id, row in self.keys.items() if key_id in key_ids]

    def generations(self):
        return dict(self.shards)

    def register_shards(self, generations):
        self.shards = {**generations, **self.shards}
        return {shard: self.shards[shard] for shard in generations}

    def insert(self, rows):
        """As the writer does: what stands of them."""
        for row in rows:
            free = row.scope not in {other.scope for other in self.keys.values()}
            if free and self.shards.get(row.shard) == row.generation:
                self.keys[row.key_id] = row
        return [row.key_id for row in rows if row.key_id in self.keys]

    def _now(self, row):
        assert row.generation == self.shards[row.shard]
        return row


@pytest.fixture
def ring(tmp_path):
    return FolderKeyRing(tmp_path / "ring")


def keys_of(ring, rows, kek=KEK) -> DataKeys:
    return keys_of_ring(
        ring, lambda _id, _fresh: kek, rows, clock=lambda: 1, random_bytes=os.urandom
    )


def scope(shard: int) -> bytes:
    return bytes([shard]) + os.urandom(15)


def advance(keys: DataKeys, rows: Rows, shard: int, *, without: int) -> None:
    """An erasure of one key, in short."""
    survivors = [r for r in rows.keys.values() if r.shard == shard and r.key_id != without]
    generation = rows.shards[shard]
    _, fresh = keys.shards.advance(shard, generation, survivors)
    rows.keys = {k: r for k, r in rows.keys.items() if r.shard != shard}
    rows.keys.update({row.key_id: row for row in fresh})
    rows.shards[shard] = generation + 1
    keys.shards.drop(shard, generation)


def test_every_shard_can_begin_at_once_and_stays_as_it_was(ring):
    rows = Rows()
    keys = keys_of(ring, rows)
    (one,) = keys.for_scopes([scope(7)]).values()
    keys.begin()
    assert sorted(rows.shards) == list(range(SHARDS))
    assert set(rows.shards.values()) == {1}
    before = {name: ring.read(name) for name in ring.names()}
    keys_of(ring, rows).begin()
    assert {name: ring.read(name) for name in ring.names()} == before
    rows.insert(keys.pending_rows([one.key_id]))
    assert keys_of(ring, rows).by_ids([one.key_id])[one.key_id].material == one.material


def test_a_candidate_is_shared_until_it_stands(ring):
    rows = Rows()
    keys, one = keys_of(ring, rows), scope(3)
    key = keys.for_scopes([one])[one]
    assert keys.for_scopes([one])[one] is key
    (row,) = keys.pending_rows([key.key_id])
    assert (row.scope, row.shard, row.generation) == (one, 3, 1)
    assert keys.pending_rows([key.key_id]) == [row]
    assert rows.insert([row]) == [key.key_id]
    keys.committed([key.key_id])
    assert keys.pending_rows([key.key_id]) == []
    asked = rows.asked
    assert keys.by_ids([key.key_id]) == {key.key_id: key}
    assert rows.asked == asked
    elsewhere = keys_of(ring, rows)
    assert elsewhere.by_ids([key.key_id])[key.key_id].material == key.material
    assert elsewhere.for_scopes([one])[one].material == key.material
    assert elsewhere.pseudonym_key == keys.pseudonym_key


def test_who_comes_second_takes_the_first_ones_key(ring):
    rows, one = Rows(), scope(9)
    ours, theirs = keys_of(ring, rows), keys_of(ring, rows)
    lost, won = ours.for_scopes([one])[one], theirs.for_scopes([one])[one]
    assert rows.insert(theirs.pending_rows([won.key_id]))
    assert not rows.insert(ours.pending_rows([lost.key_id]))
    ours.discard([lost.key_id])
    assert ours.for_scopes([one])[one].material == won.material


def test_a_destroyed_key_is_absent_and_survivors_open(ring):
    rows, (gone, stays) = Rows(), (scope(5), scope(5))
    keys, other = keys_of(ring, rows), keys_of(ring, rows)
    found = keys.for_scopes([gone, stays])
    rows.insert(keys.pending_rows([key.key_id for key in found.values()]))
    wrapped = rows.keys[found[gone].key_id]
    assert set(other.by_ids(list(rows.keys))) == set(rows.keys)
    advance(keys, rows, 5, without=found[gone].key_id)
    keys.discard([found[gone].key_id])
    assert set(keys.by_ids([key.key_id for key in found.values()])) == {found[stays].key_id}
    assert ring.names() == ["pseudonym", "shard-005.00000002", "store"]
    assert keys.shards.unwrap(wrapped) is None
    # A program that cached both learns of it.
    other.refresh()
    assert set(other.by_ids([key.key_id for key in found.values()])) == {found[stays].key_id}


def test_a_candidate_of_an_older_generation_does_not_get_in_but_the_next_does(ring):
    rows, one = Rows(), scope(7)
    keys, other = keys_of(ring, rows), keys_of(ring, rows)
    late = other.for_scopes([one])[one]
    advance(keys, rows, 7, without=0)
    assert rows.insert(other.pending_rows([late.key_id])) == []
    other.discard([late.key_id])
    again = other.for_scopes([one])[one]
    assert rows.insert(other.pending_rows([again.key_id])) == [again.key_id]


def test_the_cache_is_bounded_and_forgetting_is_harmless(ring):
    rows = Rows()
    full = keys_of(ring, rows)
    keys = DataKeys(
        rows, full.shards, full.pseudonym_key, clock=lambda: 1, random_bytes=os.urandom, capacity=4
    )
    scopes = [scope(1) for _ in range(6)]
    made = keys.for_scopes(scopes)
    assert len(made) == 6
    stand = rows.insert(keys.pending_rows([key.key_id for key in made.values()]))
    assert len(stand) == 4
    assert len(keys.by_ids(stand)) == 4


def test_threads_agree(ring):
    rows, scopes = Rows(), [scope(n % 4) for n in range(40)]
    keys = keys_of(ring, rows)
    seen: list[tuple[int, ...]] = []

    def work() -> None:
        found = [keys.for_scopes([one])[one] for one in scopes]
        seen.append(tuple(key.key_id for key in found))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 6
    assert len(set(seen)) == 1


def test_ring_and_database_belong_together(ring, tmp_path):
    rows = Rows()
    keys_of(ring, rows)
    other = Rows()
    keys_of(FolderKeyRing(tmp_path / "other"), other)
    with pytest.raises(ConfigurationError) as caught:
        keys_of(ring, other)
    assert rows.store is not None
    assert other.store is not None
    assert rows.store in str(caught.value)
    assert other.store in str(caught.value)
    with pytest.raises(KeyUnavailable, match="is empty"):
        keys_of(FolderKeyRing(tmp_path / "empty"), rows)
    assert not (tmp_path / "empty").exists()


def test_a_lost_pseudonym_key_is_not_made_again(ring):
    rows = Rows()
    keys_of(ring, rows)
    ring.delete("pseudonym")
    with pytest.raises(KeyUnavailable, match="pseudonym"):
        keys_of(ring, rows)


def test_a_lost_shard_is_named(ring):
    rows, one = Rows(), scope(200)
    keys = keys_of(ring, rows)
    rows.insert(keys.pending_rows([keys.for_scopes([one])[one].key_id]))
    ring.delete("shard-200.00000001")
    with pytest.raises(KeyUnavailable, match="shard 200"):
        keys_of(ring, rows).for_scopes([one])


def test_a_swapped_row_does_not_verify(ring):
    rows, (one, two) = Rows(), (scope(8), scope(8))
    keys = keys_of(ring, rows)
    a, b = (key.key_id for key in keys.for_scopes([one, two]).values())
    rows.insert(keys.pending_rows([a, b]))
    first, second = rows.keys[a], rows.keys[b]
    rows.keys[a] = DataKeyRow(a, 8, one, second.wrapped, 1, 1)
    assert first.wrapped != second.wrapped
    with pytest.raises(Corrupt, match="does not verify"):
        keys_of(ring, rows).by_ids([a])


def test_another_kek_does_not_open_and_rotation_changes_it(ring):
    rows, scopes = Rows(), [scope(n) for n in range(5)]
    keys = keys_of(ring, rows)
    made = keys.for_scopes(scopes)
    rows.insert(keys.pending_rows([key.key_id for key in made.values()]))
    new = LocalKek("new", [os.urandom(32)], os.urandom)
    with pytest.raises(KeyUnavailable, match="new"):
        keys_of(ring, rows, new)
    assert rotate_kek(ring, KEK, new, new.wraps) == 6
    assert rotate_kek(ring, KEK, new, new.wraps) == 0
    opened = keys_of(ring, rows, new).for_scopes(scopes)
    assert [key.material for key in opened.values()] == [key.material for key in made.values()]
    with pytest.raises(KeyUnavailable, match="test"):
        keys_of(ring, rows)


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """A ring whose process ends before it has replaced so many objects."""

    def __init__(self, ring, left):
        self._ring = ring
        self._left = left

    def __getattr__(self, name):
        return getattr(self._ring, name)

    def replace(self, name, old, data):
        if not self._left:
            raise Killed
        self._left -= 1
        return self._ring.replace(name, old, data)


@pytest.mark.parametrize("done", range(4))
def test_a_rotation_that_was_killed_is_finished_by_the_next_one(ring, done):
    rows, scopes = Rows(), [scope(n) for n in range(3)]
    keys = keys_of(ring, rows)
    made = keys.for_scopes(scopes)
    rows.insert(keys.pending_rows([key.key_id for key in made.values()]))
    new = LocalKek("new", [os.urandom(32)], os.urandom)
    with pytest.raises(Killed):
        rotate_kek(Dying(ring, done), KEK, new, new.wraps)
    # The old key still says that it is the ring's, so the rotation can be asked for again.
    assert wrapped_by(ring) == KEK.names[0]
    assert keys_of(ring, rows).pseudonym_key == keys.pseudonym_key
    assert rotate_kek(ring, KEK, new, new.wraps) == 4 - done
    assert wrapped_by(ring) == new.names[0]
    opened = keys_of(ring, rows, new).for_scopes(scopes)
    assert [key.material for key in opened.values()] == [key.material for key in made.values()]


def test_a_ring_inside_the_data_folder_is_refused(tmp_path):
    home = tmp_path / "data"
    settings = Settings(home=home, keys={"ring": home / "ring"})
    with pytest.raises(ConfigurationError) as caught:
        open_data_keys(settings, Rows(), clock=lambda: 1, random_bytes=os.urandom)
    assert caught.value.field == "keys.ring"
