"""Metrics of what the indexes hold that is not what the truth holds."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge


class DriftMetrics:
    """Hears of each sample."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Gauge(
            "analect_index_drift_records",
            "Records that an index lacks (missing), has otherwise (stale) or too much (orphaned), "
            "by the samples of the last hour.",
            ("index", "difference"),
            registry=registry,
        )
        self._compared = Gauge(
            "analect_index_compared_records",
            "Records of the truth that were compared with an index in the samples of the last hour.",
            ("index",),
            registry=registry,
        )

    def found(self, index: str, compared: int, drift: Mapping[str, int]) -> None:
        """What the samples so far say of the whole index, by difference."""
        self._compared.labels(index).set(compared)
        for difference, records in drift.items():
            self._records.labels(index, difference).set(records)

    def forget(self) -> None:
        """Another process looks now."""
        self._records.clear()
        self._compared.clear()
