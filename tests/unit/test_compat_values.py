"""What older programs pass, on its way to JSON and to a record's fields."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import sqlite3
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.compat.fields import draft_of, filter_of, tags_of
from analect.compat.plain import mapping, moment, plain
from analect.model.errors import InvalidInput
from analect.model.record import MAX_DEPTH, Draft
from analect.privacy.pseudonymise import Pseudonymiser

NOON = 1_751_284_800_000_000  # 2025-06-30T12:00:00Z


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    when: datetime


class Model(pydantic.BaseModel):
    name: str
    inner: dict[str, Any]


class Bag:
    def __init__(self) -> None:
        self.number = "INC1"
        self._hidden = 1


def row() -> sqlite3.Row:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    try:
        found: sqlite3.Row = connection.execute("SELECT 7 AS id, 'x' AS title").fetchone()
    finally:
        connection.close()
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (True, True),
        (2**70, str(2**70)),
        (float("nan"), None),
        (Decimal("1.50"), "1.50"),
        (Colour.RED, "red"),
        (b"text", "text"),
        (b"\xff\xfe", "//4="),
        (date(2025, 6, 30), "2025-06-30"),
        (datetime(2025, 6, 30, 12), "2025-06-30T12:00:00+00:00"),  # noqa: DTZ001
        (timedelta(seconds=90), 90.0),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"b", "a"}, ["a", "b"]),
        ((1, [2]), [1, [2]]),
        ({1: Colour.RED, Colour.RED: 2}, {"1": "red", "red": 2}),
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), [1, 2]),
        ("a\0b", "a\ufffdb"),
        ("\ud83d\ude00 \ud800", "\U0001f600 \ufffd"),
        (ValueError("what"), "what"),
        (collections.namedtuple("Pair", "a b")(1, 2), {"a": 1, "b": 2}),  # noqa: PYI024
        (
            Point(1, datetime(2025, 6, 30, tzinfo=UTC)),
            {"x": 1, "when": "2025-06-30T00:00:00+00:00"},
        ),
        (Model(name="m", inner={"k": {1}}), {"name": "m", "inner": {"k": [1]}}),
        (Bag(), {"number": "INC1"}),
        (row(), {"id": 7, "title": "x"}),
    ],
)
def test_everything_a_program_passes_becomes_json(given: Any, expected: Any) -> None:
    assert plain(given) == expected
    json.dumps(plain(given))


def test_what_nests_too_deep_or_into_itself_ends() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["me"] = circle
    drafts = [Draft(input=plain(deep), attributes={"x": plain(circle)})]
    assert Pseudonymiser(b"k" * 32).drafts(drafts) == [None]
    assert MAX_DEPTH == 64


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
        lambda inner: st.one_of(
            st.lists(inner), st.dictionaries(st.one_of(st.text(), st.integers()), inner)
        ),
        max_leaves=20,
    )
)
def test_any_value_can_be_stored(value: Any) -> None:
    assert Pseudonymiser(b"k" * 32).drafts([Draft(input=plain(value))]) == [None]
    assert plain(plain(value)) == plain(value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2025, 6, 30, 12),  # noqa: DTZ001
        datetime(2025, 6, 30, 14, tzinfo=timezone(timedelta(hours=2))),
        "2025-06-30T12:00:00",
        "2025-06-30 12:00:00",
        "2025-06-30T14:00:00+02:00",
        "2025-06-30T12:00:00Z",
        1751284800,
        1751284800.0,
        1751284800000,
        NOON,
        "1751284800",
    ],
)
def test_a_time_without_a_zone_is_utc(value: Any) -> None:
    assert moment(value, field="t") == NOON


@pytest.mark.parametrize("value", ["yesterday", True, [], float("inf"), "nan"])
def test_what_is_no_time_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        moment(value, field="start_time")
    assert caught.value.field == "start_time"


def test_no_fields_are_no_mapping() -> None:
    for value in (None, "text", 7, [1], object(), Colour.RED, Model):
        assert mapping(value) is None


def test_older_names_find_their_fields_and_the_rest_is_kept() -> None:
    draft = draft_of(
        {
            "prompt": "hi",
            "completion": {"text": "there"},
            "conversation_id": 5,
            "user": {"id": "u-1", "email": "a@example.org"},
            "model_name": "m",
            "prompt_tokens": "12",
            "processing_time": 1.5,
            "rating": 4.5,
            "timestamp": "2025-06-30T12:00:00",
            "metadata": {"a": 1},
            "colour": Colour.RED,
            "nothing": None,
        },
        kind="interaction",
    )
    assert (draft.input, draft.output) == ("hi", {"text": "there"})
    assert (draft.thread_id, draft.subject, draft.model) == ("5", "u-1", "m")
    assert (draft.input_tokens, draft.duration_ms, draft.occurred_at) == (12, 1500.0, NOON)
    assert draft.rating is None
    assert draft.attributes == {
        "a": 1,
        "colour": "red",
        "rating": 4.5,
        "subject": {"id": "u-1", "email": "a@example.org"},
    }


def test_a_name_that_is_too_long_is_cut_and_kept_whole_but_an_id_is_not_cut() -> None:
    draft = draft_of({"task_name": "n" * 300, "tags": ["t" * 300, "u"]}, kind="task")
    assert draft.name == "n" * 256
    assert draft.tags == ["t" * 256, "u"]
    assert draft.attributes == {"name": "n" * 300, "tags": ["t" * 300, "u"]}
    assert draft_of({"thread_id": "t" * 300}, kind="task").thread_id == "t" * 300


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, []),
        ("a, b,,a", ["a", "b"]),
        (["a", 1, "", None, "a"], ["a", "1"]),
        ({"k": "v"}, ["k:v"]),
        (7, ["7"]),
    ],
)
def test_tags_come_in_many_forms(given: Any, expected: list[str]) -> None:
    assert tags_of(given) == expected


def test_a_question_by_older_names() -> None:
    where = filter_of({"service_name": "s", "conversation_id": 5, "colour": "red"}, ["a"])
    assert where.equals == {"service": "s", "thread_id": "5"}
    assert where.dimensions == {"colour": "red"}
    assert where.tags == ("a",)
