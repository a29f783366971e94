"""What the operator says of itself in numbers."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)


Labels = tuple[str, str]


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._told: dict[Gauge, set[Labels]] = {}
        self.reconciles = Counter(
            "analect_operator_reconciles_total",
            "Looks at an object, by how they ended.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            "analect_operator_reconcile_seconds",
            "Time of one look.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_entries = Gauge(
            "analect_operator_queue_entries", "Objects that wait for a look.", registry=registry
        )
        self.queue_age = Gauge(
            "analect_operator_queue_oldest_age_seconds",
            "How long the oldest of them has waited.",
            registry=registry,
        )
        self.writes = Counter(
            "analect_operator_writes_total",
            "Calls that change something in the API server.",
            ["verb", "kind"],
            registry=registry,
        )
        self.refusals = Counter(
            "analect_operator_api_refusals_total",
            "Calls that the API server refused or that did not reach it; code 0 is the latter.",
            ["code"],
            registry=registry,
        )
        self.drift = Counter(
            "analect_operator_drift_total",
            "Children that somebody else changed or deleted, and that were mended.",
            ["kind"],
            registry=registry,
        )
        self.watch_age = Gauge(
            "analect_operator_watch_age_seconds",
            "Time since a watch last said anything.",
            ["kind"],
            registry=registry,
        )
        self.watch_restarts = Counter(
            "analect_operator_watch_restarts_total",
            "Watches that broke, expired or went deaf, and were begun again.",
            ["kind"],
            registry=registry,
        )
        self.leader = Gauge(
            "analect_operator_leader_state", "1 while this replica leads.", registry=registry
        )
        self.stores = Gauge(
            "analect_operator_stores_count",
            "Stores by condition, its status and its reason.",
            ["condition", "status", "reason"],
            registry=registry,
        )
        self.backlog = Gauge(
            "analect_operator_store_backlog_entries",
            "Entries of a store's outbox that wait for workers.",
            ["namespace", "store"],
            registry=registry,
        )
        self.backup_age = Gauge(
            "analect_operator_store_backup_age_seconds",
            "Age of a store's newest good backup.",
            ["namespace", "store"],
            registry=registry,
        )
        self.backup_limit = Gauge(
            "analect_operator_store_backup_age_limit_seconds",
            "Age of a store's newest good backup beyond which somebody is told.",
            ["namespace", "store"],
            registry=registry,
        )
        self.retention_age = Gauge(
            "analect_operator_store_retention_age_seconds",
            "Time since a store's retention last ended well.",
            ["namespace", "store"],
            registry=registry,
        )

    def tell(self, gauge: Gauge, values: Mapping[Labels, float]) -> None:
        """Set a gauge for these and for no others. Series that are there are kept: to make a
        thousand anew at every look takes longer than all the rest.
        """
        for labels, value in values.items():
            gauge.labels(*labels).set(value)
        for labels in self._told.get(gauge, set()) - values.keys():
            gauge.remove(*labels)
        self._told[gauge] = set(values)
