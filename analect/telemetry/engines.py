"""Metrics of the engines that other processes are: OpenSearch, Neo4j, Qdrant."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

_STATES = {"closed": 0, "half-open": 1, "open": 2}


class EngineMetrics:
    """Hears of exchanges that failed and of the breakers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._failures = Counter(
            "analect_engine_failures_total",
            "Exchanges with an engine that failed because it did not answer.",
            ("engine",),
            registry=registry,
        )
        self._breaker = Gauge(
            "analect_engine_breaker_state",
            "0: the engine is asked; 1: it is tried again; 2: it is left alone for a while.",
            ("engine",),
            registry=registry,
        )

    def failed(self, engine: str) -> None:
        """One exchange failed."""
        self._failures.labels(engine).inc()

    def breaker(self, engine: str, state: str) -> None:
        """The breaker is now ``closed``, ``half-open`` or ``open``."""
        self._failures.labels(engine)
        self._breaker.labels(engine).set(_STATES[state])
