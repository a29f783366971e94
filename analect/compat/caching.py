"""Results kept in memory for a while."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MAX_RESULTS = 1024


@dataclass(slots=True)
class _Gate:
    """Lets one caller of a key compute at a time; ``waiting`` counts who needs it."""

    lock: Any
    waiting: int = 0


@dataclass(slots=True)
class _Results:
    """The newest results by key, each with the time its life ends."""

    ttl: float
    timer: Callable[[], float]
    size: int
    kept: OrderedDict[Hashable, tuple[float, Any]] = field(default_factory=OrderedDict)
    gates: dict[Hashable, _Gate] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Hashable) -> tuple[bool, Any]:
        with self.guard:
            found = self.kept.get(key)
            if found is None or found[0] <= self.timer():
                return False, None
            return True, found[1]

    def put(self, key: Hashable, value: Any) -> None:
        with self.guard:
            now = self.timer()
            self.kept[key] = (now + self.ttl, value)
            self.kept.move_to_end(key)
            while self.kept:  # one life for all: the oldest ends first
                oldest = next(iter(self.kept))
                if len(self.kept) <= self.size and self.kept[oldest][0] > now:
                    break
                del self.kept[oldest]

    def enter(self, key: Hashable, make: Callable[[], Any]) -> _Gate:
        with self.guard:
            gate = self.gates.setdefault(key, _Gate(None))
            if gate.lock is None:
                gate.lock = make()
            gate.waiting += 1
            return gate

    def leave(self, key: Hashable) -> None:
        with self.guard:
            gate = self.gates[key]
            gate.waiting -= 1
            if not gate.waiting:
                del self.gates[key]

    def clear(self) -> None:
        with self.guard:
            self.kept.clear()


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
        results = _Results(ttl_seconds, timer, max_results)
        kept: Any = (
            _asynchronous(function, results)
            if inspect.iscoroutinefunction(function)
            else _synchronous(function, results)
        )
        kept.cache_clear = results.clear
        return kept  # type: ignore[no-any-return]

    return decorate


def _synchronous(function: Callable[..., Any], results: _Results) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        key = _key(args, kwargs)
        if key is None:
            return function(*args, **kwargs)
        found, value = results.get(key)
        if found:
            return value
        gate: AbstractContextManager[Any] = results.enter(key, threading.RLock).lock
        try:
            with gate:
                found, value = results.get(key)
                if not found:
                    value = function(*args, **kwargs)
                    results.put(key, value)
                return value
        finally:
            results.leave(key)

    return call


def _asynchronous(function: Callable[..., Any], results: _Results) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        key = _key(args, kwargs)
        if key is None:
            return await function(*args, **kwargs)
        found, value = results.get(key)
        if found:
            return value
        # A lock belongs to one event loop; results are shared by all.
        place = (asyncio.get_running_loop(), key)
        gate: asyncio.Lock = results.enter(place, asyncio.Lock).lock
        try:
            async with gate:
                found, value = results.get(key)
                if not found:
                    value = await function(*args, **kwargs)
                    results.put(key, value)
                return value
        finally:
            results.leave(place)

    return call


def _key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable | None:
    """The arguments as something to look up by; ``None`` where they cannot be compared."""
    key: Hashable = _frozen((args, kwargs))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Any:
    """Containers by their content; 1, 1.0 and True are told apart."""
    if isinstance(value, Mapping):
        return type(value), frozenset((_frozen(k), _frozen(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_frozen(part) for part in value)
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(_frozen(part) for part in value)
    return type(value), value
