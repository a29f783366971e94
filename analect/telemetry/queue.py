"""Metrics of the dispatcher and of the queue behind it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge


class QueueMetrics:
    """Hears of the dispatcher's rounds. Nothing is exported before :meth:`export`: in a process that
    is no dispatcher a leader's 0 would be an alert.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.leader = Gauge(
            "analect_dispatcher_leader_state",
            "1 while this process is the dispatcher that leads, else 0.",
            registry=None,
        )
        self.up = Gauge(
            "analect_queue_up_state",
            "1 while the queue's server answers, else 0.",
            registry=None,
        )
        self._enqueued = Counter(
            "analect_queue_enqueued_entries_total",
            "Entries put into the queue.",
            ("processor",),
            registry=None,
        )
        self._returned = Counter(
            "analect_queue_returned_entries_total",
            "Entries that the queue lost or a worker held too long, given back.",
            registry=None,
        )
        self._jobs = Gauge(
            "analect_queue_jobs_count",
            "Jobs in the queue by state: queued, started, failed, stuck.",
            ("processor", "state"),
            registry=None,
        )
        self._workers = Gauge(
            "analect_queue_workers_count",
            "Workers that serve the queue.",
            ("processor",),
            registry=None,
        )

    def export(self) -> None:
        """This process dispatches: from now on its metrics are shown."""
        for one in (
            self.leader,
            self.up,
            self._enqueued,
            self._returned,
            self._jobs,
            self._workers,
        ):
            self._registry.register(one)

    def enqueued(self, processor: str, entries: int) -> None:
        """So many entries went into the queue."""
        self._enqueued.labels(processor).inc(entries)

    def returned(self, entries: int) -> None:
        """So many came back."""
        self._returned.inc(entries)

    def jobs(self, processor: str, counts: Mapping[str, int]) -> None:
        """One look at the queue: jobs by state, and ``workers``."""
        for state, count in counts.items():
            if state == "workers":
                self._workers.labels(processor).set(count)
                continue
            self._jobs.labels(processor, state).set(count)
