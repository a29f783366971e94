"""What is cold is found by its id when it is asked for, and what jobs reported is shown."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from analect.lifecycle.retention.loading import parse_policy
from analect.model.errors import InvalidQuery, NotFound
from analect.model.ids import DAY, id_floor, month_of
from analect.model.query import PageRequest
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings
from analect_ingest.server import create_app
from tests.integration.commands import Commands

pytestmark = pytest.mark.usefixtures("commands_without_logs")

POLICY = """
rules:
  - {name: tasks, selector: {kinds: [task]}, hotDays: 30, then: delete}
  - {name: rest, hotDays: 90, warmDays: 200, coldDays: 400, then: delete}
"""


def aged(service: AnalysisService) -> dict[int, str]:
    """One record of each age, by its days; those of 300 are cold, those of 120 warm."""
    now = time.time_ns() // 1000
    ids = {}
    for days in (300, 120, 2):
        sent = [Draft(occurred_at=now - days * DAY + n, input=f"{days} {n}") for n in range(3)]
        ids[days] = service.ingest(sent).ids[1]
    service.ingest([Draft(kind="task", occurred_at=now - 40 * DAY)])
    policies = [parse_policy({"rules": [{"name": "rest", "hotDays": 90, "warmDays": 200}]})]
    for _ in range(2):
        service.retention.run(policies, lambda _done, _total: None)
    return ids


def test_a_cold_record_is_shown_to_who_asks_for_it(
    service: AnalysisService, settings: Settings
) -> None:
    ids = aged(service)
    run = Commands(settings)
    client = TestClient(create_app(service, settings))
    month = month_of(ids[300])
    code, said = run("show", ids[300])
    assert (code, month in said, "--tier cold" in said) == (4, True, True), said
    code, shown = run("show", ids[300], "--tier", "cold")
    assert (code, shown["tier"], shown["input"]) == (0, "cold", "300 1")
    problem = client.get(f"/v1/records/{ids[300]}").json()
    assert (problem["status"], problem["field"], month in problem["detail"]) == (404, "id", True)
    answer = client.get(f"/v1/records/{ids[300]}?tier=cold")
    assert (answer.status_code, answer.json()["input"]) == (200, "300 1")
    for days, tier in ((120, "warm"), (2, "hot")):
        assert service.get(ids[days]) == service.get(ids[days], tier)
        for other in {"hot", "warm", "cold"} - {tier}:
            with pytest.raises(NotFound, match=f"no {other} record"):
                service.get(ids[days], other)
    assert client.get(f"/v1/records/{ids[2]}?tier=lukewarm").status_code == 400
    assert client.get(f"/v1/records/{ids[2]}?limit=1").status_code == 400
    with pytest.raises(InvalidQuery, match="tier"):
        service.get(ids[2], "lukewarm")
    absent = id_floor(service.clock())[:14] + "7000-8000-000000000000"
    with pytest.raises(NotFound, match="there is no record"):
        service.get(absent)
    code, said = run("retention", "explain", absent)
    assert (code, "there is no record" in said) == (4, True)


def test_reports_and_receipts_are_shown(
    service: AnalysisService, settings: Settings, tmp_path: Path
) -> None:
    aged(service)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    run = Commands(settings)
    code, done = run("archive", "--policy", str(policy))
    assert code == 0
    code, listed = run("retention", "reports")
    assert (code, listed["next"]) == (0, None)
    assert [one["job"] for one in listed["items"]].count("retention") == 3
    assert [one["id"] for one in listed["items"]] == sorted(
        (one["id"] for one in listed["items"]), reverse=True
    )
    paged, cursor = [], []
    while len(paged) < len(listed["items"]):
        code, page = run("retention", "reports", "--limit", "2", *cursor)
        paged += page["items"]
        cursor = ["--cursor", page["next"]]
    assert (paged, page["next"]) == (listed["items"], None)
    (receipt,) = run("retention", "reports", "--job", "purge")[1]["items"]
    code, whole = run("retention", "reports", receipt["id"])
    assert (code, {**receipt, "report": whole["report"]}) == (0, whole)
    assert (whole["report"]["rule"], whole["report"]["records"]) == ("tasks", 1)
    code, whole = run("retention", "reports", done["id"])
    assert (code, whole["report"]["retention"]["deleted"]) == (0, 1)
    (line, *_) = whole["report"]["retention"]["lines"]
    assert line["oldest"].startswith(line["month"])
    assert run("retention", "reports", "nothing")[0] == 4
    with pytest.raises(InvalidQuery, match="cursor"):
        service.retention.report_page("purge", PageRequest(cursor="x"))
