"""Reads of records: what a filter means, and pages that neither skip nor repeat."""

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analect.model.errors import InvalidQuery
from analect.model.ids import id_bytes, new_id
from analect.model.query import NumberRange, PageRequest, RecordFilter
from analect.model.record import NUMBER_FIELDS, TEXT_FIELDS, Draft
from analect.store.append import SealedDraft
from analect.store.cursor import Cursors
from analect.store.reads import RecordReads
from tests.integration.store_filling import BASE, append

CURSORS = Cursors(b"c" * 32)
MINUTE = 60_000_000


def draft(number: int, rng: random.Random, **fields) -> Draft:
    """A record that differs from its neighbours in every filterable way."""
    at = BASE + number * MINUTE + rng.randrange(MINUTE)
    chosen = Draft(
        id=new_id(at, rng.randbytes),
        occurred_at=at,
        kind=rng.choice(["interaction", "task", "incident"]),
        external_id=rng.choice([None, f"ext {number}"]),
        success=rng.choice([None, True, False]),
        rating=rng.choice([None, 1, 3, 5]),
        cost=rng.choice([None, 0.5, 2.0]),
        input_tokens=rng.choice([None, 0, 10, 2**60]),
        tags=rng.sample(["a", "b", "c", "ü,\"'"], rng.randrange(4)),
        dimensions=rng.choice([{}, {"lang": "en"}, {"lang": "de", 'q"uo\\te': "ü ,:"}]),
        measures=rng.choice([{}, {"length": 4.5, "citations": 2}]),
        **{name: rng.choice([None, f"{name} 1", f"{name} 2"]) for name in TEXT_FIELDS},
    )
    for name, value in fields.items():
        setattr(chosen, name, value)
    return chosen


@pytest.fixture
def reads(engine):
    return RecordReads(engine, CURSORS)


@pytest.fixture
def drafts(engine):
    rng = random.Random(7)
    made = [draft(number, rng) for number in range(120)]
    for number in range(0, 120, 9):
        at = BASE + (200 + number) * MINUTE
        made.append(
            Draft(
                id=new_id(at, rng.randbytes),
                occurred_at=at,
                kind="evaluation",
                parent_id=made[number].id,
                rating=5,
            )
        )
    append(engine, made)
    return made


def passes(one: Draft, where: RecordFilter, late: dict[str, list[int]]) -> bool:
    """What a filter means, said again in plain Python."""

    def within(value, bounds):
        return (
            value is not None
            and (bounds.minimum is None or value >= bounds.minimum)
            and (bounds.maximum is None or value <= bounds.maximum)
        )

    def number(name, bounds):
        values = [getattr(one, name)]
        if name == "rating":
            values += late.get(one.id, [])
        return any(within(value, bounds) for value in values)

    return (
        all(getattr(one, name) == value for name, value in where.equals.items())
        and set(where.tags) <= set(one.tags)
        and all(one.dimensions.get(name) == value for name, value in where.dimensions.items())
        and all(
            number(name, bounds)
            for name, bounds in where.numbers.items()
            if bounds != NumberRange()
        )
        and where.success in {None, one.success}
        and (where.since is None or one.occurred_at >= where.since)
        and (where.until is None or one.occurred_at < where.until)
    )


def expected(drafts, where):
    late = {}
    for one in drafts:
        if one.kind == "evaluation":
            late.setdefault(one.parent_id, []).append(one.rating)
    return sorted(one.id for one in drafts if passes(one, where, late))


def walk(reads, where, limit, *, descending):
    ids, cursor = [], None
    while True:
        page = reads.list(where, PageRequest(limit, cursor, descending))
        assert len(page.items) <= limit
        ids += [stored.record.id for stored in page.items]
        cursor = page.next
        if cursor is None:
            return ids


def agrees(reads, drafts, where, limit=17):
    ids = expected(drafts, where)
    assert walk(reads, where, limit, descending=False) == ids
    assert walk(reads, where, limit, descending=True) == ids[::-1]
    assert [s.record.id for batch in reads.scan(where, limit) for s in batch] == ids
    assert reads.count(where) == len(ids)
    assert reads.count(where, 3) == min(3, len(ids))
    return ids


