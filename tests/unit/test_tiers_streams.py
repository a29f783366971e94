"""Rows on their way into files: made ahead, cut into row groups, put between others."""

from __future__ import annotations

import threading
from contextlib import closing

import pyarrow as pa
import pytest

from analect.lifecycle.tiers.ahead import ahead
from analect.lifecycle.tiers.columns import SCHEMA
from analect.lifecycle.tiers.moving import among
from analect.lifecycle.tiers.part import ROW_GROUP, full_groups


def of(numbers):
    ids = [f"{number:036}" for number in numbers]
    return pa.Table.from_pylist([{"id": one, "kind": "x"} for one in ids], schema=SCHEMA)


def ids_of(tables):
    return [int(one) for table in tables for one in table.column("id").to_pylist()]


def test_items_come_in_order_and_so_does_an_error():
    def items():
        yield from range(5)
        raise ValueError("the sixth")

    walk = ahead(items(), 3)
    assert [next(walk) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="the sixth"):
        next(walk)


def test_so_many_are_made_beforehand_and_a_closed_one_makes_no_more():
    made, asked = [], threading.Semaphore(0)

    def items():
        for number in range(100):
            made.append(number)
            asked.release()
            yield number

    with closing(ahead(items(), 4)) as walk:
        assert next(walk) == 0
        for _ in range(5):  # the one that was taken, and four
            assert asked.acquire(timeout=30)
    assert made == list(range(5))


def test_row_groups_are_full_but_the_last():
    sizes = (10, ROW_GROUP, 3 * ROW_GROUP + 5, 1)
    start, tables = 0, []
    for size in sizes:
        tables.append(of(range(start, start + size)))
        start += size
    groups = list(full_groups(tables))
    assert [len(one) for one in groups] == [ROW_GROUP] * 4 + [16]
    assert ids_of(groups) == list(range(start))


def test_rows_between_those_of_others_once_each():
    held = of([1, 3, 20, 40, 41])
    tables = [of([0, 2, 3, 4]), of([20, 21]), of([22, 23])]
    found = ids_of(among(held, tables))
    assert found == [0, 1, 2, 3, 4, 20, 21, 22, 23, 40, 41]
