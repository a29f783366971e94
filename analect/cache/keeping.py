"""Functions and coroutine functions whose results are kept."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from analect.cache.memory import Memory

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]


class Behind(Protocol):
    """The level behind the memory. Both answer slowly and never fail."""

    def get(self, key: Hashable) -> tuple[Any, float] | None:
        """A value and the seconds it has left."""
        ...

    def put(self, key: Hashable, value: Any, seconds: float) -> None:
        """Keep it, if it can be."""
        ...

    def release(self, key: Hashable) -> None:
        """Nothing came of what :meth:`get` gave nothing for."""
        ...


@dataclass(frozen=True, slots=True)
class Keeping:
    """``key`` gives None for a call that is not kept. ``heard`` is told where an answer came from:
    ``memory``, ``shared`` or ``computed``.
    """

    memory: Memory
    seconds: float
    key: Callable[[tuple[Any, ...], Mapping[str, Any]], Hashable | None]
    behind: Behind | None = None
    heard: Callable[[str], object] = lambda _where: None

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, its results kept."""
        if inspect.iscoroutinefunction(function):
            return self._asynchronous(function)
        return self._synchronous(function)

    def _synchronous(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            key = self.key(args, kwargs)
            if key is None:
                return function(*args, **kwargs)
            found, value = self._seen(key)
            if found:
                return value
            with self.memory.gate(key, threading.RLock) as lock, lock:
                found, value = self._seen(key)
                if not found:
                    found, value = self._shared(key)
                if not found:
                    with self._releasing(key):
                        value = function(*args, **kwargs)
                    self._computed(key, value)
                return value

        return call

    def _asynchronous(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            elsewhere = self.behind is not None
            key = (
                await asyncio.to_thread(self.key, args, kwargs)
                if elsewhere
                else self.key(args, kwargs)
            )
            if key is None:
                return await function(*args, **kwargs)
            found, value = self._seen(key)
            if found:
                return value
            # A lock belongs to one event loop; results are shared by all.
            place = (asyncio.get_running_loop(), key)
            with self.memory.gate(place, asyncio.Lock) as lock:
                async with lock:
                    found, value = self._seen(key)
                    if not found and elsewhere:
                        found, value = await asyncio.to_thread(self._shared, key)
                    if not found:
                        with self._releasing(key):
                            value = await function(*args, **kwargs)
                        if elsewhere:
                            await asyncio.to_thread(self._computed, key, value)
                        else:
                            self._computed(key, value)
                    return value

        return call

    @contextmanager
    def _releasing(self, key: Hashable) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self.behind is not None:
                self.behind.release(key)
            raise

    def _seen(self, key: Hashable) -> tuple[bool, Any]:
        found, value = self.memory.get(key)
        if found:
            self.heard("memory")
        return found, value

    def _shared(self, key: Hashable) -> tuple[bool, Any]:
        there = None if self.behind is None else self.behind.get(key)
        if there is None:
            return False, None
        value, left = there
        self.memory.put(key, value, left)
        self.heard("shared")
        return True, value

    def _computed(self, key: Hashable, value: Any) -> None:
        self.memory.put(key, value, self.seconds)
        if self.behind is not None:
            self.behind.put(key, value, self.seconds)
        self.heard("computed")
