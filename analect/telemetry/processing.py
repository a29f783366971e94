"""Metrics of the processors."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class ProcessingMetrics:
    """Hears of every batch that a processor handled (the runner's ``Observer``)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tell: Callable[[str, int, int, float], object] | None = None
        self._processed = Counter(
            "analect_processing_records_total",
            "Records handled by a processor.",
            ("processor",),
            registry=registry,
        )
        self._failed = Counter(
            "analect_processing_failures_total",
            "Records that a processor failed on; each is tried again or quarantined.",
            ("processor",),
            registry=registry,
        )
        self._seconds = Histogram(
            "analect_processing_batch_seconds",
            "Time a processor took for one batch.",
            ("processor",),
            buckets=_SECONDS,
            registry=registry,
        )

    def tell(self, listener: Callable[[str, int, int, float], object]) -> None:
        """Let ``listener`` hear of every batch too: the process above, which is asked."""
        self._tell = listener

    def processed(self, processor: str, records: int, failed: int, seconds: float) -> None:
        """One batch is through: ``records`` handled, ``failed`` besides."""
        self._processed.labels(processor).inc(records)
        self._failed.labels(processor).inc(failed)
        self._seconds.labels(processor).observe(seconds)
        if self._tell is not None:
            self._tell(processor, records, failed, seconds)
