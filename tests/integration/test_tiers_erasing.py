"""An erasure reaches every tier, and what shared a key with it in a file stays readable."""

from __future__ import annotations

import time

import pyarrow.parquet as pq
import pytest
import zstandard

from analect.lifecycle.retention.loading import parse_policy
from analect.model.errors import NotFound
from analect.model.query import PageRequest, RecordFilter
from analect.model.record import Draft

DAY = 86_400_000_000
POLICIES = [parse_policy({"rules": [{"name": "all", "hotDays": 90, "warmDays": 200}]})]


@pytest.fixture
def aged(service):
    """By person the ids of six records: two cold, two warm, two hot."""
    now = time.time_ns() // 1000
    ids = {}
    for person in ("anna@example.org", "bert@example.org"):
        drafts = [
            Draft(
                occurred_at=now - days * DAY + n * 1000,
                subject=person,
                session_id=f"session of {person}",
                thread_id=f"thread of {person} {n}",
                input=f"{person} asks",
            )
            for days in (300, 120, 2)
            for n in range(2)
        ]
        ids[person] = list(service.ingest(drafts).ids)
    service.feedback(ids["anna@example.org"][2], rating=2, comment="not good")
    for _ in range(2):
        service.retention.run(POLICIES, lambda _done, _total: None)
    return service, ids["anna@example.org"], ids["bert@example.org"]


def in_files(folder) -> bytes:
    warm = b"".join(
        repr(pq.ParquetFile(path).read().to_pylist()).encode() for path in folder.rglob("*.parquet")
    )
    cold = b""
    for path in folder.rglob("*.zst"):
        with path.open("rb") as packed:
            reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            cold += reader.read()
    return warm + cold


def readable(service, ids):
    return [service.get(one).payload_state for one in ids]


def cold(service):
    where = RecordFilter(tier="cold", since=0, until=time.time_ns() // 1000)
    return service.list(where, PageRequest()).items


def test_a_person_is_gone_from_every_tier(aged, settings):
    service, anna, bert = aged
    assert len(cold(service)) == 4
    token = service.get(anna[-1]).subject
    receipt = service.erase("subject", "anna@example.org")
    assert receipt.state == "final"
    assert receipt.counts["filed_records"] == 4
    assert receipt.counts["records"] == 3
    for one in anna:
        with pytest.raises(NotFound):
            service.get(one)
    assert token.encode() not in in_files(settings.home / "tiers")
    assert readable(service, bert[2:]) == ["open"] * 4
    assert [one.id for one in cold(service)] == bert[1::-1]
    assert all("asks" in one.input for one in cold(service))
    deleted = {c.record_id for c in service.changes(None, 100).items if c.operation == "delete"}
    assert set(anna) <= deleted


@pytest.mark.parametrize("place", [0, 2, 4], ids=["cold", "warm", "hot"])
def test_one_record_goes_and_what_its_key_sealed_stays_readable(aged, place):
    service, anna, bert = aged
    receipt = service.erase("record", anna[place])
    assert receipt.state == "final"
    left = [one for n, one in enumerate(anna) if n != place]
    assert readable(service, [one for one in left if one not in anna[:2]]) == ["open"] * (
        4 if place == 0 else 3
    )
    assert {one.payload_state for one in cold(service)} == {"open"}
    assert len(cold(service)) == (3 if place == 0 else 4)
    with pytest.raises(NotFound):
        service.get(anna[place])
    assert readable(service, bert[2:]) == ["open"] * 4


def test_a_thread_in_a_file_is_erased(aged):
    service, anna, _ = aged
    receipt = service.erase("thread", "thread of anna@example.org 1")
    assert receipt.state == "final"
    assert receipt.counts["filed_records"] == 2
    assert len(cold(service)) == 3
    assert service.get(anna[2]).payload_state == "open"
