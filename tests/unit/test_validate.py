from dataclasses import asdict
from enum import StrEnum
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.model.errors import InvalidInput
from analect.model.ids import AHEAD, EARLIEST, id_millis, is_record_id, new_id
from analect.model.record import TEXT_FIELDS, Draft
from analect.model.validate import settle

NOW = 1_750_000_000_123_456
KEY = b"k" * 32


def fixed(size: int) -> bytes:
    return b"\x5a" * size


def settled(**fields) -> Draft:
    draft = Draft(**fields)
    settle(draft, now=NOW, key=KEY, random_bytes=fixed)
    return draft


def refused(**fields) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        settled(**fields)
    return caught.value


def test_nothing_said_gets_an_id_at_the_clock():
    draft = settled()
    assert draft.occurred_at == NOW
    assert is_record_id(draft.id)
    assert id_millis(draft.id) == NOW // 1000
    assert draft.external_id is None


def test_a_uuid7_sets_the_time_it_carries():
    given_id = new_id(NOW, fixed).upper()
    draft = settled(id=given_id)
    assert draft.id == given_id.lower()
    assert draft.occurred_at == NOW // 1000 * 1000


def test_a_uuid7_and_a_time_within_its_millisecond_agree():
    draft = settled(id=new_id(NOW, fixed), occurred_at=NOW)
    assert draft.occurred_at == NOW


def test_a_uuid7_of_another_millisecond_is_refused_with_the_way_out():
    error = refused(id=new_id(NOW, fixed), occurred_at=NOW + 1000)
    assert error.field == "id"
    assert "external_id" in str(error)


def test_a_uuid7_keeps_the_external_id_beside_it():
    draft = settled(id=new_id(NOW, fixed), external_id="order 7")
    assert draft.external_id == "order 7"


def test_any_other_string_is_an_external_id_and_a_retry_is_the_same_record():
    first = settled(id="ticket-1", occurred_at=NOW, source="desk")
    again = settled(external_id="ticket-1", occurred_at=NOW, source="desk")
    both = settled(id="ticket-1", external_id="ticket-1", occurred_at=NOW, source="desk")
    assert first.external_id == "ticket-1"
    assert first.id == again.id == both.id
    assert id_millis(first.id) == NOW // 1000
    assert settled(id="ticket-1", occurred_at=NOW, source="mail").id != first.id
    assert settled(id="ticket-1", occurred_at=NOW + 1000, source="desk").id != first.id


def test_an_external_id_needs_a_time():
    assert refused(id="ticket-1").field == "occurred_at"
    assert refused(external_id="ticket-1").field == "occurred_at"


def test_two_external_ids_are_one_too_many():
    assert refused(id="a", external_id="b", occurred_at=NOW).field == "id"


@pytest.mark.parametrize(
    ("at", "ok"),
    [
        (EARLIEST, True),
        (EARLIEST - 1, False),
        (NOW + AHEAD, True),
        (NOW + AHEAD + 1, False),
        (-1, False),
        (2**70, False),
    ],
)
def test_accepted_times(at, ok):
    if ok:
        assert settled(occurred_at=at).occurred_at == at
    else:
        assert refused(occurred_at=at).field == "occurred_at"


