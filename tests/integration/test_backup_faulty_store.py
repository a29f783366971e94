"""An object store that drops, delays, repeats, refuses and tears: a backup is whole or none."""

from __future__ import annotations

import os

import pytest

from analect.lifecycle.backup.check import check
from analect.lifecycle.backup.keys import BackupKeys
from analect.lifecycle.backup.manifest import Catalog
from analect.lifecycle.places.bucket import PART
from analect.lifecycle.places.opening import open_place
from analect.model.errors import StoreUnavailable
from analect.store.key_rows import SqlKeyRows
from tests.integration.faulty_proxy import FAULTS, faulty
from tests.integration.test_backup_increments import change, same


@pytest.fixture
def store_url(sqlite_url):
    """What goes wrong goes wrong behind the database."""
    return sqlite_url


def reached(objects, server, **more):
    address = f"http://127.0.0.1:{server.server_address[1]}"
    return objects.model_copy(update={"endpoint": address, "timeout_seconds": 5.0, **more})


def put_into(backed, place):
    store = SqlKeyRows(backed.engine).store_id()
    backed.catalog = Catalog(place, store, BackupKeys(backed.keys.pseudonym_key, os.urandom))


def test_whatever_goes_wrong_a_backup_is_whole(backed, settings, objects, bucket, tmp_path):
    with faulty(objects.endpoint) as server:
        put_into(backed, open_place(f"{bucket}/b", reached(objects, server)))
        backed.write()
        change(settings, 1)
        backed.job().incremental()
        assert all(one.whole for one in check(backed.catalog, None))
        url = f"sqlite:///{tmp_path}/elsewhere/analect.db"
        backed.restore(url)
        same(backed, url)
        assert set(server.seen) == set(FAULTS)


def test_large_objects_survive_the_same(objects, bucket):
    piece = os.urandom(1 << 20)
    with faulty(objects.endpoint, every=2) as server:
        place = open_place(f"{bucket}/b", reached(objects, server))
        with place.create("large") as stream:
            for _ in range(3 * PART // len(piece) + 1):
                stream.write(piece)
        assert len(server.seen) >= 3
    again = open_place(f"{bucket}/b", objects)
    with again.open("large") as stream:
        for _ in range(3 * PART // len(piece) + 1):
            assert stream.read(len(piece)) == piece
        assert stream.read(1) == b""


@pytest.mark.parametrize("fault", ["drop", "503"])
def test_a_store_that_is_down_gets_no_half_backup(backed, objects, bucket, fault):
    with faulty(objects.endpoint, [fault], every=1) as server:
        away = reached(objects, server, retry_seconds=0.5)
        put_into(backed, open_place(f"{bucket}/b", away))
        with pytest.raises(StoreUnavailable):
            backed.write()
    put_into(backed, open_place(f"{bucket}/b", objects))
    assert list(backed.catalog.listed()) == []
    backed.write()
    assert all(one.whole for one in check(backed.catalog, None))
