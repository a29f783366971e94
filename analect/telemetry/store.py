"""Metrics of the truth: commits as they happen, and its state when it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

import structlog
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analect.model.errors import AnalectError

log = structlog.get_logger(__name__)

FRESH_SECONDS = 5.0
_GROWTH_SECONDS = 300.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ROWS = (1, 10, 50, 100, 250, 500, 1000, 2000, 5000)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one processor has before it."""

    pending: int = 0
    quarantined: int = 0
    oldest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StoreState:
    """One look at the truth. ``sizes``: bytes by part (``truth``, ``text``, ``vectors``, ...);
    ``indexed``: records by index; ``free``: bytes that the home folder's disk has left.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    backlog: Mapping[str, Backlog] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    indexed: Mapping[str, int] = field(default_factory=dict)
    records: int | None = None
    data_keys: int | None = None
    free: int | None = None
    shipped_age: float | None = None


class StoreMetrics:
    """Hears of commits (the writer's ``observe``) and looks at the state for each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._commit = Histogram(
            "analect_store_commit_seconds",
            "Time of one commit, fsync included.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._rows = Histogram(
            "analect_store_commit_records",
            "Records in one commit.",
            buckets=_ROWS,
            registry=registry,
        )

    def committed(self, rows: int, seconds: float) -> None:
        """One commit is durable."""
        self._commit.observe(seconds)
        self._rows.observe(rows)

    def watch(self, look: Callable[[], StoreState], processors: Sequence[str] = ()) -> None:
        """Export what ``look`` returns; it is called at most once in five seconds.

        ``processors`` are shown with a backlog of zero where ``look`` says nothing of them, for a
        series that comes and goes cannot be alerted on.
        """
        self._registry.register(_StateCollector(look, processors))


class _StateCollector(Collector):
    def __init__(self, look: Callable[[], StoreState], processors: Sequence[str]) -> None:
        self._look = look
        self._idle = dict.fromkeys(processors, Backlog())
        self._lock = threading.Lock()
        self._state = StoreState()
        self._looked_at: float | None = None
        self._sizes: list[tuple[float, int]] = []

    def describe(self) -> Iterator[Metric]:
        """The names, without looking at the store."""
        yield from _families(StoreState(), None)

    def collect(self) -> Iterator[Metric]:
        """The present state; nothing when the store does not answer."""
        with self._lock:
            now = monotonic()
            if self._looked_at is None or now - self._looked_at >= FRESH_SECONDS:
                try:
                    state = self._look()
                    self._state = replace(state, backlog={**self._idle, **state.backlog})
                except AnalectError as error:
                    log.warning("store state unknown", code=error.code)
                    self._state = StoreState()
                self._looked_at = now
                self._remember(now)
            growth = self._growth()
        yield from _families(self._state, growth)

    def _remember(self, now: float) -> None:
        if not self._state.sizes:
            return
        self._sizes.append((now, sum(self._state.sizes.values())))
        while len(self._sizes) > 1 and now - self._sizes[1][0] >= _GROWTH_SECONDS:
            del self._sizes[0]

    def _growth(self) -> float | None:
        if len(self._sizes) < 2:
            return None
        (began, first), (ended, last) = self._sizes[0], self._sizes[-1]
        return (last - first) / (ended - began)


def _families(state: StoreState, growth: float | None) -> Iterator[Metric]:
    size = GaugeMetricFamily("analect_store_size_bytes", "Bytes on disk.", labels=("part",))
    for part, value in state.sizes.items():
        size.add_metric((part,), value)
    yield size
    for name, text, single in (
        (
            "analect_store_growth_bytes_per_second",
            "Growth in bytes a second over five minutes.",
            growth,
        ),
        ("analect_store_records_count", "Records stored, about.", state.records),
        ("analect_keys_data_count", "Data keys that exist.", state.data_keys),
        ("analect_store_free_bytes", "Bytes left on the home folder's disk.", state.free),
        (
            "analect_backup_log_age_seconds",
            "Time since everything was known to be in the place of the backups.",
            state.shipped_age,
        ),
    ):
        family = GaugeMetricFamily(name, text)
        if single is not None:
            family.add_metric((), single)
        yield family
    indexed = GaugeMetricFamily(
        "analect_index_records_count", "Records that an index holds.", labels=("index",)
    )
    for index, count in state.indexed.items():
        indexed.add_metric((index,), count)
    yield indexed
    depth = GaugeMetricFamily(
        "analect_outbox_pending_entries",
        "Entries of the outbox that wait for a processor: a commit each, or a part of one.",
        labels=("processor",),
    )
    age = GaugeMetricFamily(
        "analect_outbox_oldest_age_seconds",
        "Age of the oldest work that waits for a processor.",
        labels=("processor",),
    )
    poison = GaugeMetricFamily(
        "analect_outbox_quarantined_records",
        "Records that a processor gave up on.",
        labels=("processor",),
    )
    paused = GaugeMetricFamily(
        "analect_processing_paused_state",
        "1 while a processor is paused, else 0.",
        labels=("processor",),
    )
    for processor, backlog in state.backlog.items():
        depth.add_metric((processor,), backlog.pending)
        age.add_metric((processor,), backlog.oldest_seconds)
        poison.add_metric((processor,), backlog.quarantined)
        paused.add_metric((processor,), processor in state.paused)
    yield from (depth, age, poison, paused)
