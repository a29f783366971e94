"""Metrics of searches and reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class FindingMetrics:
    """How long questions take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._searches = Histogram(
            "analect_search_request_seconds",
            "Time of a search by its mode.",
            ("mode",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._degraded = Counter(
            "analect_search_degraded_total",
            "Searches answered without one of the indexes they need.",
            registry=registry,
        )
        self._reads = Histogram(
            "analect_read_request_seconds",
            "Time of a read by its kind: record, list, thread, changes, related, document.",
            ("kind",),
            buckets=_SECONDS,
            registry=registry,
        )

    def searched(self, mode: str, seconds: float, *, degraded: bool) -> None:
        """One search was answered; ``mode`` is one of the three known ones."""
        self._searches.labels(mode).observe(seconds)
        if degraded:
            self._degraded.inc()

    def read(self, kind: str, seconds: float) -> None:
        """One read was answered."""
        self._reads.labels(kind).observe(seconds)
