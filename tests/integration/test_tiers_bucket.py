"""Tiers in an S3-compatible store, driven by the commands and read over HTTP."""

from __future__ import annotations

import json
import time

import pytest
from typer.testing import CliRunner

from analect.cli.app import app
from analect.lifecycle.places.opening import open_place
from analect.model.query import PageRequest, RecordFilter
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings

DAY = 86_400_000_000
POLICY = "rules: [{name: all, hotDays: 90, warmDays: 200, coldDays: 400, then: delete}]"

pytestmark = pytest.mark.usefixtures("commands_without_logs")


@pytest.fixture
def home(tmp_path, bucket, objects, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("ANALECT_HOME", str(home))
    monkeypatch.setenv("ANALECT_KEYS__RING", str(tmp_path / "ring"))
    monkeypatch.setenv("ANALECT_TIERS__PLACE", f"{bucket}/tiers")
    monkeypatch.setenv("ANALECT_OBJECTS__ENDPOINT", objects.endpoint)
    for name, value in objects.credentials().items():
        monkeypatch.setenv(f"ANALECT_OBJECTS__{name.upper()}", value.get_secret_value())
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    monkeypatch.setenv("ANALECT_RETENTION__POLICIES", str(policy))
    monkeypatch.setenv("ANALECT_RETENTION__TERMINATION_LOG", str(tmp_path / "termination"))
    return home


def told(*words):
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_records_age_into_a_bucket(home, bucket, objects, tmp_path):
    now = time.time_ns() // 1000
    with AnalysisService.open(Settings()) as service:
        for days in (300, 120, 2):
            at = now - days * DAY
            drafts = [
                Draft(occurred_at=at + n * 1000, thread_id="t", subject=f"p{n}", input=f"{days}")
                for n in range(4)
            ]
            service.ingest(drafts)
    plan = told("retention", "plan")
    assert (plan["records"], {one["to"] for one in plan["items"]}) == (8, {"warm"})
    totals = told("retention", "plan", "--totals")
    assert (totals.keys(), totals["records"]) == ({"at", "records", "held"}, 8)
    assert told("archive")["retention"]["archived"] == 8
    assert json.loads((tmp_path / "termination").read_text())["outcome"] == "complete"
    assert told("retention", "run")["compressed"] == 4
    assert told("archive")["files_hashed"] == 2
    place = open_place(f"{bucket}/tiers", objects)
    (month,) = place.names("warm/kind=interaction")
    assert len(place.names(f"warm/kind=interaction/{month}")) == 2
    with AnalysisService.open(Settings()) as service:
        thread = service.thread("t", PageRequest(descending=False)).items
        assert [one.tier for one in thread] == ["warm"] * 4 + ["hot"] * 4
        assert [one.input for one in thread] == ["120"] * 4 + ["2"] * 4
        where = RecordFilter(tier="cold", since=0, until=now)
        assert [one.input for one in service.list(where, PageRequest()).items] == ["300"] * 4
        assert service.erase("subject", "p1").counts["filed_records"] == 2
        assert len(service.thread("t", PageRequest()).items) == 6
    warm = told("list", "--tier", "warm")["items"]
    assert {one["tier"] for one in warm} == {"warm"}
    explained = told("retention", "explain", warm[0]["id"])
    assert (explained["tier"], explained["next"]) == ("warm", "cold")
    with AnalysisService.open(Settings()) as service:
        (cold, *_) = service.list(where, PageRequest()).items
    explained = told("retention", "explain", cold.id)
    assert (explained["tier"], explained["rule"], explained["next"]) == ("cold", "all", "gone")
    (summary, *_) = told("retention", "summaries", "interactions")["items"]
    assert summary["records"] == 4
