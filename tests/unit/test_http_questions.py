"""Query parameters as filters, pages and searches."""

from __future__ import annotations

import pytest

from analect.model.errors import InvalidQuery
from analect.model.query import NumberRange
from analect_ingest import questions
from analect_ingest.describe import FILTERS


def test_every_kind_of_filter():
    where, page = questions.records_question(
        [
            ("kind", "task"),
            ("thread", "t"),
            ("session_id", "s"),
            ("tag", "a"),
            ("tag", "b"),
            ("dim.language", "de"),
            ("success", "false"),
            ("rating", "5"),
            ("min_cost", "0.5"),
            ("max_cost", "2"),
            ("from", "2025-06-30T12:00:00Z"),
            ("to", "2025-06-30T14:00:00 02:00"),
            ("limit", "7"),
            ("cursor", "c"),
            ("order", "asc"),
        ]
    )
    assert where.equals == {"kind": "task", "thread_id": "t", "session_id": "s"}
    assert where.tags == ("a", "b")
    assert where.dimensions == {"language": "de"}
    assert where.success is False
    assert where.numbers == {"rating": NumberRange(5, 5), "cost": NumberRange(0.5, 2)}
    assert where.since == where.until == 1751284800000000
    assert (page.limit, page.cursor, page.descending) == (7, "c", False)


def test_every_filter_that_is_documented_is_understood():
    samples = {"boolean": "true", "number": "1", "array": "x"}
    for one in FILTERS:
        schema = one["schema"]
        value = (
            "2025-01-01T00:00:00Z"
            if schema.get("format") == "date-time"
            else samples.get(schema["type"], "x")
        )
        questions.records_question([(one["name"], value)])


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        ([("colour", "red")], "colour"),
        ([("anna@example.org", "x")], "(unknown)"),
        ([("limit", "0")], "limit"),
        ([("limit", "1001")], "limit"),
        ([("limit", "١")], "limit"),
        ([("limit", "9" * 30)], "limit"),
        ([("success", "yes")], "success"),
        ([("rating", "nan")], "rating"),
        ([("rating", "1_0")], "rating"),
        ([("min_cost", "inf")], "min_cost"),
        ([("from", "2025-06-30T12:00:00")], "from"),
        ([("to", "yesterday")], "to"),
        ([("to", "9999-12-31T23:59:59-23:59")], "to"),
        ([("to", "0001-01-01T00:00:00+10:00")], "to"),
        ([("kind", "a"), ("kind", "b")], "kind"),
        ([("thread", "a"), ("thread_id", "b")], "thread_id"),
        ([("thread", "a\0")], "thread"),
        ([("thread", "\ud800")], "thread"),
        ([("thread", "x" * 5000)], "thread"),
        ([("tier", "lukewarm")], "tier"),
        ([("order", "up")], "order"),
        ([("dim.", "x")], "(unknown)"),
    ],
)
def test_a_wrong_parameter_is_named_and_its_value_not_said(pairs, field):
    with pytest.raises(InvalidQuery) as caught:
        questions.records_question(pairs)
    assert caught.value.field == field
    assert "anna" not in str(caught.value)


def test_a_search_by_address_and_by_body_is_the_same():
    by_address = questions.search_question(
        [
            ("q", "lost parcel"),
            ("mode", "hybrid"),
            ("tag", "a"),
            ("dim.language", "de"),
            ("min_rating", "4"),
            ("success", "true"),
            ("limit", "5"),
            ("explain", "true"),
        ]
    )
    by_body = questions.search_question(
        questions.pairs_of(
            {
                "q": "lost parcel",
                "mode": "hybrid",
                "tag": ["a"],
                "dimensions": {"language": "de"},
                "min_rating": 4,
                "success": True,
                "limit": 5,
                "explain": True,
                "cursor": None,
            }
        )
    )
    assert by_address == by_body
    assert by_address.filter.numbers == {"rating": NumberRange(4, None)}


@pytest.mark.parametrize(
    "body", [[], "x", {"q": {}}, {"q": "x", "tag": [1.5, None]}, {}, {"q": " "}, {"q": "x", "z": 1}]
)
def test_a_wrong_search_body_is_refused(body):
    with pytest.raises(InvalidQuery):
        questions.search_question(questions.pairs_of(body))


def test_calls_know_only_their_own_parameters():
    assert questions.changes_question([("after", "c"), ("limit", "3")]) == ("c", 3)
    assert questions.related_question([]) == (1, 100)
    assert questions.version_question([("version", "2")]) == 2
    assert questions.documents_question([("owner", "o"), ("status", "s")])[:2] == ("o", "s")
    for ask in (
        questions.changes_question,
        questions.related_question,
        questions.version_question,
        questions.documents_question,
        questions.thread_question,
        questions.no_question,
    ):
        with pytest.raises(InvalidQuery):
            ask([("kind", "task")])
