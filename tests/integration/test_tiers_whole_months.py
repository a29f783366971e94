"""Postgres lets go of a month of which every record is deleted in one piece, or not at all."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.retention.policy import Selector
from analect.lifecycle.retention.rules import choice_of
from analect.lifecycle.retention.run import Retention
from analect.model.ids import to_micros
from analect.model.query import Annotation, PageRequest, RecordFilter
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.store.engine import read_transaction
from analect.store.holds import Hold, Holds

MONTH = to_micros(datetime(2024, 3, 5, tzinfo=UTC))
POLICIES = [parse_policy({"rules": [{"name": "all", "hotDays": 30, "then": "delete"}]})]
NAMES = [f"{table}_2024_03" for table in ("record_tags", "records")]


class Broken(Exception):
    pass


@pytest.fixture
def stored(service: AnalysisService):
    if service.store.engine.dialect.name != "postgresql":
        pytest.skip("only Postgres keeps months apart")
    ids = service.ingest([draft(n) for n in range(30)]).ids
    return service, list(ids)


def draft(number, **more):
    fields = {
        "kind": ("task", "interaction")[number % 2],
        "thread_id": f"t{number % 3}",
        "tags": ("old", f"n{number}"),
        "input": f"question {number}",
        "duration_ms": 5.0,
    }
    return Draft(occurred_at=MONTH + number * 1000, **{**fields, **more})


def retention(service, settings, step=lambda _name: None):
    return Retention(
        service.store.engine,
        FolderPlace(settings.home / "tiers"),
        clock=lambda: time.time_ns() // 1000,
        random_bytes=os.urandom,
        processors=("one", "two"),
        step=step,
    )


def at(point, act):
    """A step that does something the first time it is reached."""
    done = []

    def step(name):
        if name == point and not done:
            done.append(name)
            act()

    return step


def broken():
    raise Broken


def shown(service):
    return sorted(one.id for one in service.list(RecordFilter(), PageRequest(1000)).items)


def asked(service, question):
    with read_transaction(service.store.engine) as connection:
        return connection.execute(text(question)).scalars().all()


def tables(service):
    return asked(
        service, "SELECT relname FROM pg_class WHERE relname LIKE 'record%2024_03' ORDER BY 1"
    )


def made_ahead(service):
    """Tables of what the feed was to say."""
    return asked(service, "SELECT relname FROM pg_class WHERE relname LIKE 'leaving%'")


def counted(service):
    found = service.retention.summaries("interactions", "2024-03", "2024-03")
    return sum(one["records"] for one in found)


def test_everything_of_the_month_goes_with_it(stored, settings):
    service, ids = stored
    kept = service.ingest([Draft(input="of now")]).ids
    concluded = [Annotation(one, "test", 1, "language", value="en") for one in (*ids, *kept)]
    service._parts.conclusions.keep(concluded)
    points = []
    report = retention(service, settings, points.append).run(POLICIES)
    assert (report.deleted, shown(service), tables(service)) == (30, list(kept), [])
    assert made_ahead(service) == []
    detached = ["month detached", "month detached"]
    assert points == ["month counted", "month compared", *detached, "month dropped"]
    deleted = [c.record_id for c in service.changes(None, 1000).items if c.operation == "delete"]
    assert deleted == sorted(ids)
    left = "SELECT DISTINCT CAST(record_id AS text) FROM annotations WHERE processor = 'test'"
    assert asked(service, left) == list(kept)
    waiting = "SELECT processor FROM outbox WHERE operation = 'delete' ORDER BY 1"
    assert asked(service, waiting) == ["one", "two"]
    receipts = service.retention.reports("purge")
    assert sorted((one["kind"], one["records"]) for one in receipts) == [
        ("interaction", 15),
        ("task", 15),
    ]
    assert counted(service) == 30
    assert service.ingest([draft(3, input="late")]).accepted == 1
    assert len(shown(service)) == 2


@pytest.mark.parametrize("how", ["the next run", "a late record"])
def test_a_month_that_was_left_detached_comes_back(stored, settings, how):
    service, ids = stored
    with pytest.raises(Broken):
        retention(service, settings, at("month detached", broken)).run(POLICIES)
    if how == "the next run":
        assert made_ahead(service) == ["leaving_records_2024_03"]
        retention(service, settings).run([])
        assert made_ahead(service) == []
    else:
        ids += service.ingest([draft(99)]).ids
    assert shown(service) == sorted(ids)
    assert tables(service)[:2] == NAMES
    assert retention(service, settings).run(POLICIES).deleted == len(ids)
    assert shown(service) == []


@pytest.mark.parametrize("point", ["month counted", "month compared", "month detached"])
def test_a_hold_laid_meanwhile_wins(stored, settings, point):
    service, ids = stored
    selector = choice_of(Selector(threads=("t0",)), 0)

    def lay():
        Holds(service.store.engine).lay(Hold("late", selector, 0))

    report = retention(service, settings, at(point, lay)).run(POLICIES)
    held = [one for number, one in enumerate(ids) if number % 3 == 0]
    assert (report.deleted, shown(service)) == (20, sorted(held))
    assert made_ahead(service) == []
    deleted = [c.record_id for c in service.changes(None, 1000).items if c.operation == "delete"]
    assert sorted(deleted) == sorted(set(ids) - set(held))
    assert counted(service) == 30


def test_a_record_that_comes_late_puts_the_month_back(stored, settings):
    service, ids = stored
    late, points = [], []

    def send():
        late.extend(service.ingest([draft(99, thread_id="late")]).ids)

    send_then = at("month detached", send)

    def step(name):
        points.append(name)
        send_then(name)

    retention(service, settings, step).run(POLICIES)
    assert points[-1] == "batch purged"  # it went neither whole nor unseen
    deleted = [c.record_id for c in service.changes(None, 1000).items if c.operation == "delete"]
    assert sorted([*deleted, *shown(service)]) == sorted([*ids, *late])
    assert len(set(deleted)) == len(deleted) >= 30


def test_a_month_with_something_that_stays_is_not_touched(stored, settings):
    service, _ = stored
    service.ingest([draft(99, kind="incident")])
    rule = {"name": "x", "selector": {"kinds": ["task", "interaction"]}, "hotDays": 30}
    points = []
    policies = [parse_policy({"rules": [{**rule, "then": "delete"}]})]
    assert retention(service, settings, points.append).run(policies).deleted == 30
    assert points == ["batch purged", "batch purged"]
    assert len(shown(service)) == 1