def test_the_time_of_an_id_is_bounded_too():
    assert refused(id=new_id(NOW + 2 * AHEAD, fixed)).field == "id"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "Interaction"),
        ("kind", ""),
        ("kind", "1a"),
        ("kind", "a b"),
        ("kind", "a\n"),
        ("kind", "a" * 65),
        ("kind", None),
        ("kind", 7),
        ("id", ""),
        ("id", 7),
        ("id", "x" * 513),
        ("external_id", ""),
        ("external_id", 7),
        ("occurred_at", "2020-01-01"),
        ("occurred_at", 1.5e15),
        ("occurred_at", True),
        ("thread_id", 7),
        ("thread_id", "x" * 257),
        ("parent_id", b"x"),
        ("name", "a\0b"),
        ("name", "\ud800"),
        ("success", 1),
        ("success", "yes"),
        ("duration_ms", -0.1),
        ("duration_ms", nan),
        ("duration_ms", inf),
        ("duration_ms", "1"),
        ("duration_ms", True),
        ("input_tokens", -1),
        ("input_tokens", 1.0),
        ("input_tokens", True),
        ("output_tokens", 2**63),
        ("turn", -1),
        ("cost", nan),
        ("cost", 10**400),
        ("rating", 0),
        ("rating", 6),
        ("rating", 4.5),
        ("rating", True),
        ("confidence", 1.5),
        ("confidence", -0.1),
        ("confidence", nan),
        ("tags", "word"),
        ("tags", None),
        ("tags", [""]),
        ("tags", [7]),
        ("tags", ["x" * 257]),
        ("tags", ["a\0"]),
        ("tags", [str(n) for n in range(65)]),
        ("dimensions", None),
        ("dimensions", []),
        ("dimensions", {"a": 1}),
        ("dimensions", {1: "a"}),
        ("dimensions", {"": "a"}),
        ("dimensions", {"a": "x" * 257}),
        ("dimensions", {"a": "\udfff"}),
        ("dimensions", {str(n): "x" for n in range(17)}),
        ("measures", None),
        ("measures", {"a": "1"}),
        ("measures", {"a": True}),
        ("measures", {"a": nan}),
        ("measures", {"a": 2**64}),
        ("measures", {"a\0": 1}),
        ("measures", {str(n): 1 for n in range(33)}),
    ],
)
def test_a_wrong_field_is_named(field, value):
    assert refused(**{field: value}).field == field


@pytest.mark.parametrize("bad", ["\0secret", "secret\ud800"])
def test_external_ids_have_clean_characters_and_are_not_quoted(bad):
    error = refused(id=bad, occurred_at=NOW)
    assert error.field == "external_id"
    assert "secret" not in str(error)


def test_what_can_be_mended_is_mended():
    class Status(StrEnum):
        DONE = "done"

    draft = settled(
        status=Status.DONE, thread_id="", tags=("a", "b", "a"), duration_ms=5, cost=2, confidence=1
    )
    assert type(draft.status) is str
    assert draft.status == "done"
    assert draft.thread_id is None
    assert draft.tags == ["a", "b"]
    assert [type(v) for v in (draft.duration_ms, draft.cost, draft.confidence)] == [float] * 3


def test_bounds_are_inclusive():
    settled(
        kind="a" * 64,
        thread_id="x" * 256,
        rating=1,
        confidence=0,
        input_tokens=2**63 - 1,
        tags=[str(n) for n in range(64)],
        dimensions={str(n): "" for n in range(16)},
        measures={str(n): -n for n in range(32)},
        id="x" * 512,
        occurred_at=NOW,
    )
    settled(rating=5, confidence=1.0, input_tokens=0)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=300),
    st.binary(max_size=4),
    st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.floats()), max_size=3),
)
FIELDS = (
    "id", "external_id", "kind", "occurred_at", *TEXT_FIELDS, "success", "duration_ms",
    "input_tokens", "output_tokens", "cost", "rating", "confidence", "turn", "tags", "dimensions",
    "measures",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4))
def test_any_draft_is_settled_or_refused_by_a_named_field(values):
    draft = Draft(**values)
    field = wrong_field(draft)
    assert field is None or field in FIELDS
    if field is None:
        assert is_record_id(draft.id)
        assert id_millis(draft.id) == draft.occurred_at // 1000
        texts = "".join(getattr(draft, name) or "" for name in ("external_id", *TEXT_FIELDS))
        assert "\0" not in texts
        assert texts.encode().decode() == texts
        before = asdict(draft)
        assert wrong_field(draft) is None
        assert asdict(draft) == before


def wrong_field(draft: Draft) -> str | None:
    try:
        settle(draft, now=NOW, key=KEY, random_bytes=fixed)
    except InvalidInput as error:
        return error.field
    return None
