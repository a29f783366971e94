"""What is counted, that labels stay few, and that the reference page lists every metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from analect.model.errors import StoreUnavailable
from analect.model.ids import new_id
from analect.model.record import Draft, IngestResult, Rejection
from analect.telemetry.labels import BoundedLabel
from analect.telemetry.metrics import Telemetry
from analect.telemetry.sessions import ActiveSessions
from analect.telemetry.store import Backlog, StoreState
from analect.telemetry.tiers import TierState

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
NOW = 1_750_000_000_000_000


def _telemetry() -> Telemetry:
    return Telemetry(clock=lambda: NOW)


def _values(telemetry: Telemetry) -> dict[str, float]:
    lines = generate_latest(telemetry.registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _stored(count: int) -> IngestResult:
    return IngestResult(count, 0, (), tuple(new_id(NOW, bytes) for _ in range(count)))


def test_the_reference_page_lists_every_metric_and_its_labels():
    telemetry = _telemetry()
    telemetry.store.watch(
        lambda: StoreState({"truth": 1}, {"text": Backlog()}, records=1, data_keys=1)
    )
    telemetry.tiers.watch(TierState)
    telemetry.queue.export()
    exported = re.findall(
        r"^# TYPE (\S+) (\S+)$", generate_latest(telemetry.registry).decode(), re.MULTILINE
    )
    exported = {(name, kind) for name, kind in exported if not name.endswith("_created")}
    rows = re.findall(r"^\| `(analect_\w+)` \| (\w+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert set(rows) == exported
    assert all(name.startswith("analect_") for name, _ in exported)


def test_a_batch_is_counted_by_what_its_records_say():
    telemetry = _telemetry()
    drafts = [
        Draft(
            project="shop",
            success=True,
            duration_ms=1500.0,
            input_tokens=3,
            output_tokens=5,
            cost=0.25,
            session_id="<session:0123456789abcdef>",
            occurred_at=NOW - 2_000_000,
        ),
        Draft(project="shop", success=False, occurred_at=NOW - 3_000_000),
    ]
    telemetry.ingest.batch(drafts, _stored(2))
    values = _values(telemetry)
    where = '{environment="unset",project="shop"}'
    assert values[f"analect_stored_records_total{where}"] == 2
    assert values[f"analect_stored_response_seconds_sum{where}"] == 1.5
    assert values[f"analect_stored_cost_total{where}"] == 0.25
    for labels, value in (('direction="input"', 3), ('direction="output"', 5)):
        name = f'analect_stored_tokens_total{{{labels},environment="unset",project="shop"}}'
        assert values[name] == value
    for outcome in ("error", "success"):
        name = (
            'analect_stored_outcomes_total{environment="unset",'
            f'outcome="{outcome}",project="shop"}}'
        )
        assert values[name] == 1
    assert values["analect_stored_active_sessions"] == 1
    assert values["analect_stored_newest_age_seconds"] == 2
    assert values['analect_ingest_records_total{outcome="stored"}'] == 2


def test_rejections_are_counted_by_code_and_not_as_stored():
    telemetry = _telemetry()
    result = IngestResult(0, 1, (Rejection(0, None, "invalid", "no"),), (None, new_id(NOW, bytes)))
    telemetry.ingest.batch([Draft(), Draft(project="shop")], result)
    values = _values(telemetry)
    assert values['analect_ingest_rejections_total{reason="invalid"}'] == 1
    assert values['analect_ingest_records_total{outcome="duplicate"}'] == 1
    assert not any(name.startswith("analect_stored_records_total{") for name in values)


def test_callers_cannot_make_series_without_end():
    telemetry = _telemetry()
    for number in range(100):
        telemetry.ingest.batch([Draft(project=f"p{number}")], _stored(1))
    series = [n for n in _values(telemetry) if n.startswith("analect_stored_records_total")]
    assert len(series) == 21
    label = BoundedLabel(limit=1)
    assert [label.of(v) for v in ("a", "b", "a", None)] == ["a", "other", "a", "unset"]


def test_sessions_are_forgotten_after_five_minutes():
    sessions = ActiveSessions()
    sessions.seen(["a", "b", None], 1000.0)
    sessions.seen(["b", "c"], 1100.0)
    assert sessions.count(1100.0) == 3
    assert sessions.count(1350.0) == 2
    assert sessions.count(1500.0) == 0


def test_the_state_of_the_store_is_looked_up_once_for_several_scrapes():
    telemetry = _telemetry()
    looks = []

    def look() -> StoreState:
        looks.append(1)
        return StoreState(
            {"truth": 100, "text": 20},
            {"text": Backlog(pending=7, quarantined=1, oldest_seconds=2.5)},
            records=9,
            data_keys=3,
        )

    telemetry.store.watch(look, ["text", "graph"])
    assert not looks
    values = _values(telemetry)
    assert _values(telemetry) == values
    assert len(looks) == 1
    assert values['analect_store_size_bytes{part="truth"}'] == 100
    assert values['analect_outbox_pending_entries{processor="text"}'] == 7
    assert values['analect_outbox_oldest_age_seconds{processor="text"}'] == 2.5
    assert values['analect_outbox_quarantined_records{processor="text"}'] == 1
    assert values['analect_outbox_pending_entries{processor="graph"}'] == 0
    assert values["analect_keys_data_count"] == 3


def test_a_scrape_answers_while_the_store_is_down():
    telemetry = _telemetry()

    def down() -> StoreState:
        raise StoreUnavailable("the store is down")

    telemetry.store.watch(down)
    telemetry.processing.processed("text", 3, 1, 0.5)
    values = _values(telemetry)
    assert "analect_store_records_count" not in values
    assert values['analect_processing_records_total{processor="text"}'] == 3
    assert values['analect_processing_failures_total{processor="text"}'] == 1


def test_two_processes_of_one_program_do_not_share_a_registry():
    one, other = _telemetry(), _telemetry()
    one.finding.searched("text", 0.1, degraded=True)
    one.finding.read("record", 0.1)
    one.store.committed(5, 0.01)
    assert _values(one)["analect_search_degraded_total"] == 1
    assert _values(other)["analect_search_degraded_total"] == 0
    assert one.registry is not other.registry


@pytest.mark.parametrize("most", [100_000])
def test_sessions_take_bounded_memory(most):
    sessions = ActiveSessions()
    for start in range(0, 4 * most, most):
        sessions.seen([str(n) for n in range(start, start + most)], 1000.0 + start)
    assert sessions.count(1000.0 + 3 * most) <= 2 * most
