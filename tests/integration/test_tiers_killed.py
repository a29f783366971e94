"""Whatever the moment at which a retention run is killed: nothing is lost, doubled or left half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import text

from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.retention.policy import Selector
from analect.lifecycle.retention.rules import choice_of
from analect.lifecycle.retention.run import Retention
from analect.model.ids import to_datetime
from analect.model.query import PageRequest, RecordFilter
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.store.engine import read_transaction
from analect.store.holds import Hold, Holds

DAY = 86_400_000_000
POLICY = {
    "rules": [
        {"name": "tasks", "selector": {"kinds": ["task"]}, "hotDays": 30, "then": "delete"},
        {"name": "rest", "hotDays": 90, "warmDays": 200, "coldDays": 400, "then": "delete"},
    ]
}
POINTS = {
    "rows read",
    "file written",
    "file verified",
    "manifest written",
    "published",
    "batch removed",
    "rows removed",
    "file live",
    "object deleted",
    "batch purged",
}
VICTIM = Path(__file__).with_name("tiers_victim.py")


def now() -> int:
    return time.time_ns() // 1000


def month_of(days):
    return to_datetime(now() - days * DAY).month


def fill(service, ages, kind="interaction", count=12):
    ids = {}
    for days in ages:
        at = now() - days * DAY
        drafts = [
            Draft(kind=kind, occurred_at=at + n * 1000, thread_id=f"t{days}", input=f"{days} {n}")
            for n in range(count)
        ]
        ids[days] = list(service.ingest(drafts).ids)
    return ids


def shown(service) -> Counter:
    """How often each record is shown, over the three tiers."""
    every: Counter = Counter()
    for where in (RecordFilter(), RecordFilter(tier="cold", since=0, until=now())):
        cursor = None
        while True:
            page = service.list(where, PageRequest(100, cursor))
            every.update(one.id for one in page.items)
            assert all(one.payload_state == "open" for one in page.items)
            cursor = page.next
            if cursor is None:
                break
    return every


def test_killed_at_every_point(service: AnalysisService, settings):
    ids = fill(service, (500, 300, 120, 100, 5))
    # One month of tasks alone, which Postgres drops whole, and one with others that stay.
    tasks = [one for ids_of in fill(service, (40, 100), kind="task").values() for one in ids_of]
    keep = {one for days in (300, 120, 100, 5) for one in ids[days]}
    folder = settings.home / "tiers"
    url = settings.database_url.get_secret_value()
    victim = subprocess.Popen(
        [sys.executable, str(VICTIM), url, str(folder), json.dumps(POLICY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    points = []
    with victim:
        for line in victim.stdout:
            points.append(json.loads(line))
            found = shown(service)
            assert keep <= found.keys(), points
            assert set(found.values()) == {1}, points
            victim.stdin.write("\n")
            victim.stdin.flush()
    assert victim.returncode == 0
    whole = {"month counted", "month compared", "month detached", "month dropped"}
    expected = POINTS | (whole if "postgres" in url else set())
    assert set(points) - {None} == expected
    found = shown(service)
    assert found.keys() == keep
    with read_transaction(service.store.engine) as connection:
        hot = connection.execute(text("SELECT count(*) FROM records")).scalar_one()
        states = connection.execute(text("SELECT DISTINCT state FROM tier_files")).scalars().all()
        names = connection.execute(text("SELECT name FROM tier_files")).scalars().all()
    assert (hot, states) == (12, ["live"])
    files = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
    assert {one for one in files if not one.rsplit("/", 1)[-1].startswith("_")} == set(names)
    assert len(files) == 2 * len(names)
    deleted = [c.record_id for c in service.changes(None, 1000).items if c.operation == "delete"]
    assert sorted(deleted) == sorted([*tasks, *ids[500]])


@pytest.mark.parametrize("tier", ["hot", "warm"])
def test_a_hold_laid_while_a_purge_runs_wins(service, settings, tier):
    rule = {"name": "all", "hotDays": 30, "then": "delete"}
    if tier == "warm":
        rule["warmDays"] = 60
    policies = [parse_policy({"rules": [rule]})]
    engine = service.store.engine
    first = 120 if month_of(120) == month_of(119) else 123  # both of one month
    fill(service, (first,), count=20)
    fill(service, (first - 1,), count=700)
    if tier == "warm":
        service.retention.run(policies, lambda _done, _total: None)
    laid = []

    def step(name: str) -> None:
        """After the first rows went, or once the file is written again without the others."""
        if name in {"batch purged", "file verified"} and not laid:
            laid.append(name)
            selector = choice_of(Selector(threads=(f"t{first - 1}",)), 0)
            Holds(engine).lay(Hold("late", selector, now()))

    if tier == "warm":
        # Something of the file stays, so it is written again before the purge commits.
        kept = choice_of(Selector(threads=(f"t{first}",)), 0)
        Holds(engine).lay(Hold("early", kept, now()))
    else:
        # Something of the month stays, so that it goes batch by batch.
        kept = choice_of(Selector(tags=("kept",)), 0)
        service.ingest([Draft(occurred_at=now() - first * DAY, tags=("kept",))])
        Holds(engine).lay(Hold("early", kept, now()))
    place = FolderPlace(settings.home / "tiers")
    Retention(engine, place, clock=now, random_bytes=os.urandom, step=step).run(policies)
    assert laid
    left = shown(service)
    if tier == "hot":
        # The first batch of 500, the oldest, was deleted before the hold was laid.
        assert len(left) == 721 - 500
    else:
        assert len(left) == 720
