"""Results kept in memory for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from analect.cache.keeping import Keeping
from analect.cache.memory import MAX_RESULTS, Memory, key_of

P = ParamSpec("P")
R = TypeVar("R")


def cache_result(
    ttl_seconds: float = 300.0,
    *,
    max_results: int = MAX_RESULTS,
    timer: Callable[[], float] = time.monotonic,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep a function's results for ``ttl_seconds``, by its arguments; functions and coroutine
    functions alike. ``function.cache_clear()`` forgets them.

    Callers that ask the same at the same time wait for one computation. An exception is not
    kept: whoever waited tries again. Lists, dicts and sets may be arguments; a call with an
    argument that cannot be compared is never kept. Every caller gets the same object.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        memory = Memory(timer, max_results)
        kept: Any = Keeping(memory, ttl_seconds, key_of).of(function)
        kept.cache_clear = memory.clear
        return kept  # type: ignore[no-any-return]

    return decorate
