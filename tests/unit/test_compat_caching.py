"""Results kept for a while, and computed once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from analect.compat.caching import cache_result


class Timer:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_result_is_kept_for_its_time_and_by_its_arguments() -> None:
    timer = Timer()
    calls: list[Any] = []

    @cache_result(10, timer=timer)
    def look(what: Any, *, more: Any = None) -> int:
        """Look it up."""
        calls.append((what, more))
        return len(calls)

    assert look.__doc__ == "Look it up."
    assert [look({"a": [1]}), look({"a": [1]}), look({"a": [2]})] == [1, 1, 2]
    assert [look(1), look(True), look(1.0), look(1, more={1, 2})] == [3, 4, 5, 6]
    timer.now = 9.9
    assert look({"a": [1]}) == 1
    timer.now = 10.0
    assert look({"a": [1]}) == 7
    look.cache_clear()
    assert look({"a": [1]}) == 8


def test_none_is_a_result_and_an_exception_is_not() -> None:
    calls = []

    @cache_result(10)
    def look(fails: bool) -> None:
        calls.append(fails)
        if fails:
            raise ValueError

    look(False)
    look(False)
    for _ in range(2):
        with pytest.raises(ValueError):
            look(True)
    assert calls == [False, True, True]


def test_the_number_of_results_is_bounded() -> None:
    calls = []

    @cache_result(10, max_results=2)
    def look(n: int) -> int:
        calls.append(n)
        return n

    for n in (1, 2, 3, 3, 2, 1):
        look(n)
    assert calls == [1, 2, 3, 1]


def test_an_argument_that_cannot_be_compared_is_computed_each_time() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

    calls = []

    @cache_result(10)
    def look(_: Any) -> None:
        calls.append(1)

    look(Odd())
    look(Odd())
    assert len(calls) == 2


def test_threads_that_ask_at_once_wait_for_one_computation() -> None:
    calls = []
    begun = threading.Barrier(8)
    inside = threading.Event()

    @cache_result(10)
    def look(n: int) -> int:
        calls.append(n)
        assert inside.wait(10)
        return n

    def ask(_: int) -> int:
        begun.wait()
        inside.set()
        return look(7)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [7] * 8
    assert calls == [7]


def test_coroutines_that_ask_at_once_wait_for_one_computation() -> None:
    calls = []

    @cache_result(10)
    async def look(n: int) -> int:
        calls.append(n)
        await asyncio.sleep(0)
        if len(calls) == 1:
            raise ValueError
        return n

    async def program() -> list[Any]:
        return await asyncio.gather(*(look(7) for _ in range(5)), return_exceptions=True)

    answers = asyncio.run(program())
    assert isinstance(answers[0], ValueError)
    assert answers[1:] == [7] * 4
    assert calls == [7, 7]
    assert asyncio.run(look(7)) == 7


def test_one_who_gives_up_leaves_the_others_to_it() -> None:
    calls = []

    async def program() -> int:
        first_is_in = asyncio.Event()

        @cache_result(10)
        async def look() -> int:
            calls.append(1)
            if len(calls) == 1:
                first_is_in.set()
                await asyncio.Event().wait()
            return 5

        first = asyncio.create_task(look())
        await first_is_in.wait()
        second = asyncio.create_task(look())
        first.cancel()
        return await second

    assert asyncio.run(program()) == 5
    assert len(calls) == 2
