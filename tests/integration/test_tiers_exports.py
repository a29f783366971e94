"""Exports reach every tier, and say who opened what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from analect.cli.app import app
from analect.lifecycle.retention.loading import parse_policy
from analect.model.errors import InvalidQuery
from analect.model.ids import DAY
from analect.model.query import RecordFilter
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.engine import read_transaction
from tests.integration.commands import Commands

pytestmark = pytest.mark.usefixtures("commands_without_logs")

POLICY = parse_policy(
    {"rules": [{"name": "all", "hotDays": 30, "warmDays": 60, "then": "archive"}]}
)
KINDS = ("interaction", "task")


@pytest.fixture
def aged(settings: Settings) -> Iterator[AnalysisService]:
    """Two people's records of three ages, one in each tier."""
    now = time.time_ns() // 1000
    with AnalysisService.open(settings) as service:
        service.ingest(
            [
                Draft(
                    kind=KINDS[n % 2],
                    occurred_at=now - days * DAY + n * 1000,
                    subject=("anna", "boris")[n // 2 % 2],
                    input=f"{days} {n}",
                )
                for days in (1, 40, 100, 140)
                for n in range(8)
            ]
        )
        for _ in range(2):
            service.retention.run([POLICY], lambda _done, _total: None)
        yield service


def accesses(service: AnalysisService) -> list[tuple[str, str, str]]:
    with read_transaction(service.store.engine) as connection:
        rows = connection.execute(text("SELECT actor, action, target FROM access_log ORDER BY seq"))
        return [tuple(row) for row in rows]


def test_a_cold_scan_reads_everything_once_in_order(aged: AnalysisService) -> None:
    whole = RecordFilter(tier="cold", since=0, until=aged.clock())
    found = list(aged.export(whole))
    assert [one.tier for one in found] == ["cold"] * 16
    assert [one.id for one in found] == sorted(one.id for one in found)
    assert {one.input for one in found} == {f"{d} {n}" for d in (100, 140) for n in range(8)}
    sealed = list(aged.export(whole, actor="auditor", sealed=True))
    assert {(one.input, one.payload_state) for one in sealed} == {(None, "sealed")}
    assert accesses(aged) == []
    with pytest.raises(InvalidQuery, match="by month"):
        list(aged.export(RecordFilter(tier="cold")))


def test_a_person_gets_what_is_in_every_tier(aged: AnalysisService) -> None:
    records, _ = aged.subject_data("anna", actor="clerk")
    found = list(records)
    assert [one.tier for one in found].count("cold") == 8
    assert len(found) == 16
    assert all(one.input for one in found)
    ((actor, action, target),) = accesses(aged)
    assert (actor, action, target[:9]) == ("clerk", "export", "<subject:")


def test_the_command_exports_a_tier_and_is_written_down(
    aged: AnalysisService, settings: Settings, tmp_path: Path
) -> None:
    variables = Commands(settings).variables

    def export(name: str, *words: str, send: str = "") -> list[dict[str, Any]]:
        path = tmp_path / name
        command = ["export", str(path), *words]
        done = CliRunner().invoke(app, command, env=variables, input=send)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in path.read_text().splitlines()]

    cold = export("cold.jsonl", "--tier", "cold", "--from", "200d", "--to", "1d", "--kind", "task")
    assert len(cold) == 8
    assert all("input" in one for one in cold)
    sealed = export("sealed.jsonl", "--tier", "warm", "--sealed")
    assert {one["payload_state"] for one in sealed} == {"sealed"}
    assert len(export("anna.jsonl", "--subject", "-", send="anna\n")) == 16
    (first, second) = accesses(aged)
    assert first[:2] == second[:2] == (getuser(), "export")
    assert first[2].startswith("tier=cold from=")
    assert first[2].endswith(" kind")
    assert second[2].startswith("<subject:")