def test_a_record_comes_back_as_it_went(reads, drafts):
    stored = reads.get([one.id for one in drafts])
    assert [s.record.id for s in stored] == [one.id for one in drafts]
    for one, back in zip(drafts, stored, strict=True):
        for name in (*TEXT_FIELDS, *NUMBER_FIELDS, "kind", "occurred_at", "external_id"):
            assert getattr(back.record, name) == getattr(one, name), name
        assert back.record.success is one.success
        assert back.record.tags == tuple(one.tags)
        assert back.record.dimensions == one.dimensions
        assert back.record.measures == one.measures
        assert back.record.payload_state == "sealed"
        assert back.payload == id_bytes(one.id) * 3
        assert back.record.content_hash == id_bytes(one.id)
        assert back.record.received_at == BASE


def test_an_omitted_payload_says_so(engine, reads):
    rng = random.Random(1)
    one = draft(0, rng)
    append(engine, [SealedDraft(one, BASE, None, None, b"h" * 16)])
    (stored,) = reads.get([one.id])
    assert (stored.key_id, stored.payload) == (None, None)
    assert stored.record.payload_state == "omitted"


def test_one_that_came_without_a_payload_has_nothing_to_open(engine, reads):
    one = draft(0, random.Random(1))
    append(engine, [SealedDraft(one, BASE, None, b"", b"h" * 16)])
    (stored,) = reads.get([one.id])
    assert (stored.key_id, stored.payload) == (None, b"")
    assert stored.record.payload_state == "open"


def test_get_keeps_the_order_and_leaves_out_what_is_not_there(reads, drafts):
    nobody = new_id(BASE, random.Random(99).randbytes)
    wanted = [drafts[5].id, nobody, drafts[2].id, drafts[5].id]
    assert [s.record.id for s in reads.get(wanted)] == [drafts[5].id, drafts[2].id]
    assert reads.exists(wanted) == {drafts[5].id, drafts[2].id}
    assert reads.get([]) == []


@pytest.mark.parametrize("name", ["kind", "external_id", *TEXT_FIELDS])
def test_every_text_field_filters(reads, drafts, name):
    value = next(getattr(one, name) for one in drafts if getattr(one, name) is not None)
    assert agrees(reads, drafts, RecordFilter(equals={name: value}))


@pytest.mark.parametrize("name", NUMBER_FIELDS)
def test_every_number_field_filters(reads, engine, drafts, name):
    one = draft(300, random.Random(3), **{name: 1})
    append(engine, [one])
    found = agrees(reads, [*drafts, one], RecordFilter(numbers={name: NumberRange(1, 1)}))
    assert one.id in found
    agrees(reads, [*drafts, one], RecordFilter(numbers={name: NumberRange(2)}))
    agrees(reads, [*drafts, one], RecordFilter(numbers={name: NumberRange(None, 2)}))


@pytest.mark.parametrize(
    "where",
    [
        RecordFilter(),
        RecordFilter(tags=("a",)),
        RecordFilter(tags=("a", "ü,\"'", "b")),
        RecordFilter(tags=("a",), equals={"kind": "task", "session_id": "session_id 1"}),
        RecordFilter(tags=("a",), equals={"kind": "task"}, success=True),
        RecordFilter(tags=("nobody's",), equals={"kind": "task"}),
        RecordFilter(dimensions={"lang": "en"}),
        RecordFilter(dimensions={"lang": "de", 'q"uo\\te': "ü ,:"}),
        RecordFilter(dimensions={"lang": "e"}),
        RecordFilter(success=False),
        RecordFilter(numbers={"rating": NumberRange(5)}, equals={"kind": "task"}),
        RecordFilter(since=BASE + 30 * MINUTE, until=BASE + 60 * MINUTE),
        RecordFilter(since=0, until=2**62),
        RecordFilter(since=-(2**62), until=-1),
    ],
)
def test_filters_mean_what_they_say(reads, drafts, where):
    agrees(reads, drafts, where)


def test_times_are_exact_to_the_microsecond(reads, drafts):
    at = drafts[40].occurred_at
    assert agrees(reads, drafts, RecordFilter(since=at, until=at + 1)) == [drafts[40].id]
    assert agrees(reads, drafts, RecordFilter(since=at + 1, until=at + 1)) == []
    assert drafts[40].id not in agrees(reads, drafts, RecordFilter(until=at))
    assert drafts[40].id in agrees(reads, drafts, RecordFilter(since=at))


