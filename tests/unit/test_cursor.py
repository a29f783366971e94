import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.model.errors import InvalidQuery
from analect.model.query import NumberRange, RecordFilter
from analect.store.cursor import Cursors, digest

CURSORS = Cursors(b"k" * 32)
QUERY = digest("records", RecordFilter(), True)
URL_SAFE = set(string.ascii_letters + string.digits + "-_")


@given(st.binary(max_size=64), st.binary(min_size=16, max_size=16))
def test_a_cursor_comes_back_as_it_went(position, query):
    cursor = CURSORS.make(query, position)
    assert set(cursor) <= URL_SAFE
    assert CURSORS.read(query, cursor) == position


@given(st.binary(max_size=40), st.data())
def test_any_other_text_is_refused(position, data):
    cursor = CURSORS.make(QUERY, position)
    at = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.sampled_from(sorted(URL_SAFE | {"=", " ", "é"})))
    for other in (cursor[:at] + letter + cursor[at + 1 :], cursor[:at], cursor + letter):
        if other != cursor:
            refused(CURSORS, QUERY, other)


@given(st.text(max_size=60))
def test_noise_is_refused(text):
    refused(CURSORS, QUERY, text)


def refused(cursors, query, text):
    with pytest.raises(InvalidQuery) as caught:
        cursors.read(query, text)
    assert caught.value.field == "cursor"


def test_a_cursor_of_another_store_or_query_is_refused():
    cursor = CURSORS.make(QUERY, b"here")
    refused(Cursors(b"other" * 8), QUERY, cursor)
    refused(CURSORS, digest("thread", RecordFilter(), True), cursor)


@pytest.mark.parametrize(
    "other",
    [
        RecordFilter(equals={"kind": "task"}),
        RecordFilter(tags=("a",)),
        RecordFilter(dimensions={"a": "b"}),
        RecordFilter(numbers={"cost": NumberRange(0)}),
        RecordFilter(numbers={"cost": NumberRange(None, 0)}),
        RecordFilter(success=False),
        RecordFilter(since=1),
        RecordFilter(until=1),
    ],
)
def test_every_part_of_a_filter_counts(other):
    assert digest("records", other, True) != QUERY


def test_the_order_of_names_does_not_count():
    one = RecordFilter(equals={"kind": "a", "model": "b"}, tags=("x", "y"))
    two = RecordFilter(equals={"model": "b", "kind": "a"}, tags=("y", "x"))
    assert digest("records", one) == digest("records", two)
