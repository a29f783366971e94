"""Records age from hot to warm to cold to gone, and one read path answers over hot and warm."""

from __future__ import annotations

import time

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.retention.policy import Selector
from analect.model.errors import InvalidQuery
from analect.model.query import NumberRange, PageRequest, RecordFilter, SearchRequest
from analect.model.record import Draft
from analect.service import AnalysisService
from analect.service.finding import wait_until
from analect.store.engine import read_transaction

DAY = 86_400_000_000
POLICY = {
    "rules": [
        {"name": "tasks", "selector": {"kinds": ["task"]}, "hotDays": 30, "then": "delete"},
        {
            "name": "rest",
            "hotDays": 90,
            "warmDays": 200,
            "coldDays": 400,
            "then": "delete",
        },
    ]
}


def now() -> int:
    return time.time_ns() // 1000


def drafts(count: int, days_ago: int, **more) -> list[Draft]:
    at = now() - days_ago * DAY
    return [
        Draft(
            occurred_at=at + n * 1000,
            thread_id=f"thread-{days_ago}-{n % 3}",
            session_id=f"session-{n % 5}",
            subject=f"person-{n % 4}",
            service="svc",
            turn=n,
            tags=["red" if n % 2 else "blue", "all"],
            dimensions={"language": "de" if n % 3 else "en"},
            measures={"response_length": n + 0.5, "citations": n},
            duration_ms=float(n),
            success=bool(n % 2),
            input=f"question {n}",
            output={"answer": n},
            **more,
        )
        for n in range(count)
    ]


@pytest.fixture
def policies():
    return [parse_policy(POLICY, name="test")]


@pytest.fixture
def aged(service: AnalysisService):
    """120 records of four ages; (service, ids oldest first)."""
    ids = []
    for days in (300, 120, 100, 5):
        ids += service.ingest(drafts(30, days)).ids
    return service, ids


def run(service, policies, times=1):
    for _ in range(times):
        plan = service.retention.plan(policies)
        report = service.retention.run(policies, lambda _done, _total: None)
        moved = report.archived + report.compressed + report.deleted
        assert moved == plan.records == report.planned
    return report


def processed(service):
    """Nothing waits any more, and what a thread of the service had begun is done."""

    def done():
        return not any(one["entries"] for one in service.status()["processors"].values())

    assert wait_until(done, 20)


def everything(service, where=None, **page):
    found, cursor = [], None
    while True:
        got = service.list(where or RecordFilter(), PageRequest(limit=7, cursor=cursor, **page))
        found += got.items
        cursor = got.next
        if cursor is None:
            return found


def bare(records):
    """Records without the tier they are in."""
    import dataclasses

    return [dataclasses.replace(one, tier="hot") for one in records]


