"""Which indexes cannot be used, and why: found by a check, or on the way."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import structlog

from analect.model.errors import ConfigurationError, Corrupt, EngineMisconfigured, EngineUnavailable

log = structlog.get_logger(__name__)

CANNOT_BE_USED = "index cannot be used"
BREAKER = "engine breaker"
"""What the log says; whoever asks is told by an error."""


class IndexHealth:
    """Remembers damage until it is mended. Thread-safe.

    Indexes ``elsewhere`` (by name), on a server that many processes share, are not this process's
    to make again: what is wrong with one is remembered until it answers.
    """

    def __init__(self, elsewhere: Collection[str] = ()) -> None:
        self._elsewhere = frozenset(elsewhere)
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._rebuilt: dict[str, int] = {}

    @contextmanager
    def watching(self, name: str) -> Iterator[None]:
        """Use the index ``name``: damage, or another embedding model, is remembered and answered
        with an error that says to wait.

        Raises:
            EngineUnavailable: the index is damaged; it will be made again from the truth.
        """
        try:
            yield
            if name in self._elsewhere:
                self._problems.pop(name, None)
        except (Corrupt, ConfigurationError) as error:
            self._report(name, str(error), error.code)
            if name in self._elsewhere:
                if isinstance(error, ConfigurationError):
                    raise EngineMisconfigured(str(error), field=error.field) from error
                raise EngineUnavailable(str(error)) from error
            raise EngineUnavailable(
                f"the {name} index cannot be used and has to be made again from the truth: a "
                f"running server does it by itself, else: analect rebuild {name}",
                retry_after=5.0,
            ) from error

    def is_elsewhere(self, name: str) -> bool:
        """Whether it is on a server that many processes share."""
        return name in self._elsewhere

    def problem(self, name: str) -> str | None:
        """Why the index cannot be used; ``None`` when it can."""
        return self._problems.get(name)

    def damaged(self) -> list[str]:
        """The indexes that this process has to make again."""
        with self._lock:
            return sorted(self._problems.keys() - self._elsewhere)

    def mended(self, name: str) -> None:
        """The index was made again."""
        with self._lock:
            self._problems.pop(name, None)
            self._rebuilt[name] = self._rebuilt.get(name, 0) + 1

    def rebuilt(self, name: str) -> int:
        """How often this process had to make it again."""
        return self._rebuilt.get(name, 0)

    def _report(self, name: str, problem: str, code: str) -> None:
        with self._lock:
            known = name in self._problems
            self._problems[name] = problem
        if not known:
            log.warning(CANNOT_BE_USED, index=name, code=code)
