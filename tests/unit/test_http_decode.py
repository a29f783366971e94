"""Bodies of records: what is taken, and what is refused with which field."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.model.errors import InvalidQuery, TooLarge
from analect.model.flat import draft_from_flat
from analect_ingest.decode import Limits, decode_json, decode_lines, decode_value

LIMITS = Limits(item_bytes=1000, items=10)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner)
    ),
    max_leaves=10,
)


def _refused(body: bytes) -> list[tuple[int, str | None]]:
    return [(one.index, one.field) for one in decode_json(body, LIMITS).rejected]


@given(st.lists(json_values, max_size=5))
def test_what_json_says_is_what_the_draft_says(values):
    wide = Limits(10**6, 10)
    flat = [{"input": value, "attributes": [value]} for value in values]
    body = json.dumps(flat).encode()
    expected = [draft_from_flat(one) for one in flat]
    assert decode_json(body, wide).drafts == expected
    lines = b"\r\n\n".join(json.dumps(one).encode() for one in flat)
    assert decode_lines(lines, wide).drafts == expected


def test_one_object_is_one_item():
    decoded = decode_json(
        b' {"kind":"task","occurred_at":"2025-06-30T14:00:00.5+02:00","model":null} ', LIMITS
    )
    (draft,) = decoded.drafts
    assert draft.kind == "task"
    assert draft.occurred_at == 1751284800500000
    assert draft.model is None


def test_good_items_among_bad_ones_are_taken():
    decoded = decode_json(b'[{"input":1},{"x":1},3,{"input":NaN},{"input":2}]', LIMITS)
    assert [draft.input for draft in decoded.drafts] == [1, 2]
    assert decoded.places == [0, 4]
    assert decoded.count == 5
    assert [one.index for one in decoded.rejected] == [1, 2, 3]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ('{"input":NaN}', "input"),
        ('{"input":[1,{"a":-Infinity}]}', "input[1].a"),
        ('{"cost":1e999}', "cost"),
        ('{"attributes":{"n":-1e400}}', "attributes.n"),
        ('{"rating":99999999999999999999}', "rating"),
        ('{"input":9223372036854775808}', "input"),
        ('{"input":' + "9" * 700 + "}", "input"),
        ('{"input":1,"input":2}', "input"),
        ('{"variables":{"b":{"a":1,"a":2}}}', "variables.b.a"),
        ('{"variables":{"anna@example.org":NaN}}', "variables.*"),
        ('{"colour":"red"}', "colour"),
        ('{"anna@example.org":"red"}', "(16 characters)"),
        ('{"occurred_at":"2025-06-30T12:00:00"}', "occurred_at"),
        ('{"occurred_at":1751284800}', "occurred_at"),
        ('{"tags":"one"}', "tags"),
        ('{"dimensions":[]}', "dimensions"),
        ('{"measures":3}', "measures"),
        ('{"output":"' + "x" * 2000 + '"}', "output"),
        ("7", "body"),
    ],
)
def test_a_bad_item_is_refused_by_its_field(item, field):
    assert _refused(f"[{item}]".encode()) == [(0, field)]
    decoded = decode_lines(f'{{"input":1}}\n{item}\n'.encode(), LIMITS)
    assert len(decoded.drafts) == 1
    assert [(one.index, one.field) for one in decoded.rejected] == [(1, field)]


def test_no_message_quotes_a_value():
    body = b'[{"tags":"s3cret"},{"s3cret@x":1},{"occurred_at":"s3cret"},{"input":"s3cret","input":NaN}]'
    decoded = decode_json(body, LIMITS)
    assert len(decoded.rejected) == 4
    assert not any("s3cret" in one.message + str(one.field) for one in decoded.rejected)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b'"text"', b"7", b"[1", b"[{}", b"[{},]", b"[,]", b"{}{}", b"[] []", b'{"a":',
        b'{"a":"\x01"}', b'{"a":01}', b"\xff{}", b"\xef\xbb\xbf{}", b"{'a':1}", b'{"a":"\\ud8"}',
        b'{"input":' + b"[" * 100_000, b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused_whole(body):
    with pytest.raises(InvalidQuery):
        decode_json(body, LIMITS)


def test_a_wrong_line_is_one_item():
    decoded = decode_lines(b'{"input":1}\n\n{"input":\n \r\n\xff\n{"input":2}', LIMITS)
    assert [draft.input for draft in decoded.drafts] == [1, 2]
    assert [one.index for one in decoded.rejected] == [1, 2]


def test_too_many_items_are_refused_whole():
    with pytest.raises(TooLarge):
        decode_json(b"[" + b"{}," * 10 + b"{}]", LIMITS)
    with pytest.raises(TooLarge):
        decode_lines(b"{}\n" * 11, LIMITS)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(body):
    with suppress(InvalidQuery):
        decode_json(body, LIMITS)


@given(json_values)
def test_a_single_value_comes_as_it_is(value):
    assert decode_value(json.dumps(value).encode()) == value


@pytest.mark.parametrize("body", [b'"\\ud800"', b'{"a":1,"a":2}', b"NaN", b"[1e999]", b"{} {}"])
def test_a_single_value_is_read_as_strictly(body):
    with pytest.raises(InvalidQuery):
        decode_value(body)