def test_records_move_one_tier_a_run_and_read_the_same(aged, policies):
    service, ids = aged
    before = everything(service)
    assert [one.id for one in before] == sorted(ids, reverse=True)
    report = run(service, policies)
    assert (report.archived, report.compressed, report.deleted) == (90, 0, 0)
    after = everything(service)
    assert bare(after) == before
    assert [one.tier for one in after] == ["hot"] * 30 + ["warm"] * 90
    with read_transaction(service.store.engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM records")).scalar_one() == 30
        assert connection.execute(text("SELECT count(*) FROM record_tags")).scalar_one() == 60
    assert service.get(ids[0]).tier == "warm"
    assert service.get(ids[0]).output == {"answer": 0}
    assert everything(service, descending=False) == list(reversed(after))
    assert service.retention.plan(policies).records == 30  # the oldest become cold
    report = run(service, policies)
    assert (report.archived, report.compressed, report.deleted) == (0, 30, 0)
    assert len(everything(service)) == 90
    cold = everything(service, RecordFilter(tier="cold", since=0, until=now()))
    assert bare(cold) == before[90:]
    assert {one.tier for one in cold} == {"cold"}
    assert run(service, policies).planned == 0


def test_the_status_counts_every_tier(aged, policies):
    service, _ = aged
    assert service.status()["tiers"] == {
        "warm": {"records": 0, "bytes": 0},
        "cold": {"records": 0, "bytes": 0},
    }
    run(service, policies, times=2)
    status = service.status()
    assert status["store"]["records"] == 30
    assert {tier: one["records"] for tier, one in status["tiers"].items()} == {
        "warm": 60,
        "cold": 30,
    }
    assert all(one["bytes"] > 0 for one in status["tiers"].values())


@pytest.mark.parametrize(
    "where",
    [
        RecordFilter(equals={"thread_id": "thread-120-1"}),
        RecordFilter(equals={"session_id": "session-2", "service": "svc"}),
        RecordFilter(tags=("red", "all")),
        RecordFilter(dimensions={"language": "en"}),
        RecordFilter(numbers={"duration_ms": NumberRange(3, 12)}, success=True),
        RecordFilter(equals={"kind": "interaction"}, numbers={"turn": NumberRange(None, 2)}),
        RecordFilter(equals={"subject": "person-1"}),
        RecordFilter(numbers={"rating": NumberRange(4, None)}),
    ],
    ids=lambda one: "-".join([*one.equals, *one.numbers, *one.tags, *one.dimensions]),
)
def test_filters_mean_the_same_over_warm_files(service, policies, where):
    ids = [i for days in (120, 5) for i in service.ingest(drafts(30, days)).ids]
    service.feedback(ids[3], rating=5)
    service.feedback(ids[33], rating=4)
    before = everything(service, where)
    assert before
    count = len(list(service.export(where)))
    assert count == len(before)
    run(service, policies)
    assert bare(everything(service, where)) == before
    assert len(list(service.export(where))) == count


def test_a_thread_over_both_tiers_keeps_its_pages_and_order(service, policies):
    old = drafts(10, 91)
    new = drafts(10, 2)
    for draft in (*old, *new):
        draft.thread_id = "one conversation"
    service.ingest([*new, *old])

    def pages(limit, descending):
        found, cursor = [], None
        while True:
            page = service.thread("one conversation", PageRequest(limit, cursor, descending))
            found.append([one.id for one in page.items])
            cursor = page.next
            if cursor is None:
                return found

    before = {(n, d): pages(n, d) for n in (3, 10, 50) for d in (True, False)}
    run(service, policies)
    assert {key: pages(*key) for key in before} == before
    tiers = [
        one.tier for one in service.thread("one conversation", PageRequest(descending=False)).items
    ]
    assert tiers == ["warm"] * 10 + ["hot"] * 10
    warm = service.thread("one conversation", PageRequest(), tier="warm").items
    assert len(warm) == 10


@pytest.mark.parametrize("indexed", [True, False])
def test_the_policy_says_whether_warm_stays_indexed(service, indexed):
    ids = service.ingest([*drafts(3, 120), *drafts(2, 2)], wait_indexed=20).ids
    policies = [parse_policy({**POLICY, "warmIndexed": indexed})]
    assert len(service.search(SearchRequest("question")).items) == 5
    run(service, policies)
    processed(service)
    found = service.search(SearchRequest("question")).items
    assert {hit.record.id for hit in found} == set(ids if indexed else ids[3:])
    assert service.verify("text").clean
    assert service.rebuild("text") == (5 if indexed else 2)


def test_what_becomes_cold_leaves_the_indexes(service, policies):
    service.ingest([*drafts(3, 300), *drafts(2, 2)], wait_indexed=20)
    run(service, policies, times=2)
    processed(service)
    for index in ("text", "graph", "vectors"):
        report = service.verify(index)
        assert report.clean
        assert report.indexed == 2


def test_cold_wants_its_months(aged):
    service, _ = aged
    with pytest.raises(InvalidQuery) as caught:
        service.list(RecordFilter(tier="cold"), PageRequest())
    assert caught.value.field == "from"
    with pytest.raises(InvalidQuery):
        service.list(RecordFilter(tier="lukewarm"), PageRequest())


def test_deleting_tells_the_feed_and_leaves_a_receipt(service, policies):
    ids = service.ingest(drafts(12, 40, kind="task")).ids
    kept = service.ingest(drafts(3, 2, kind="task")).ids
    report = run(service, policies)
    assert report.deleted == 12
    changes = service.changes(None, 1000).items
    assert {one.record_id for one in changes if one.operation == "delete"} == set(ids)
    assert {one.record_id for one in changes if one.operation == "put"} == set(kept)
    (receipt,) = service.retention.reports("purge")
    assert (receipt["records"], receipt["rule"], receipt["kind"]) == (12, "tasks", "task")


def test_the_feed_shows_a_record_that_is_warm_already(aged, policies):
    service, ids = aged
    run(service, policies)
    changes = service.changes(None, 1000).items
    assert [one.record_id for one in changes] == ids
    assert all(one.operation == "put" and one.record is not None for one in changes)


def test_what_is_sent_again_after_it_became_warm_is_stored_once(service, policies):
    sent = drafts(10, 120)
    for n, draft in enumerate(sent):
        draft.id = f"mine-{n}"
        draft.source = "here"
    service.ingest(sent)
    run(service, policies)
    before = everything(service)
    again = drafts(10, 120)
    for draft, old in zip(again, before[::-1], strict=True):
        draft.id, draft.source, draft.occurred_at = draft.id, "here", old.occurred_at
    for n, draft in enumerate(again):
        draft.id = f"mine-{n}"
    service.ingest(again)
    assert len(everything(service)) == 10
    service.retention.run(policies, lambda _done, _total: None)
    assert len(everything(service)) == 10
    assert {one.tier for one in everything(service)} == {"warm"}


def test_holds_keep_what_they_select_in_its_tier(aged, policies):
    service, _ = aged
    service.retention.hold("case-17", Selector(threads=("thread-120-1",)))
    plan = service.retention.plan(policies)
    assert (plan.records, plan.held) == (80, 10)
    run(service, policies)
    hot = everything(service, RecordFilter(tier="hot"))
    assert {one.thread_id for one in hot if one.occurred_at < now() - 50 * DAY} == {"thread-120-1"}
    held = next(one for one in hot if one.thread_id == "thread-120-1")
    assert service.retention.explain(held, policies).held_by == ("case-17",)
    service.retention.release("case-17")
    run(service, policies)
    assert len(everything(service, RecordFilter(tier="hot"))) == 30


def test_keep_last_and_anonymise(service):
    service.ingest(drafts(20, 120))
    rule = {"name": "all", "hotDays": 90, "keepLast": 5, "anonymise": "payloads"}
    policies = [parse_policy({"rules": [rule]})]
    run(service, policies)
    assert len(everything(service, RecordFilter(tier="hot"))) == 5
    for record in everything(service, RecordFilter(tier="warm")):
        assert (record.subject, record.session_id, record.payload_state) == (None, None, "omitted")
        assert record.thread_id is not None


def test_summaries_stay_when_records_go(service, policies):
    service.ingest(drafts(10, 120))
    service.ingest(drafts(6, 40, kind="task"))
    service.ingest(drafts(8, 2, kind="business", name="sales"))

    def told(family):
        found = service.retention.summaries(family, "0000-00", "9999-12")
        return {(one["month"], *sorted(one["group"].items())): one["records"] for one in found}

    report = service.retention.archive(policies, lambda _done, _total: None)
    assert (report.outcome, report.damaged) == ("complete", [])
    assert report.retention.deleted == 6
    assert sum(told("interactions").values()) == 16
    before = told("interactions"), told("queries")
    service.retention.archive(policies, lambda _done, _total: None)
    older = [
        parse_policy({"rules": [{"name": "x", "hotDays": 1, "warmDays": 3, "then": "delete"}]})
    ]
    for _ in range(2):
        service.retention.run(older, lambda _done, _total: None)
    assert (told("interactions"), told("queries")) == before
    years = service.retention.summaries("interactions", "0000-00", "9999-12", by_year=True)
    assert sum(one["records"] for one in years) == 16
    assert {one["year"] for one in years} == {month[:4] for month, *_ in told("interactions")}
    (sales,) = service.retention.summaries("business", "0000-00", "9999-12")
    assert sales["measures"]["citations"] == {"count": 8, "sum": 28.0, "min": 0.0, "max": 7.0}
    (speed, *_) = service.retention.summaries("performance", "0000-00", "9999-12")
    assert speed["duration_p50"] is not None
    assert len(service.retention.reports("archive")) == 2


def test_what_comes_late_is_counted_once(service, policies):
    keeping = [parse_policy({"rules": [{"name": "x", "hotDays": 4000}]})]

    today = now()

    def archive(by):
        service.retention.archive(by, lambda _done, _total: None)
        found = service.retention.summaries("interactions", "0000-00", "9999-12")
        return sum(one["records"] for one in found)

    def some(count, days, **more):
        sent = drafts(count, days, **more)
        for number, one in enumerate(sent):
            one.id = f"{days}-{number}"
            one.occurred_at = today - days * DAY + number * 1000
        return sent

    service.ingest(some(10, 120))
    assert archive(keeping) == 10
    service.ingest(some(14, 120))  # of a month that is counted already, and ten of them again
    service.ingest(some(3, 700))
    assert archive(keeping) == 17
    assert archive(keeping) == 17
    assert archive(policies) == 17  # they are warm now
    service.ingest(some(15, 120))  # hot and warm, until they are moved the next time
    assert archive(keeping) == 18
    assert archive(policies) == 18


def test_summaries_are_kept_until_they_are_counted_anew(service, settings, policies):
    def answers(of):
        names = ("memory", "computed")
        ask = of.telemetry.registry.get_sample_value
        labels = [{"cache": "user_behavior", "source": name} for name in names]
        return [ask("analect_cache_answers_total", one) or 0 for one in labels]

    service.ingest(drafts(10, 2))
    service.retention.archive(policies, lambda _done, _total: None)
    for _ in range(3):
        (month,) = service.retention.summaries("interactions", "0000-00", "9999-12")
        assert month.pop("records") == 10
    assert answers(service) == [2, 1]
    service.ingest(drafts(5, 2))
    service.retention.archive(policies, lambda _done, _total: None)
    (month,) = service.retention.summaries("interactions", "0000-00", "9999-12")
    assert month["records"] == 15
    assert answers(service) == [2, 2]
    with AnalysisService.open(settings) as other:
        assert other.cache.warm() == 6
        other.retention.summaries("interactions", "0000-00", "9999-12")
        assert answers(other) == [1, 2]  # sessions are kept by the same name


@pytest.mark.parametrize("later", [False, True], ids=["due", "not due"])
def test_a_damaged_file_is_named(aged, policies, settings, later):
    service, _ = aged
    run(service, policies)
    paths = sorted((settings.home / "tiers").rglob("*.parquet"))
    path = paths[-1 if later else 0]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    report = service.retention.archive(policies, lambda _done, _total: None)
    assert report.outcome == "damaged"
    assert report.retention.outcome == ("complete" if later else "stopped")
    registry = service.telemetry.registry
    assert registry.get_sample_value("analect_tier_damaged_files") == 1
    assert registry.get_sample_value("analect_tier_records_count", {"tier": "warm"}) == (
        60 if later else 90
    )
    assert registry.get_sample_value("analect_retention_last_age_seconds", {"job": "archive"}) < 60
    assert [name.rsplit("/", 1)[-1] for name in report.damaged] == [path.name]


def test_a_second_run_leaves(aged, policies):
    from analect.model.errors import StoreUnavailable
    from analect.store.alone import alone

    service, _ = aged
    with alone(service.store.engine, "retention"), pytest.raises(StoreUnavailable):
        service.retention.run(policies, lambda _done, _total: None)


def test_explain_says_when(aged, policies):
    service, ids = aged
    young = service.retention.explain(service.get(ids[-1]), policies)
    assert (young.tier, young.rule, young.next) == ("hot", "rest", "warm")
    assert 84 * DAY < young.moves_at - now() < 87 * DAY
    old = service.retention.explain(service.get(ids[0]), policies)
    assert old.moves_at < now()
    run(service, policies)
    warm = service.retention.explain(service.get(ids[40]), policies)
    assert (warm.tier, warm.next) == ("warm", "cold")


def test_anyone_reads_the_folder(aged, policies, settings):
    """DuckDB and pyarrow alone; the folder has been moved."""
    import duckdb

    service, ids = aged
    run(service, policies)
    folder = settings.home / "tiers" / "warm"
    elsewhere = folder.rename(settings.home / "elsewhere")
    table = pq.read_table(elsewhere)
    assert sorted(table.column("id").to_pylist()) == sorted(ids[:90])
    assert set(table.column("kind").to_pylist()) == {"interaction"}
    found = duckdb.sql(
        f"SELECT month, count(*), avg(duration_ms), sum(measures['citations'])"
        f" FROM read_parquet('{elsewhere}/*/*/*.parquet', hive_partitioning = true)"
        " WHERE dimensions['language'] = 'de' GROUP BY month ORDER BY month"
    ).fetchall()
    assert sum(row[1] for row in found) == 60
    file = next(elsewhere.rglob("*.parquet"))
    column = pq.ParquetFile(file).metadata.row_group(0)
    names = [column.column(n).path_in_schema for n in range(column.num_columns)]
    assert column.column(names.index("thread_id")).bloom_filter_offset is not None


def test_a_warm_record_that_is_processed_again_is_still_found(service, policies):
    ids = service.ingest(drafts(10, 120)).ids
    run(service, policies)
    assert {one.tier for one in everything(service)} == {"warm"}
    service.reprocess(ids)
    assert service.wait_indexed(ids, 60)
    processed(service)
    for index in ("text", "graph"):
        report = service.verify(index)
        assert report.clean
        assert report.indexed == 10
