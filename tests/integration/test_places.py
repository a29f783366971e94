"""One contract for every kind of place: a folder, and an S3-compatible store over HTTP."""

from __future__ import annotations

import threading

import pytest

from analect.lifecycle.backup.rings import mirror
from analect.lifecycle.places.bucket import PART
from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.places.opening import address_of, open_place, open_ring
from analect.model.errors import ConfigurationError, Conflict, NotFound, StoreUnavailable
from analect.privacy.keyring import FolderKeyRing
from analect.settings import Objects


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    if request.param == "folder":
        return FolderPlace(tmp_path / "place")
    return open_place(
        request.getfixturevalue("bucket") + "/some/prefix", request.getfixturevalue("objects")
    )


def put(place, name, data):
    with place.create(name) as stream:
        stream.write(data)


def get(place, name):
    with place.open(name) as stream:
        return stream.read()


def test_what_is_created_is_read_whole_and_in_ranges(place):
    put(place, "a/b", b"0123456789")
    assert get(place, "a/b") == b"0123456789"
    assert place.read("a/b", 3, 4) == b"3456"
    assert place.read("a/b", 8, 100) == b"89"
    assert place.read("a/b", 10, 1) == b""
    assert place.size("a/b") == 10
    with place.open("a/b") as stream:
        stream.seek(5)
        assert stream.read(2) == b"56"


def test_an_object_of_many_parts_is_the_same_in_one_piece(place):
    piece = bytes(range(256)) * 256
    with place.create("large") as stream:
        for _ in range(PART * 2 // len(piece) + 3):
            stream.write(piece)
    assert place.size("large") == (PART * 2 // len(piece) + 3) * len(piece)
    with place.open("large") as stream:
        while part := stream.read(len(piece)):
            assert part == piece
    with pytest.raises(Conflict), place.create("large") as stream:
        stream.write(bytes(PART * 2))


def test_a_name_is_taken_once(place):
    put(place, "one", b"first")
    with pytest.raises(Conflict):
        put(place, "one", b"second")
    assert get(place, "one") == b"first"


def test_of_many_at_once_one_creates(place):
    outcomes = []

    def create(number):
        try:
            put(place, "race", b"%d" % number)
            outcomes.append(number)
        except Conflict:
            outcomes.append(None)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (winner,) = [one for one in outcomes if one is not None]
    assert get(place, "race") == b"%d" % winner


def test_a_block_that_raises_leaves_nothing(place):
    def broken(size):
        with place.create("never") as stream:
            stream.write(bytes(size))
            raise ZeroDivisionError

    for size in (10, PART * 2):
        with pytest.raises(ZeroDivisionError):
            broken(size)
    assert place.names() == []
    assert place.size("never") is None


def test_names_are_those_one_level_below(place):
    for name in ("x/1", "x/2", "x/y/3", "z"):
        put(place, name, b"")
    assert place.names() == ["x", "z"]
    assert place.names("x") == ["1", "2", "y"]
    assert place.names("nothing") == []


def test_what_is_not_there_is_said_so_and_deleting_it_is_fine(place):
    put(place, "x/1", b"1")
    for _ in range(2):
        place.delete("x/1")
        with pytest.raises(NotFound):
            get(place, "x/1")
        with pytest.raises(NotFound):
            place.read("x/1", 0, 1)
    assert place.names() == []


def test_only_what_was_seen_is_swapped(place):
    assert not place.swap("s", b"", b"new")
    put(place, "s", b"old")
    assert not place.swap("s", b"other", b"new")
    assert place.swap("s", b"old", b"new")
    assert get(place, "s") == b"new"


def test_a_ring_is_mirrored_into_a_bucket(bucket, objects, tmp_path):
    ring = FolderKeyRing(tmp_path / "ring")
    copy = open_ring(address_of(bucket, "ring"), objects)
    ring.put("one", b"1")
    ring.put("two", b"2")
    mirror(ring, copy)
    ring.delete("one")
    ring.replace("two", b"2", b"two")
    mirror(ring, copy)
    assert (copy.names(), copy.read("two"), copy.read("one")) == (["two"], b"two", None)


def test_a_ring_is_not_put_where_old_versions_stay(bucket, objects, s3_client):
    s3_client.put_bucket_versioning(
        Bucket=bucket.removeprefix("s3://"), VersioningConfiguration={"Status": "Enabled"}
    )
    with pytest.raises(ConfigurationError, match="old versions"):
        open_ring(address_of(bucket, "ring"), objects).put("one", b"1")


def test_a_place_that_does_not_answer_is_unavailable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        put(FolderPlace(tmp_path / "file"), "x", b"1")
    nobody = Objects(
        endpoint="http://127.0.0.1:9", access_key_id="a", secret_access_key="b", retry_seconds=0.2
    )
    with pytest.raises(StoreUnavailable):
        put(open_place("s3://backups", nobody), "x", b"1")


def test_other_addresses_are_refused():
    with pytest.raises(ConfigurationError):
        open_place("ftp://somewhere", Objects())
    with pytest.raises(ConfigurationError):
        open_place("s3:///nothing", Objects())
