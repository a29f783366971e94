"""Rows that come as columns are the rows that come as rows, to the last bit."""

from __future__ import annotations

import pytest

from analect.lifecycle.tiers.columns import stored_records, table_of
from analect.model.ids import id_floor, month_bounds, month_of
from analect.model.query import RecordFilter
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.store import columnar
from analect.store.choosing import Choice
from analect.store.cursor import Cursors
from analect.store.leaving import Leaving, begun_rows, leaving_rows, load_rows, month_batches
from analect.store.reads import RecordReads

AT = 1_700_000_000_123_000
ODD = 'a "quoted" \\ back\\slash\ttab\nline \u007f \u2028 \U0001f600 \u6f22\u5b57'


@pytest.fixture
def stored(service: AnalysisService):
    drafts = [
        Draft(kind="task", occurred_at=AT, name=ODD, tags=(ODD, "b"), dimensions={"d": ODD}),
        Draft(kind="task", occurred_at=AT + 1000, success=True, cost=0.1 + 0.2, confidence=1 / 3),
        Draft(kind="task", occurred_at=AT + 2000, duration_ms=2.0**-40, input_tokens=2**62),
        Draft(kind="task", occurred_at=AT + 3000, success=False, input=ODD * 50, turn=7, rating=4),
        Draft(kind="task", occurred_at=AT + 4000, measures={"m": 1e-7, "n": 3}, output="short"),
        Draft(kind="other", occurred_at=AT + 5000, service="elsewhere"),
    ]
    assert service.ingest(drafts).accepted == len(drafts)
    scanned = RecordReads(service.store.engine, Cursors(b"b" * 32)).scan(RecordFilter(), 100)
    every = sorted((one for batch in scanned for one in batch), key=lambda one: one.record.id)
    return service.store.engine, every


def leaving(kind="task"):
    month = month_of(id_floor(AT))
    return Leaving([Choice()], [], 0, kind, month, id_floor(month_bounds(month)[1]))


def of(batches):
    return [one for columns in batches for one in stored_records(table_of(columns), "hot")]


def test_every_column_is_the_same(stored):
    engine, every = stored
    tasks = [one for one in every if one.record.kind == "task"]
    assert of(leaving_rows(engine, leaving(), None, None)) == tasks
    assert of(leaving_rows(engine, leaving(), tasks[1].record.id, 2)) == tasks[2:4]


def test_batches_end_where_their_payloads_come_to_enough(stored, monkeypatch):
    engine, every = stored
    tasks = [one for one in every if one.record.kind == "task"]
    sizes = [len(one.payload or b"") for one in tasks]
    monkeypatch.setattr(columnar, "MOST_BYTES", max(sizes) - 1)  # one is larger by itself
    batches = list(leaving_rows(engine, leaving(), None, None))
    assert len(batches) > 1
    assert of(batches) == tasks


def test_rows_that_are_begun_are_finished_as_they_stood(stored, service):
    engine, every = stored
    tasks = [one for one in every if one.record.kind == "task"]
    rows = begun_rows(engine, leaving(), None, 3)
    begun = next(rows)
    early = [Draft(kind="task", occurred_at=AT - 1000 * n, name="late") for n in range(1, 4)]
    assert service.ingest(early).accepted == 3
    assert begun.heads.last == tasks[2].record.id
    assert of([begun.finish()]) == tasks[:3]
    assert list(rows) == []
    assert begun.selection.connection.closed
    assert [one.record.name for one in of(leaving_rows(engine, leaving(), None, 3))] == ["late"] * 3


def test_a_month_and_single_records_come_without_payloads(stored):
    engine, every = stored
    month = month_of(id_floor(AT))
    seen = of(month_batches(engine, month))
    assert [one.record.id for one in seen] == [one.record.id for one in every]
    assert {one.payload for one in seen} == {None}
    wanted = [every[4].record.id, every[1].record.id]
    with columnar.snapshot(engine).connect() as connection:
        loaded = of(load_rows(connection, wanted))
    assert [one.record.cost for one in loaded] == [every[1].record.cost, every[4].record.cost]
