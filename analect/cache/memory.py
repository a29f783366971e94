"""The first level: the newest results in memory, each computed by one caller at a time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MAX_RESULTS = 1024


@dataclass(slots=True)
class _Gate:
    """Lets one caller of a key compute at a time; ``waiting`` counts who needs it."""

    lock: Any
    waiting: int = 0


@dataclass(slots=True)
class Memory:
    """The newest results by key, each with the time its life ends. Thread-safe."""

    timer: Callable[[], float] = time.monotonic
    size: int = MAX_RESULTS
    kept: OrderedDict[Hashable, tuple[float, Any]] = field(default_factory=OrderedDict)
    gates: dict[Hashable, _Gate] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Hashable) -> tuple[bool, Any]:
        """Whether there is a result, and which."""
        with self.guard:
            found = self.kept.get(key)
            if found is None or found[0] <= self.timer():
                return False, None
            return True, found[1]

    def put(self, key: Hashable, value: Any, seconds: float) -> None:
        """Keep a result for so long, unless newer ones need its room."""
        with self.guard:
            now = self.timer()
            self.kept[key] = (now + seconds, value)
            self.kept.move_to_end(key)
            while self.kept:
                oldest = next(iter(self.kept))
                if len(self.kept) <= self.size and self.kept[oldest][0] > now:
                    break
                del self.kept[oldest]

    @contextmanager
    def gate(self, key: Hashable, make: Callable[[], Any]) -> Iterator[Any]:
        """The lock of a key, made when the first caller needs it, gone with the last."""
        with self.guard:
            gate = self.gates.setdefault(key, _Gate(None))
            if gate.lock is None:
                gate.lock = make()
            gate.waiting += 1
        try:
            yield gate.lock
        finally:
            with self.guard:
                gate.waiting -= 1
                if not gate.waiting:
                    del self.gates[key]

    def clear(self) -> None:
        """Forget all."""
        with self.guard:
            self.kept.clear()


def key_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable | None:
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
