"""The flat JSON object of a record, out and in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.model.errors import InvalidInput
from analect.model.flat import (
    draft_from_flat,
    draft_to_flat,
    format_time,
    parse_time,
    to_flat,
)
from analect.model.ids import EARLIEST, RecordId
from analect.model.record import Draft, Record

AT = 1_751_284_800_123_456


def record(**changes):
    given = {
        "id": RecordId("0197c0a1-e07b-7000-8000-000000000001"),
        "kind": "interaction",
        "occurred_at": AT,
        "received_at": AT + 5,
    }
    return Record(**(given | changes))


def test_what_was_not_said_is_left_out():
    assert to_flat(record()) == {
        "id": "0197c0a1-e07b-7000-8000-000000000001",
        "kind": "interaction",
        "occurred_at": "2025-06-30T12:00:00.123456Z",
        "received_at": "2025-06-30T12:00:00.123461Z",
    }


def test_an_empty_payload_is_content_and_false_is_said():
    flat = to_flat(record(input="", output=[], success=False, turn=0, cost=0.0))
    assert flat["input"] == ""
    assert flat["output"] == []
    assert flat["success"] is False
    assert flat["turn"] == 0
    assert flat["cost"] == 0.0


def test_the_unusual_state_and_tier_are_said():
    flat = to_flat(record(payload_state="erased", tier="warm"))
    assert (flat["payload_state"], flat["tier"]) == ("erased", "warm")


def test_an_exported_record_comes_back_as_the_draft_it_was():
    held = record(
        project="shop",
        tags=("a", "b"),
        dimensions={"language": "de"},
        measures={"citations": 2.0},
        input={"messages": [1, None]},
        payload_state="omitted",
    )
    draft = draft_from_flat(to_flat(held), exported=True)
    assert draft == Draft(
        id=held.id,
        occurred_at=AT,
        project="shop",
        tags=["a", "b"],
        dimensions={"language": "de"},
        measures={"citations": 2.0},
        input={"messages": [1, None]},
    )
    assert draft_from_flat(draft_to_flat(draft)) == draft


def test_a_store_field_is_unknown_to_a_caller():
    with pytest.raises(InvalidInput) as caught:
        draft_from_flat({"received_at": "2025-06-30T12:00:00Z"})
    assert caught.value.field == "received_at"


def test_unknown_fields_are_named():
    with pytest.raises(InvalidInput, match="colour, shape") as caught:
        draft_from_flat({"shape": 1, "colour": 2, "input": "x"})
    assert caught.value.field == "colour"


@pytest.mark.parametrize(("name", "value"), [("tags", "a"), ("dimensions", ["a"]), ("measures", 3)])
def test_collections_have_their_shape(name, value):
    with pytest.raises(InvalidInput) as caught:
        draft_from_flat({name: value})
    assert caught.value.field == name


def test_null_is_not_said():
    assert draft_from_flat({"kind": None, "tags": None, "occurred_at": None}) == Draft()


def test_only_an_object_is_a_record():
    with pytest.raises(InvalidInput, match="JSON object"):
        draft_from_flat(["input"])


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-06-30T12:00:00Z", 1_751_284_800_000_000),
        ("2025-06-30t14:00:00.5+02:00", 1_751_284_800_500_000),
        ("2025-06-30 07:00:00.123456789-05:00", 1_751_284_800_123_456),
    ],
)
def test_times_with_a_zone(text, at):
    assert parse_time(text, field="occurred_at") == at


@pytest.mark.parametrize(
    "text",
    [
        "2025-06-30T12:00:00",
        "2025-06-30",
        "20250630T120000Z",
        "2025-02-30T12:00:00Z",
        "2025-06-30T25:00:00Z",
        "2025-06-30T12:00:00+99:00",
        "2025-06-30T12:00:00Z ",
        "２０２５-06-30T12:00:00Z",
        1_751_284_800,
        None,
        "",
    ],
)
def test_other_times_are_refused(text):
    with pytest.raises(InvalidInput) as caught:
        parse_time(text, field="from")
    assert caught.value.field == "from"


@given(st.integers(EARLIEST, EARLIEST + 10**16))
def test_a_time_survives_the_way_out_and_in(at):
    assert parse_time(format_time(at), field="occurred_at") == at
