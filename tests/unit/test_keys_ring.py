"""The folder ring: put once, all or nothing, gone when deleted."""

from __future__ import annotations

import os
import threading

import pytest

from analect.model.errors import KeyUnavailable, StoreUnavailable
from analect.privacy.keyring import FolderKeyRing


@pytest.fixture
def ring(tmp_path):
    return FolderKeyRing(tmp_path / "ring")


def test_an_empty_ring_is_no_folder_yet(ring, tmp_path):
    assert ring.names() == []
    assert ring.read("store") is None
    ring.delete("store")
    assert ring.names() == []


def test_put_keeps_what_was_first(ring, tmp_path):
    assert ring.put("a", b"first")
    assert not ring.put("a", b"second")
    assert ring.read("a") == b"first"
    assert ring.names() == ["a"]
    folder = tmp_path / "ring"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "a").stat().st_mode & 0o777 == 0o600


def test_many_are_put_together_and_what_was_first_is_kept(ring, tmp_path):
    ring.put("b", b"first")
    ring.put_all({"a": b"one", "b": b"two", "c": b"three"})
    assert [ring.read(name) for name in ring.names()] == [b"one", b"first", b"three"]
    assert sorted(entry.name for entry in (tmp_path / "ring").iterdir()) == [".lock", "a", "b", "c"]


def test_what_is_deleted_or_replaced_is_overwritten(ring, tmp_path):
    ring.put("a", b"secret one")
    path = tmp_path / "ring" / "a"
    with path.open("rb") as old:
        assert ring.replace("a", b"secret one", b"secret two")
        assert old.read() == bytes(10)
    with path.open("rb") as old:
        ring.delete("a")
        assert old.read() == bytes(10)
    assert ring.read("a") is None


def test_only_what_was_seen_is_replaced(ring):
    assert not ring.replace("a", b"", b"new")
    ring.put("a", b"here")
    assert not ring.replace("a", b"other", b"new")
    assert ring.read("a") == b"here"


def test_one_of_many_wins(ring):
    outcomes = []
    threads = [
        threading.Thread(target=lambda n=n: outcomes.append((ring.put("a", b"%d" % n), n)))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (winner,) = [number for won, number in outcomes if won]
    assert ring.read("a") == b"%d" % winner


def test_what_a_crash_left_is_destroyed_by_the_next_writer(ring, tmp_path):
    ring.put("a", b"here")
    left = tmp_path / "ring" / ".b.unfinished"
    left.write_bytes(b"a key that never was")
    assert ring.names() == ["a"]
    with left.open("rb") as handle:
        ring.put("c", b"there")
        assert handle.read() == bytes(20)
    assert not left.exists()


def test_errors_name_the_ring(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    ring = FolderKeyRing(tmp_path / "file")
    with pytest.raises(StoreUnavailable, match="file"):
        ring.put("a", b"")
    with pytest.raises(KeyUnavailable, match="file"):
        ring.names()
    with pytest.raises(KeyUnavailable, match="file"):
        ring.read("a")


def test_a_full_disk_says_so(ring, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable) as caught:
        ring.put("a", b"x")
    assert caught.value.disk_full
    monkeypatch.undo()
    assert ring.put("a", b"y")
