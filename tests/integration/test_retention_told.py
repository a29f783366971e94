"""What retention tells of a record, of what it deleted, and to whoever started it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analect.lifecycle.retention.loading import parse_policy
from analect.model.ids import DAY
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings
from tests.integration.commands import Commands


def stored(service: AnalysisService, count: int, days: int, tag: str) -> list[str]:
    at = service.clock() - days * DAY
    drafts = [Draft(occurred_at=at + n * 1000, input=f"{n}", tags=(tag,)) for n in range(count)]
    return [one for one in service.ingest(drafts).ids if one is not None]


def test_explaining_says_whether_a_record_is_among_those_kept(service: AnalysisService) -> None:
    ids = stored(service, 5, 100, "x")
    held = stored(service, 3, 99, "case")
    rule = {"name": "all", "hotDays": 30, "keepLast": 2, "then": "delete"}
    hold = {"name": "case", "selector": {"tags": ["case"]}}
    said = {"rules": [rule], "legalHolds": [hold]}
    policies = [parse_policy(said)]
    told = [service.retention.explain(service.get(one), policies) for one in ids]
    assert [one.next for one in told] == ["gone"] * 3 + [None] * 2
    assert "among the 2 newest" in told[-1].why
    assert service.retention.plan(policies).records == 3
    assert service.retention.explain(service.get(held[0]), policies).held_by == ("case",)
    more = [parse_policy({"rules": [{**rule, "keepLast": 50}]})]
    assert service.retention.explain(service.get(ids[0]), more).moves_at is None
    dry = service.retention.explain(service.get(ids[0]), [parse_policy({**said, "dryRun": True})])
    assert (dry.rule, dry.next, "dry run" in dry.why) == ("all", None, True)


@pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
def test_every_rule_leaves_a_receipt_of_its_own(service: AnalysisService) -> None:
    stored(service, 4, 100, "red")
    stored(service, 7, 100, "blue")
    rules = [
        {"name": "red", "selector": {"tags": ["red"]}, "hotDays": 10, "warmDays": 20},
        {"name": "rest", "hotDays": 10, "warmDays": 30},
    ]
    policies = [parse_policy({"rules": [{**one, "then": "delete"} for one in rules]})]
    for _ in range(2):
        report = service.retention.run(policies, lambda _done, _total: None)
    assert report.deleted == 11
    receipts = service.retention.reports("purge")
    assert {one["rule"]: one["records"] for one in receipts} == {"red": 4, "rest": 7}
    assert all(one["tier"] == "warm" for one in receipts)


@pytest.mark.usefixtures("commands_without_logs")
def test_a_summary_that_cannot_be_left_does_not_hide_what_was_done(
    settings: Settings, tmp_path: Path
) -> None:
    with AnalysisService.open(settings) as service:
        stored(service, 2, 100, "x")
    left = tmp_path / "left"
    code, done = Commands(settings, ANALECT_RETENTION__TERMINATION_LOG=left)("archive")
    assert (code, json.loads(left.read_text())["id"]) == (0, done["id"])
    nowhere = tmp_path / "nowhere" / "log"
    code, done = Commands(settings, ANALECT_RETENTION__TERMINATION_LOG=nowhere)("archive")
    assert (code, done["outcome"]) == (4, "complete")
