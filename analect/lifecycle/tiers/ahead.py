"""Getting the next things ready while the last ones are worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

T = TypeVar("T")

_END: Any = object()


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, of which a thread makes up to ``depth`` beforehand.

    What ``items`` raises is raised here. Close it when the rest is not wanted.
    """
    pool = ThreadPoolExecutor(1, "ahead")
    try:
        coming = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := coming.popleft().result()) is not _END:
            coming.append(pool.submit(next, items, _END))
            yield cast("T", item)
    finally:
        pool.shutdown(cancel_futures=True)
