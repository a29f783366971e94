"""Rows on their way into files: made ahead, cut into row groups, put between others."""

from __future__ import annotations

import threading
from contextlib import closing

import pyarrow as pa
import pytest

from analect.lifecycle.tiers.ahead import ahead, overlapped
from analect.lifecycle.tiers.columns import SCHEMA
from analect.lifecycle.tiers.copying import among
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


def test_an_item_is_taken_while_the_one_before_it_is_finished():
    taken = [threading.Event() for _ in range(6)]

    def items():
        for number, one in enumerate(taken):
            one.set()
            yield number

    def finish(number):
        following = taken[number + 1 : number + 2]
        return number, all(one.wait(30) for one in following)

    assert list(overlapped(items(), finish)) == [(number, True) for number in range(6)]


def test_what_was_taken_is_finished_after_an_error_and_when_no_more_is_wanted():
    taken, finished = [], []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    def finish(number):
        finished.append(number)
        if number == 3:
            raise ValueError("the fourth")
        return number

    walk = overlapped(items(), finish)
    assert [next(walk) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(walk)
    assert sorted(finished) == taken
    with closing(overlapped(items(), finish)) as walk:
        assert next(walk) == 0
    assert sorted(finished) == sorted(taken)
    assert len(taken) < 12


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
