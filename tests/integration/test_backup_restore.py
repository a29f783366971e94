"""Backups of both databases: whole, proven, refused when damaged, and obeying erasures."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from analect.lifecycle.backup.read import LinkReader
from analect.lifecycle.backup.rings import mirror
from analect.lifecycle.places.opening import address_of, open_ring
from analect.model.errors import Conflict, Corrupt, KeyUnavailable, NotFound, StoreUnavailable
from analect.privacy.keyring import FolderKeyRing
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.backup_places import BackupPlaces
from analect.store.engine import open_engine, write_transaction
from tests.integration.backing_up import drafts, everything
from tests.integration.commands import Commands


def test_a_store_comes_back_whole_on_either_database(backed, elsewhere, settings):
    backed.write()
    restored = backed.restore(elsewhere)
    assert restored.dropped == {}
    engine = open_engine(elsewhere)
    assert everything(engine) == everything(backed.engine)
    engine.dispose()
    there = settings.model_copy(
        update={"database_url": type(settings.database_url)(elsewhere), "home": backed.folder / "h"}
    )
    with AnalysisService.open(there) as service:
        assert service.get_document("story", "s1").body == {"title": "once"}
        done = service.ingest(drafts(3, subject="anna"))
        assert len(done.ids) == 3
        assert service.get(done.ids[0]).input == "question 0 of many"


def test_a_tag_that_a_record_has_twice_is_one(backed, elsewhere):
    with write_transaction(backed.engine) as connection:
        connection.exec_driver_sql("""UPDATE records SET tags = '["t", "u", "t"]'""")
        connection.exec_driver_sql("INSERT INTO record_tags SELECT 'u', id FROM records")
    backed.write()
    backed.restore(elsewhere)
    engine = open_engine(elsewhere)
    rows = everything(engine)["record_tags"]
    engine.dispose()
    assert sorted({tag for tag, _ in rows}) == ["t", "u"]
    assert len(rows) == len(set(rows)) == 24


def test_only_a_drill_makes_a_backup_verified(backed):
    manifest = backed.write()
    assert [one.state for one in backed.catalog.listed()] == ["COMPLETED"]
    drill = backed.drill()
    assert (drill.backup, drill.opened, drill.dropped) == (manifest.id, 12, 0)
    assert drill.found
    assert drill.recovery > 0
    assert drill.age >= 0
    assert [one.state for one in backed.catalog.listed()] == ["VERIFIED"]
    assert [one.name for one in backed.folder.parent.glob("analect-drill-*")] == []


def test_what_was_erased_since_stays_erased(backed, elsewhere, settings):
    backed.write()
    with AnalysisService.open(settings) as service:
        assert service.erase("subject", "anna").state == "final"
    assert backed.drill().dropped > 0
    restored = backed.restore(elsewhere)
    assert restored.dropped["records"] == 5
    assert restored.dropped["data_keys"] == 1
    engine = open_engine(elsewhere)
    rows = everything(engine)
    engine.dispose()
    assert len(rows["records"]) == 7
    assert len(rows["documents"]) == 1


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [flipped, lambda d: d[:-1], lambda d: d[: len(d) // 2], lambda _: b""]
)
@pytest.mark.parametrize("name", ["records", "data_keys", "manifest"])
def test_damage_is_refused(backed, elsewhere, name, damage):
    backed.write()
    path = backed.object(name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Corrupt, match=name):
        backed.restore(elsewhere)
    with pytest.raises(Corrupt):
        backed.drill()


def test_objects_in_each_others_place_are_refused(backed, elsewhere):
    backed.write()
    one, other = backed.object("documents"), backed.object("document_versions")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(Corrupt, match="document"):
        backed.restore(elsewhere)


def test_a_backup_under_another_name_is_refused(backed, elsewhere):
    old = backed.write().id
    new = old[:-1] + ("0" if old[-1] != "0" else "1")
    folder = backed.folder / backed.catalog.store
    (folder / old).rename(folder / new)
    assert [one.state for one in backed.catalog.listed()] == ["BROKEN"]
    with pytest.raises(Corrupt, match="manifest"):
        backed.restore(elsewhere)


def test_an_object_of_another_backup_is_refused(backed, elsewhere):
    first = backed.write().id
    backed.write()
    old = backed.folder / backed.catalog.path(first, "records")
    backed.object("records").write_bytes(old.read_bytes())
    with pytest.raises(Corrupt, match="records"):
        backed.restore(elsewhere)


def test_a_missing_object_is_named(backed, elsewhere):
    backed.write()
    backed.object("documents").unlink()
    with pytest.raises(Corrupt, match="documents"):
        backed.restore(elsewhere)


def test_nothing_is_restored_over_a_store(backed):
    backed.write()
    before = everything(backed.engine)
    with pytest.raises(Conflict, match="empty"):
        backed.restore(backed.settings.database_url.get_secret_value())
    assert everything(backed.engine) == before


def test_a_backup_that_did_not_end_is_none(backed, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("analect.lifecycle.places.folder.os.fsync", full)
    with pytest.raises(StoreUnavailable) as caught:
        backed.write()
    assert caught.value.disk_full
    assert list(backed.catalog.listed()) == []
    assert [path for path in backed.folder.rglob("*") if path.is_file()] == []
    with pytest.raises(NotFound):
        backed.drill()


def test_another_stores_keys_do_not_open_it(backed):
    backed.write()
    foreign = backed.catalog_with(b"x" * 32)
    newest = backed.catalog.newest()
    with pytest.raises(Corrupt, match="another store"):
        foreign.manifest(newest)
    manifest = backed.catalog.manifest(newest)
    with pytest.raises(KeyUnavailable):
        LinkReader(foreign, manifest)


def test_a_backup_beside_a_writer_is_of_one_moment(backed, settings, elsewhere):
    stop = threading.Event()
    written = threading.Event()

    def write():
        with AnalysisService.open(settings) as service:
            while not stop.is_set():
                service.ingest(drafts(10, subject="carla", thread_id="busy"))
                written.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert written.wait(20)
    backed.write()
    stop.set()
    writer.join(20)
    backed.restore(elsewhere)
    engine = open_engine(elsewhere)
    rows = everything(engine)
    engine.dispose()
    ids = {row[0] for row in rows["records"]}
    assert len(rows["records"]) % 10 == 2
    assert {row[1] for row in rows["record_tags"]} == ids
    assert sum(len(row[3]) // 16 for row in rows["commits"]) == len(ids)


def test_the_copy_of_the_ring_forgets_what_the_ring_forgets(backed, settings):
    ring = FolderKeyRing(settings.ring)
    copy = FolderKeyRing(backed.folder / "ring")
    mirror(ring, copy)
    assert {name: copy.read(name) for name in copy.names()} == {
        name: ring.read(name) for name in ring.names()
    }
    with AnalysisService.open(settings) as service:
        service.erase("subject", "anna")
    mirror(ring, copy)
    assert copy.names() == ring.names()
    assert Path(backed.folder / "ring").is_dir()


@pytest.fixture(params=["folder", "bucket"])
def dest(request, tmp_path, monkeypatch):
    """Where the commands put backups."""
    if request.param == "folder":
        return str(tmp_path / "dest")
    objects = request.getfixturevalue("objects")
    monkeypatch.setenv("ANALECT_OBJECTS__ENDPOINT", objects.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return request.getfixturevalue("bucket") + "/backups"


@pytest.mark.usefixtures("backed", "commands_without_logs")
def test_the_commands_back_up_prove_and_restore(settings, tmp_path, dest):
    run = Commands(settings)
    code, said = run("backup", "create", dest)
    assert (code, "export-recovery" in said) == (4, True)
    code, made = run("backup", "create", dest, "--i-have-the-recovery-key")
    assert (code, made["state"]) == (0, "COMPLETED")
    assert run("backup", "check", dest)[0] == 0
    code, drilled = run("drill", dest)
    assert (code, drilled["opened"]) == (0, 12)
    assert run("backup", "list", dest)[1]["items"][0]["state"] == "VERIFIED"
    code, planned = run("restore", dest, "--dry-run")
    assert (code, planned["rows"]["records"]) == (0, 12)
    assert run("restore", dest)[0] == 4

    without = Commands(Settings(home=tmp_path / "bare", keys={"ring": tmp_path / "none"}))
    code, said = without("restore", dest)
    assert (code, "ANALECT_KEYS__RING" in said, str(tmp_path / "none") in said) == (4, True, True)
    assert run("restore", dest, "--data", str(tmp_path / "data"))[0] == 2

    run = Commands(Settings(home=tmp_path / "new", keys=settings.keys))
    code, restored = run("restore", dest)
    assert (code, restored["dropped"]) == (0, {})
    code, found = run("search", "question")
    assert (code, len(found["items"]) > 0) == (0, True)


def test_an_erasure_reaches_the_copy_of_the_ring_beside_the_backups(settings, tmp_path):
    ring, copy = FolderKeyRing(settings.ring), FolderKeyRing(tmp_path / "backups" / "ring")
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(3, subject="one") + drafts(3, subject="two"))
        BackupPlaces(service._parts.store.engine).add(copy.place)
        mirror(ring, copy)
        before = {name: copy.read(name) for name in copy.names()}
        assert service.erase("subject", "one").state == "final"
        assert {name: copy.read(name) for name in copy.names()} == {
            name: ring.read(name) for name in ring.names()
        }
        assert set(before) - set(copy.names())  # the old generation is gone there too


@pytest.mark.usefixtures("backed", "commands_without_logs")
def test_a_change_of_the_key_reaches_the_copy_of_the_ring_beside_the_backups(settings, tmp_path):
    """Or the old recovery key would be the only one that opens it."""
    run, dest = Commands(settings), tmp_path / "dest"
    assert run("backup", "create", str(dest), "--i-have-the-recovery-key")[0] == 0
    (folder,) = dest.glob("*/ring")
    ring, copy = FolderKeyRing(settings.ring), FolderKeyRing(folder)
    assert run("keys", "rotate")[0] == 0
    dest.rename(tmp_path / "not mounted")
    code, said = run("keys", "rotate", "--finish")
    assert (code, "backup forget" in said) == (3, True)
    assert run("keys", "status")[1]["old_keys"] == 1
    (tmp_path / "not mounted").rename(dest)
    assert run("keys", "rotate", "--finish")[0] == 0
    assert run("keys", "status")[1]["old_keys"] == 0
    assert {name: copy.read(name) for name in copy.names()} == {
        name: ring.read(name) for name in ring.names()
    }
    assert run("drill", str(dest))[0] == 0


def test_an_erasure_is_pending_while_a_backup_cannot_be_reached(settings, tmp_path):
    gone = str(tmp_path / "not mounted")
    with AnalysisService.open(settings) as service:
        places = BackupPlaces(service._parts.store.engine)
        places.add(gone)
        service.ingest(drafts(2, subject="one"))
        assert service.erase("subject", "one").state == "pending"
        places.remove(gone)
        assert [receipt.state for receipt in service._parts.eraser.settle()] == ["final"]


def test_an_erasure_reaches_the_copy_of_the_ring_in_a_bucket(settings, bucket, objects):
    settings = settings.model_copy(update={"objects": objects})
    copy = open_ring(address_of(bucket, "ring"), objects)
    with AnalysisService.open(settings) as service:
        service.ingest(drafts(3, subject="one") + drafts(3, subject="two"))
        BackupPlaces(service._parts.store.engine).add(copy.place)
        before = FolderKeyRing(settings.ring).names()
        assert service.erase("subject", "one").state == "final"
    assert copy.names() == FolderKeyRing(settings.ring).names()
    assert set(before) - set(copy.names())


@pytest.mark.usefixtures("commands_without_logs")
def test_a_store_in_which_nothing_was_ever_stored_is_backed_up(settings, tmp_path):
    run, dest = Commands(settings), str(tmp_path / "dest")
    assert run("migrate")[0] == 0
    code, said = run("backup", "create", dest)
    assert (code, "export-recovery" in said) == (4, True)
    assert run("keys", "export-recovery", str(tmp_path / "recovery.key"))[0] == 0
    code, made = run("backup", "create", dest, "--i-have-the-recovery-key")
    assert (code, made["state"]) == (0, "COMPLETED")
    code, drilled = run("drill", dest)
    assert (code, drilled["opened"], drilled["found"]) == (0, 0, None)
    run = Commands(Settings(home=tmp_path / "new", keys=settings.keys))
    code, done = run("restore", dest)
    assert (code, done["rows"]["records"]) == (0, 0)
