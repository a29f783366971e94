"""Backups of the format before are read, and gone on with; rows are hashed as the format has it."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from analect.lifecycle.backup import write
from analect.lifecycle.backup.check import check
from analect.lifecycle.backup.format import BLAKE2B, SHA256, RowHash, Tally
from analect.lifecycle.backup.manifest import FORMAT, HASHED_BY
from analect.lifecycle.backup.shipper import Shipper
from analect.model.query import PageRequest, RecordFilter
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.changes import Changes
from tests.integration.commands import Commands
from tests.integration.test_backup_increments import change, same

OLDER = Path(__file__).parent / "older" / "backup_format_2.zip"
"""A full backup, an increment on it, and the ring: written by the last release of format 2."""
KEY = bytes(range(32))


@pytest.mark.usefixtures("commands_without_logs")
def test_a_backup_of_format_2_is_restored(store_url, tmp_path):
    with zipfile.ZipFile(OLDER) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "ring.kek").chmod(0o600)
    settings = Settings(
        home=tmp_path / "home", database_url=store_url, keys={"ring": tmp_path / "ring"}
    )
    run, dest = Commands(settings), str(tmp_path / "backups")
    code, restored = run("restore", dest)
    assert (code, restored["rows"]["records"]) == (0, 4)
    with AnalysisService.open(settings) as service:
        found = service.list(RecordFilter(), PageRequest(10)).items
        assert sorted(str(one.input) for one in found if one.kind != "evaluation") == [
            f"question {i} of many" for i in range(3)
        ]
        assert service.get_document("story", "s1").body == {"title": "twice"}
    code, checked = run("backup", "check", dest)
    assert (code, [one["whole"] for one in checked["items"]]) == (0, [True, True])


def test_an_increment_has_the_format_of_its_chain(backed, settings, elsewhere, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(write, "FORMAT", 2)
        assert backed.write().format == 2
    change(settings, 1)
    assert backed.job().incremental().format == 2
    backed.restore(elsewhere)
    same(backed, elsewhere)
    assert all(one.whole for one in check(backed.catalog, None))
    assert backed.write().format == FORMAT


def test_a_log_has_the_format_of_its_chain(backed, settings, elsewhere, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(write, "FORMAT", 2)
        backed.write()
    change(settings, 1)
    assert Shipper(backed.job()).ship()
    head = Changes(backed.engine).head(backed.catalog.place.address)
    assert head is not None
    assert backed.catalog.manifest(head.last).format == 2
    backed.restore(elsewhere, head.last)


@pytest.mark.parametrize("name", HASHED_BY.values())
def test_rows_are_hashed_in_any_order_and_taken_away_again(name):
    rows = [b"", b"one row", b"another" * 400]
    tally, other = (Tally(RowHash(name, KEY)) for _ in range(2))
    tally.add(rows)
    other.add([*reversed(rows), b"too many"])
    assert tally.sum != other.sum
    other.take(b"too many")
    assert tally.sum == other.sum
    elsewhere = Tally(RowHash(name, KEY[::-1]))
    elsewhere.add(rows)
    assert elsewhere.sum != tally.sum


def test_the_hashes_are_those_that_stand_in_manifests():
    digests = {
        BLAKE2B: hashlib.blake2b(b"row", digest_size=16, key=KEY).digest(),
        SHA256: hashlib.sha256(KEY + bytes(32) + b"row").digest()[16:],
    }
    for name, digest in digests.items():
        tally = Tally(RowHash(name, KEY))
        tally.add([b"row"])
        assert tally.sum == (1, digest.hex())
