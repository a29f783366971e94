"""Rows of several kinds become warm in one go: each once, as many as were asked for."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest

from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.tiers import copying
from analect.lifecycle.tiers.copying import Copier, Going
from analect.lifecycle.tiers.moving import Mover
from analect.model.errors import StoreUnavailable
from analect.model.ids import id_floor, month_bounds, month_of
from analect.model.query import PageRequest, RecordFilter
from analect.model.record import Draft
from analect.store import leaving as hot
from analect.store.choosing import Choice
from analect.store.leaving import Leaving
from analect.store.tier_files import REMOVING, TierFiles

AT = 1_700_000_000_123_000
MONTH = month_of(id_floor(AT))
COUNTS = {"event": 14, "message": 9, "task": 1}


@pytest.fixture
def filled(service, monkeypatch):
    drafts = [
        Draft(kind=kind, occurred_at=AT + 1000 * number, thread_id=f"{kind} {number}")
        for kind, count in COUNTS.items()
        for number in range(count)
    ]
    assert service.ingest(drafts).accepted == len(drafts)
    monkeypatch.setattr(hot, "READ_AT_ONCE", 3)
    monkeypatch.setattr(copying, "BETWEEN_ERASURES", 8)
    return service


def going(kind, limit=1000):
    leaving = Leaving([Choice()], [], 0, kind, MONTH, id_floor(month_bounds(MONTH)[1]))
    return Going(leaving, "none", indexed=True, limit=limit)


def copier_of(service, settings, step=lambda _name: None):
    engine = service.store.engine
    files, place = TierFiles(engine), FolderPlace(settings.home / "tiers")
    mover = Mover(engine, files, place, clock=service.clock, random_bytes=os.urandom, step=step)
    return Copier(engine, files, mover, clock=service.clock, step=step), mover


def shown(service, **where):
    page = service.list(RecordFilter(**where), PageRequest(100))
    return sorted(one.thread_id for one in page.items)


def test_each_once_and_no_more_than_asked_for(filled, settings, monkeypatch):
    turns = []
    one_eraser = copying.one_eraser

    @contextmanager
    def counted(engine):
        turns.append(engine)
        with one_eraser(engine):
            yield

    monkeypatch.setattr(copying, "one_eraser", counted)
    copier, mover = copier_of(filled, settings)
    every = shown(filled)
    goes = [going("event"), going("message", limit=7), going("nothing"), going("task")]
    assert copier.copy(goes) == 14 + 7 + 1
    # At most eight rows while an erasure waits.
    assert len(turns) >= 3
    assert shown(filled) == every
    files = TierFiles(filled.store.engine).in_state(REMOVING)
    assert sum(file.rows for file in files) == 22
    assert mover.remove_copied(MONTH) == 22
    assert shown(filled) == every
    assert shown(filled, tier="hot") == ["message 7", "message 8"]


def test_nothing_is_left_open_when_it_breaks_off(filled, settings, monkeypatch):
    connections = []
    read_transaction = hot.read_transaction

    @contextmanager
    def noted(engine):
        with read_transaction(engine) as connection:
            connections.append(connection)
            yield connection

    monkeypatch.setattr(hot, "read_transaction", noted)

    def broken(name):
        if name == "file written":
            raise StoreUnavailable("the disk is gone")

    copier, _ = copier_of(filled, settings, broken)
    every = shown(filled)
    with pytest.raises(StoreUnavailable, match="disk"):
        copier.copy([going(kind) for kind in COUNTS])
    assert connections
    assert all(one.closed for one in connections)
    copier, mover = copier_of(filled, settings)
    mover.settle()
    assert copier.copy([going(kind) for kind in COUNTS]) == 24
    mover.remove_copied(MONTH)
    assert shown(filled) == every
    assert shown(filled, tier="hot") == []