texts = {name: st.sampled_from([f"{name} 1", f"{name} 2"]) for name in TEXT_FIELDS}
filters = st.builds(
    RecordFilter,
    equals=st.dictionaries(st.sampled_from(TEXT_FIELDS), st.just(1), max_size=3).map(
        lambda names: {name: f"{name} 1" for name in names}
    ),
    tags=st.lists(st.sampled_from(["a", "b", "c"]), max_size=2).map(tuple),
    dimensions=st.sampled_from([{}, {}, {"lang": "en"}]),
    numbers=st.sampled_from([{}, {"cost": NumberRange(1)}, {"rating": NumberRange(4)}]),
    success=st.sampled_from([None, None, True]),
    since=st.none() | st.integers(0, 130 * MINUTE).map(lambda after: BASE + after),
    until=st.none() | st.integers(0, 130 * MINUTE).map(lambda after: BASE + after),
)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(where=filters, limit=st.integers(1, 50))
def test_any_mixture_of_filters(reads, drafts, where, limit):
    agrees(reads, drafts, where, limit)


def test_a_walk_sees_what_was_there_once_while_more_comes(engine, reads, drafts):
    rng = random.Random(5)
    where = RecordFilter(equals={"kind": "task"})
    there = set(expected(drafts, where))
    seen, cursor = [], None
    while True:
        page = reads.list(where, PageRequest(5, cursor))
        seen += [stored.record.id for stored in page.items]
        append(engine, [draft(rng.randrange(400), rng, kind="task") for _ in range(6)])
        cursor = page.next
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert there <= set(seen)


def test_a_cursor_is_good_for_its_own_query_only(reads, drafts):
    where = RecordFilter(equals={"kind": "task"})
    cursor = reads.list(where, PageRequest(5)).next
    for other, descending in ((replace(where, success=True), True), (where, False)):
        with pytest.raises(InvalidQuery) as caught:
            reads.list(other, PageRequest(5, cursor, descending))
        assert caught.value.field == "cursor"
    with pytest.raises(InvalidQuery):
        reads.thread("t", PageRequest(5, cursor))


@pytest.mark.parametrize(
    ("where", "field"),
    [
        (RecordFilter(equals={"id; drop": "x"}), "id; drop"),
        (RecordFilter(equals={"cost": "x"}), "cost"),
        (RecordFilter(numbers={"kind": NumberRange(1)}), "kind"),
    ],
)
def test_unknown_names_are_refused(reads, where, field):
    for ask in (
        lambda: reads.list(where, PageRequest()),
        lambda: reads.count(where),
        lambda: list(reads.scan(where)),
    ):
        with pytest.raises(InvalidQuery) as caught:
            ask()
        assert caught.value.field == field


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_page_sizes_are_bounded(reads, limit):
    with pytest.raises(InvalidQuery) as caught:
        reads.list(RecordFilter(), PageRequest(limit))
    assert caught.value.field == "limit"


def test_hashes_come_in_the_order_of_ids(reads, drafts):
    hashes = list(reads.hashes())
    assert hashes == sorted((one.id, id_bytes(one.id)) for one in drafts)


def test_feedback_is_found_by_what_it_is_about(reads, drafts):
    found = reads.feedback([drafts[0].id, drafts[1].id])
    assert [stored.record.rating for stored in found[drafts[0].id]] == [5]
    assert found[drafts[0].id][0].record.parent_id == drafts[0].id
    assert found[drafts[1].id] == []


def test_threads_order_by_time_turn_and_id(engine, reads):
    rng = random.Random(11)
    made = []
    for group in range(12):
        millisecond = BASE + group * 1000
        for _ in range(rng.randrange(1, 14)):
            at = millisecond + rng.choice([0, 0, 1, 999])
            made.append(
                Draft(
                    id=new_id(at, rng.randbytes),
                    occurred_at=at,
                    thread_id="t",
                    turn=rng.choice([None, 0, 1, 2]),
                )
            )
    other = Draft(id=new_id(BASE, rng.randbytes), occurred_at=BASE, thread_id="other")
    rng.shuffle(made)
    append(engine, [*made, other])
    key = lambda one: (one.occurred_at, -1 if one.turn is None else one.turn, one.id)  # noqa: E731
    ordered = [one.id for one in sorted(made, key=key)]
    for limit in (1, 2, 7, 1000):
        for descending in (False, True):
            ids, cursor = [], None
            while True:
                page = reads.thread("t", PageRequest(limit, cursor, descending))
                assert len(page.items) == limit or page.next is None
                ids += [stored.record.id for stored in page.items]
                cursor = page.next
                if cursor is None:
                    break
            assert ids == (ordered[::-1] if descending else ordered)
    assert reads.thread("nobody's", PageRequest()).items == ()
