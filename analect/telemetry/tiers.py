"""Metrics of the warm and cold tiers and of the jobs that fill them, looked at for each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analect.model.errors import AnalectError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TierState:
    """One look. ``records`` and ``sizes`` by tier, ``ages`` in seconds by job (``retention``,
    ``archive``; none of one that never ran), ``damaged`` files of the last check.
    """

    records: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    ages: Mapping[str, float] = field(default_factory=dict)
    damaged: int | None = None


class TierMetrics:
    """Exports what it is told to watch."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def watch(self, look: Callable[[], TierState]) -> None:
        """Export what ``look`` returns."""
        self._registry.register(_Collector(look))


class _Collector(Collector):
    def __init__(self, look: Callable[[], TierState]) -> None:
        self._look = look

    def describe(self) -> Iterator[Metric]:
        """The names, without looking."""
        yield from _families(TierState())

    def collect(self) -> Iterator[Metric]:
        """The present state; nothing when the store does not answer."""
        try:
            state = self._look()
        except AnalectError as error:
            log.warning("state of the tiers unknown", code=error.code)
            state = TierState()
        yield from _families(state)


def _families(state: TierState) -> Iterator[Metric]:
    for name, said, label, values in (
        ("analect_tier_records_count", "Records in files of a tier.", "tier", state.records),
        ("analect_tier_size_bytes", "Bytes of the files of a tier.", "tier", state.sizes),
        (
            "analect_retention_last_age_seconds",
            "Time since a job of retention came to its end.",
            "job",
            state.ages,
        ),
    ):
        family = GaugeMetricFamily(name, said, labels=(label,))
        for value, number in values.items():
            family.add_metric((value,), number)
        yield family
    damaged = GaugeMetricFamily(
        "analect_tier_damaged_files", "Damaged files that the last daily job found."
    )
    if state.damaged is not None:
        damaged.add_metric((), state.damaged)
    yield damaged
