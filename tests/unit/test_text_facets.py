import sqlite3

import pytest

from analect.index.facets import DELETE, INSERT, SCHEMA, base_row, labels, where_clause
from analect.index.protocols import Facets
from analect.model.errors import InvalidQuery
from analect.model.ids import id_bytes, id_text, new_id
from analect.model.query import NumberRange, RecordFilter

START = 1_700_000_000_000_000


@pytest.fixture
def connection():
    connection = sqlite3.connect(":memory:")
    for statement in SCHEMA:
        connection.execute(statement)
    for number in range(20):
        at = START + number * 1500
        facets = Facets(
            id=new_id(at, lambda n, number=number: bytes([number]) * n),
            occurred_at=at,
            texts={"kind": "task" if number % 2 else "event", "thread_id": f"t{number % 3}"},
            tags=("a",) if number % 4 else ("a", "b c"),
            dimensions={"language": "de"} if number < 5 else {},
            numbers={"cost": number / 2} if number else {},
            success=None if number == 7 else number > 10,
        )
        connection.execute(INSERT, (*base_row(number + 1, facets), labels(facets)))
    yield connection
    connection.close()


def found(connection, where):
    sql, parameters = where_clause(where)
    rows = connection.execute(f"SELECT seq FROM facets WHERE {sql} ORDER BY seq", parameters)
    return [seq - 1 for (seq,) in rows]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (RecordFilter(), list(range(20))),
        (RecordFilter(equals={"kind": "task"}), list(range(1, 20, 2))),
        (RecordFilter(equals={"kind": "task", "thread_id": "t0"}), [3, 9, 15]),
        (RecordFilter(equals={"kind": "t0"}), []),
        (RecordFilter(tags=("a", "b c")), [0, 4, 8, 12, 16]),
        (RecordFilter(tags=("b",)), []),
        (RecordFilter(dimensions={"language": "de"}), [0, 1, 2, 3, 4]),
        (RecordFilter(success=True), list(range(11, 20))),
        (RecordFilter(success=False), [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]),
        (RecordFilter(since=START + 1500, until=START + 4500), [1, 2]),
        (RecordFilter(since=START + 1501, until=START + 4501), [2, 3]),
        (RecordFilter(numbers={"cost": NumberRange(9, None)}), [18, 19]),
        (RecordFilter(numbers={"cost": NumberRange(None, 1)}), [1, 2]),
        (RecordFilter(numbers={"cost": NumberRange()}), list(range(1, 20))),
    ],
)
def test_a_filter_finds_exactly_its_records(connection, where, expected):
    assert found(connection, where) == expected


def test_a_removed_record_is_found_no_more(connection):
    (raw,) = connection.execute("SELECT id FROM facets WHERE seq = 1").fetchone()
    assert id_bytes(id_text(raw)) == raw
    connection.execute(DELETE, (raw,))
    assert found(connection, RecordFilter(tags=("b c",))) == [4, 8, 12, 16]


def test_an_unknown_number_is_refused(connection):
    with pytest.raises(InvalidQuery) as caught:
        where_clause(RecordFilter(numbers={"1; DROP": NumberRange(1, 2)}))
    assert caught.value.field == "1; DROP"
