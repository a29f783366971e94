"""Named caches of two levels, behind a decorator."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, ParamSpec, Protocol, TypeVar

import structlog

from analect.cache.keeping import Keeping
from analect.cache.memory import Memory, key_of
from analect.cache.shared import HEARD_SECONDS, SharedLevel
from analect.model.errors import ConfigurationError
from analect.settings import Cache as CacheSettings

log = structlog.get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

Tags = Callable[..., Iterable[str]]
"""What the result of a call depends on, of the call's arguments: ``thread:7``, ``content``."""


class Heard(Protocol):
    """Hears of every answer, for metrics."""

    def answered(self, name: str, where: str) -> None:
        """``where``: ``memory``, ``shared`` or ``computed``."""
        ...


class Cache:
    """Keeps results by the name of what they are, as long as the settings say. Thread-safe.

    Args:
        settings: how long each name lives.
        shared: the second level, if there is one.
        heard: hears of every answer.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        shared: SharedLevel | None = None,
        heard: Heard | None = None,
        timer: Callable[[], float] = monotonic,
    ) -> None:
        self._settings = settings
        self._shared = shared
        self._heard = heard
        self._timer = timer
        self._lock = threading.Lock()
        self._versions: dict[str, tuple[str, float]] = {}
        self._warm: list[tuple[str, Callable[[], object]]] = []

    def keep(
        self, name: str, *, tags: Tags = lambda *_args, **_kwargs: (), warm: Sequence[Any] = ()
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Keep the results of a function, or of a coroutine function, by its arguments.

        Callers that ask the same at the same time, in all processes, wait for one computation; an
        exception is not kept. Every caller in a process gets the same object.

        Args:
            name: one of the names in the settings.
            tags: what a result depends on; :meth:`invalidate` with one of them forgets it.
            warm: arguments of calls to make when the process starts, for :meth:`warm`; of
                functions, not of coroutine functions.

        Raises:
            ConfigurationError: the settings have no such name.
        """
        memory = Memory(self._timer, self._settings.max_results)
        heard, shared = self._heard, self._shared

        def key(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable | None:
            asked = key_of(args, kwargs)
            if asked is None:
                return None
            return name, self._present(tuple(sorted({*tags(*args, **kwargs), name}))), asked

        keeping = Keeping(
            memory,
            self._seconds(name),
            key,
            shared,
            (lambda where: heard.answered(name, where)) if heard else (lambda _where: None),
        )

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            kept: Callable[..., R] = keeping.of(function)
            for argument in warm:
                self._warm.append((name, partial(kept, argument)))
            return kept

        return decorate

    def invalidate(self, *tags: str) -> None:
        """Forget what depends on any of these tags; a name of a cache is one too. Other processes
        hear of it within two seconds.
        """
        version = str(time.time_ns())
        with self._lock:
            for tag in tags:
                self._versions[tag] = (version, self._timer())
        if self._shared is not None:
            self._shared.change(tags, version)

    def warm(self) -> int:
        """Make the calls that were named for the start; how many succeeded."""
        done = 0
        for name, call in self._warm:
            try:
                call()
                done += 1
            except Exception as error:
                log.warning("cache not warmed", name=name, error=type(error).__name__)
        return done

    def warm_soon(self) -> None:
        """:meth:`warm` in a thread of its own, that nobody need wait for."""
        if self._warm:
            threading.Thread(target=self.warm, name="analect-warming", daemon=True).start()

    def close(self) -> None:
        """Let go of the second level."""
        if self._shared is not None:
            self._shared.close()

    def _seconds(self, name: str) -> float:
        try:
            return float(getattr(self._settings, f"{name}_seconds"))
        except AttributeError:
            raise ConfigurationError(
                f"there is no cache {name!r}: give it a setting cache.{name}_seconds",
                field=f"cache.{name}_seconds",
            ) from None

    def _present(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        """The version of each tag."""
        now = self._timer()
        with self._lock:
            known = {tag: self._versions.get(tag, ("0", float("-inf"))) for tag in tags}
        if self._shared is not None:
            old = [tag for tag, (_, at) in known.items() if now - at >= HEARD_SECONDS]
            fresh = {tag: (version, now) for tag, version in self._shared.versions(old).items()}
            with self._lock:
                self._versions |= fresh
            known |= fresh
        return tuple(known[tag][0] for tag in tags)
