"""Figures by group are the same whatever tier the records are in."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from analect.cli.app import app
from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.tiers.copying import Copier, Going
from analect.lifecycle.tiers.moving import Mover
from analect.model.errors import InvalidQuery
from analect.model.flat import format_time
from analect.model.ids import DAY, id_floor
from analect.model.query import NumberRange, RecordFilter
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.settings import Settings
from analect.store.choosing import Choice
from analect.store.leaving import Leaving
from analect.store.tier_files import TierFiles
from tests.integration.commands import Commands

pytestmark = pytest.mark.usefixtures("commands_without_logs")

BY = ("kind", "service", "success", "day", "dim.language", "rating")
POLICY = parse_policy(
    {"rules": [{"name": "all", "hotDays": 90, "warmDays": 900, "then": "delete"}]}
)
ASKED = (
    RecordFilter(),
    RecordFilter(equals={"service": "svc-1"}, success=True),
    RecordFilter(tags=("red",), dimensions={"language": "de"}),
    RecordFilter(numbers={"duration_ms": NumberRange(minimum=10)}),
    RecordFilter(numbers={"rating": NumberRange(minimum=5)}),
    RecordFilter(equals={"kind": "task"}),
)


def drafts() -> list[Draft]:
    now = time.time_ns() // 1000
    return [
        Draft(
            kind=("interaction", "task")[n % 2],
            occurred_at=now - (n % 5) * 40 * DAY - n * 60_000_000,
            service=f"svc-{n % 3}" if n % 4 else None,
            success=None if n % 6 == 0 else bool(n % 7),
            duration_ms=float(n) if n % 5 else None,
            input_tokens=n,
            output_tokens=None if n % 2 else 2 * n,
            cost=n / 8,
            rating=None if n % 3 else n % 5 + 1,
            tags=["red"] if n % 2 else ["blue"],
            dimensions={"language": ("de", "en")[n % 3 == 0]} if n % 8 else {},
            input=f"question {n}",
        )
        for n in range(120)
    ]


@pytest.fixture
def service(settings: Settings) -> Iterator[AnalysisService]:
    plain = settings.model_copy(
        update={"index": settings.index.model_copy(update={"text": False, "vectors": False})}
    )
    with AnalysisService.open(plain) as service:
        ids = [one for one in service.ingest(drafts()).ids if one is not None]
        service.feedback(ids[4], rating=5)
        yield service


def counted(service: AnalysisService, where: RecordFilter) -> dict[tuple[object, ...], list[float]]:
    """The same, the long way."""
    found: dict[tuple[object, ...], list[float]] = {}
    for one in service.export(where):
        day, language = format_time(one.occurred_at)[:10], one.dimensions.get("language")
        key = (one.kind, one.service, one.success, day, language, one.rating)
        sums = found.setdefault(key, [0, 0, 0, 0])
        sums[0] += 1
        sums[1] += one.success is False
        sums[2] += one.input_tokens or 0
        sums[3] += one.cost or 0
    return found


def told(service: AnalysisService, where: RecordFilter) -> dict[tuple[object, ...], list[float]]:
    names = ("records", "failures", "input_tokens", "cost")
    return {
        tuple(item["group"][name] for name in BY): [item[name] for name in names]
        for item in service.aggregate(where, BY)
    }


def test_groups_are_the_same_hot_being_moved_and_warm(
    service: AnalysisService, settings: Settings
) -> None:
    hot = [service.aggregate(where, BY) for where in ASKED]
    assert [told(service, where) for where in ASKED] == [counted(service, w) for w in ASKED]
    (whole,) = service.aggregate(RecordFilter(equals={"kind": "task"}))
    assert (whole["group"], whole["records"], whole["timed"]) == ({}, 60, 48)
    assert (whole["duration_min"], whole["duration_max"]) == (1.0, 119.0)

    _copy_oldest(service, settings)
    assert [service.aggregate(where, BY) for where in ASKED] == hot
    service.retention.run([POLICY], lambda _done, _total: None)
    assert [service.aggregate(where, BY) for where in ASKED] == hot
    (warm,) = service.aggregate(RecordFilter(tier="warm"))
    (left,) = service.aggregate(RecordFilter(tier="hot"))
    assert warm["records"] + left["records"] == 121
    assert warm["records"] == 48


def _copy_oldest(service: AnalysisService, settings: Settings) -> None:
    """What a run that breaks off leaves: rows that are hot and in a file."""
    engine = service.store.engine
    place = FolderPlace(settings.home / "tiers")
    files = TierFiles(engine)
    mover = Mover(engine, files, place, clock=service.clock, random_bytes=os.urandom)
    month = service.aggregate(RecordFilter(), ["month"])[0]["group"]["month"]
    before = id_floor(service.clock())
    leaving = Leaving([Choice()], [], 0, "task", month, before)
    copier = Copier(engine, files, mover, clock=service.clock)
    assert copier.copy([Going(leaving, "none", indexed=True, limit=1000)]) > 0


def test_what_cannot_be_grouped_is_said(service: AnalysisService) -> None:
    for by, said in (
        (["input"], "by takes fields"),
        (["dim."], "by takes fields"),
        (["kind", "kind"], "different"),
    ):
        with pytest.raises(InvalidQuery, match=said):
            service.aggregate(RecordFilter(), by)
    with pytest.raises(InvalidQuery, match="summaries"):
        service.aggregate(RecordFilter(tier="cold"), [])


def test_sums_beyond_64_bits_and_an_empty_store(settings: Settings) -> None:
    with AnalysisService.open(settings) as service:
        assert service.aggregate(RecordFilter()) == []
        most = 2**63 - 1
        service.ingest([Draft(input_tokens=most, cost=cost) for cost in (1e308, 1e308, 0.5)])
        (whole,) = service.aggregate(RecordFilter())
        assert whole["input_tokens"] == pytest.approx(3 * most)
        assert whole["cost"] == 0.5


def test_the_command_and_the_call(settings: Settings, service: AnalysisService) -> None:
    from fastapi.testclient import TestClient

    from analect_ingest.server import create_app

    variables = Commands(settings).variables
    words = ["aggregate", "--by", "service,success", "--failed"]
    shown = CliRunner().invoke(app, words, env=variables)
    assert shown.exit_code == 0, shown.output
    assert "duration_mean" in shown.output
    answer = CliRunner().invoke(app, [*words, "--json"], env=variables)
    items = json.loads(answer.stdout)["items"]
    assert items == list(service.aggregate(RecordFilter(success=False), ["service", "success"]))
    client = TestClient(create_app(service, settings))
    got = client.get("/v1/aggregate?by=service,success&success=false")
    assert got.json()["items"] == items
    assert client.get("/v1/aggregate?by=thread&limit=3").status_code == 400
