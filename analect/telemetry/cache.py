"""Metrics of the cache."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class CacheMetrics:
    """Hears where answers came from."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "analect_cache_answers_total",
            "Answers by cache and by where they came from: memory, shared, computed.",
            ("cache", "source"),
            registry=registry,
        )

    def answered(self, name: str, where: str) -> None:
        """One answer."""
        self._answers.labels(name, where).inc()
