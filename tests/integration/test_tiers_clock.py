"""A clock that jumps, back or ahead, costs no record."""

from __future__ import annotations

from pathlib import Path

from analect.lifecycle.retention.loading import parse_policy
from analect.model.ids import DAY
from analect.model.query import PageRequest, RecordFilter
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings

START = 1_709_208_000_000_000
"""Noon of a 29th of February, UTC."""
POLICY = {
    "timeZone": "Europe/Berlin",
    "rules": [{"name": "all", "hotDays": 30, "warmDays": 365, "coldDays": 730, "then": "delete"}],
}


def test_retention_under_a_clock_that_goes_back(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path / "home",
        keys={"ring": tmp_path / "ring"},
        index={"text": False, "vectors": False, "graph": False},
    )
    now = START
    policies = [parse_policy(POLICY)]
    with AnalysisService.open(settings, clock=lambda: now) as service:
        drafts = [
            Draft(occurred_at=START - days * DAY, input=f"of {days} days ago")
            for days in (0, 29, 30, 31, 366)
        ]
        ids = [one for one in service.ingest(drafts).ids if one is not None]

        def run(days: int) -> tuple[int, int, int]:
            nonlocal now
            now = START + days * DAY
            plan = service.retention.plan(policies)
            report = service.retention.run(policies, lambda _done, _total: None)
            assert plan.records == report.archived + report.compressed + report.deleted
            return report.archived, report.compressed, report.deleted

        def tiers() -> list[str]:
            found = [one.tier for one in service.list(RecordFilter(), PageRequest()).items]
            where = RecordFilter(tier="cold", since=0, until=now)
            return found + [one.tier for one in service.list(where, PageRequest()).items]

        assert run(0) == (2, 0, 0)
        assert tiers() == ["hot", "hot", "hot", "warm", "warm"]
        assert run(-200) == (0, 0, 0)  # back before most of it happened
        assert run(-1) == (0, 0, 0)
        assert run(0) == (0, 1, 0)  # what was overdue for two tiers
        assert run(1) == (1, 0, 0)
        assert run(0) == (0, 0, 0)
        # Far ahead by mistake, and back: what moved has moved, and all of it is there.
        assert run(31) == (2, 0, 0)
        assert run(0) == (0, 0, 0)
        assert sorted(tiers()) == ["cold", "warm", "warm", "warm", "warm"]
        assert {service.get(one).id for one in ids[:4]} == set(ids[:4])
