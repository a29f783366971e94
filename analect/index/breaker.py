"""A pause for an engine that does not answer: who asks meanwhile is told at once.

One breaker an engine and process. After some failures in a row it opens, or after one that took all
the time there was; when it has rested, the next question is let through, by itself, and its answer
closes it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import structlog
from pybreaker import (
    STATE_CLOSED,
    CircuitBreaker,
    CircuitBreakerError,
    CircuitBreakerListener,
)

from analect.index.health import BREAKER
from analect.model.errors import EngineUnavailable
from analect.telemetry.engines import EngineMetrics

log = structlog.get_logger(__name__)

FAILURES = 5
"""In a row, until it opens."""
REST_SECONDS = 5.0


class Silent(EngineUnavailable):
    """The engine said nothing for as long as it was waited for: nobody else should wait as well."""


class TooLong(EngineUnavailable):
    """The engine answers, but one question took so long that it was given up. No failure of it."""


class Breaker:
    """Guards the exchanges with one engine. Thread-safe.

    Args:
        engine: its name, for people and metrics: ``opensearch``, ``neo4j``, ``qdrant``.
        metrics: hear of failures and of the breaker's state.
    """

    def __init__(
        self,
        engine: str,
        metrics: EngineMetrics,
        *,
        failures: int = FAILURES,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        self._engine = engine
        self._rest = rest_seconds
        self._trial = Lock()
        self._breaker = CircuitBreaker(
            fail_max=failures,
            reset_timeout=rest_seconds,
            exclude=[_is_an_answer],
            listeners=[_Listener(engine, metrics)],
            name=engine,
            throw_new_error_on_trip=False,
        )
        metrics.breaker(engine, self._breaker.current_state)

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Around one exchange. An ``EngineUnavailable`` counts as a failure, all else as an answer.

        Raises:
            EngineUnavailable: the breaker is open, and nothing was asked.
        """
        trial = self._breaker.current_state != STATE_CLOSED
        if trial and not self._trial.acquire(blocking=False):
            raise self._resting()
        try:
            # Not `call`, which keeps every other thread waiting.
            with self._breaker.calling():
                yield
        except CircuitBreakerError:
            raise self._resting() from None
        finally:
            if trial:
                self._trial.release()

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return str(self._breaker.current_state)

    def _resting(self) -> EngineUnavailable:
        return EngineUnavailable(
            f"{self._engine} did not answer when it was last asked; it is asked again within "
            f"{self._rest:g} s",
            retry_after=self._rest,
        )


def _is_an_answer(error: BaseException) -> bool:
    return isinstance(error, TooLong) or not isinstance(error, EngineUnavailable)


class _Listener(CircuitBreakerListener):  # type: ignore[misc]  # the library has no types
    def __init__(self, engine: str, metrics: EngineMetrics) -> None:
        self._engine = engine
        self._metrics = metrics

    def failure(self, cb: CircuitBreaker, exc: BaseException) -> None:
        self._metrics.failed(self._engine)
        if isinstance(exc, Silent) and cb.current_state == STATE_CLOSED:
            cb.open()

    def state_change(self, cb: CircuitBreaker, old_state: Any, new_state: Any) -> None:  # noqa: ARG002
        self._metrics.breaker(self._engine, new_state.name)
        log.warning(BREAKER, engine=self._engine, state=new_state.name)
