"""Getting the next things ready while the last ones are worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any, TypeVar, cast

T = TypeVar("T")
S = TypeVar("S")

_END: Any = object()


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, of which a thread makes up to ``depth`` beforehand.

    What ``items`` raises is raised here. Close it when the rest is not wanted.
    """
    pool = ThreadPoolExecutor(1, "ahead")
    yield from _in_order(pool, lambda: pool.submit(next, items, _END), depth)


def overlapped(items: Iterator[S], finish: Callable[[S], T]) -> Generator[T]:
    """What ``finish`` makes of the items, in their order, two beforehand: while a thread finishes one,
    another takes the next item. An item that was taken is finished, whatever happens.

    What either raises is raised here. Close it when the rest is not wanted.
    """
    pool = ThreadPoolExecutor(2, "overlapped")
    before = Event()
    before.set()

    def turn(mine: Event, following: Event) -> T:
        mine.wait()
        try:
            item = next(items, _END)
        finally:
            following.set()
        return cast("T", _END) if item is _END else finish(item)

    def submit() -> Future[T]:
        nonlocal before
        mine, before = before, Event()
        return pool.submit(turn, mine, before)

    yield from _in_order(pool, submit, 2)


def _in_order(
    pool: ThreadPoolExecutor, submit: Callable[[], Future[T]], depth: int
) -> Generator[T]:
    try:
        coming = deque(submit() for _ in range(depth))
        while (item := coming.popleft().result()) is not _END:
            coming.append(submit())
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
