"""A pause for an engine that does not answer: who asks meanwhile is told at once.

One breaker an engine and process. After some failures in a row it opens; when it has rested, the
next question is let through, and its answer closes it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from pybreaker import CircuitBreaker, CircuitBreakerError, CircuitBreakerListener

from analect.model.errors import EngineUnavailable
from analect.telemetry.engines import EngineMetrics

log = structlog.get_logger(__name__)

FAILURES = 5
"""In a row, until it opens."""
REST_SECONDS = 5.0


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
        self._breaker = CircuitBreaker(
            fail_max=failures,
            reset_timeout=rest_seconds,
            exclude=[lambda error: not isinstance(error, EngineUnavailable)],
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
        try:
            # Not `call`, which keeps every other thread waiting.
            with self._breaker.calling():
                yield
        except CircuitBreakerError:
            raise EngineUnavailable(
                f"{self._engine} did not answer when it was last asked; it is asked again within "
                f"{self._rest:g} s",
                retry_after=self._rest,
            ) from None

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return str(self._breaker.current_state)


class _Listener(CircuitBreakerListener):  # type: ignore[misc]  # the library has no types
    def __init__(self, engine: str, metrics: EngineMetrics) -> None:
        self._engine = engine
        self._metrics = metrics

    def failure(self, cb: CircuitBreaker, exc: BaseException) -> None:  # noqa: ARG002
        self._metrics.failed(self._engine)

    def state_change(self, cb: CircuitBreaker, old_state: Any, new_state: Any) -> None:  # noqa: ARG002
        self._metrics.breaker(self._engine, new_state.name)
        log.warning("engine breaker", engine=self._engine, state=new_state.name)
