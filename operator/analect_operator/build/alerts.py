"""What somebody is told about: alerts on the metrics of a store and of the operator.

One source for the PrometheusRule of each store, that of the chart, and the plain rules file. No
label of an alert is unbounded; every alert names its page under docs/runbooks, with an address where
somebody said under which one these pages are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analect_operator.specs.schedules import Thresholds

RUNBOOKS = "docs/runbooks"
_MATCH = "(namespace, app_kubernetes_io_instance)"
_STORE = f"by {_MATCH}"
_MEGABYTE = 1_000_000
_CALLS = 'route!~"/(healthz|readyz|metrics)"'
"""Requests of callers; probes come whatever the callers do."""
_ERRORS = f'analect_http_request_seconds_count{{status=~"5..",{_CALLS},@}}'
_REQUESTS = f"analect_http_request_seconds_count{{{_CALLS},@}}"
_BUDGET = 0.001
"""Of the requests, what may fail: availability is to be 99.9 %."""


@dataclass(frozen=True, slots=True)
class Alert:
    """``expr``: PromQL in which ``@`` stands for the labels of a store. ``wait``: how long it must
    hold. ``severity``: ``critical`` wakes somebody, ``warning`` is for the day.
    """

    name: str
    expr: str
    wait: str
    severity: str
    summary: str

    def rule(self, selector: str, runbooks: str = "") -> dict[str, Any]:
        """As Prometheus reads it."""
        page = f"{self.name}.md"
        link = {"runbook_url": f"{runbooks.rstrip('/')}/{page}"} if runbooks else {}
        return {
            "alert": self.name,
            "expr": self.expr.replace("@", selector),
            "for": self.wait,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "runbook": f"{RUNBOOKS}/{page}",
                **link,
            },
        }


def store_alerts(limits: Thresholds) -> list[Alert]:
    """Of one store, by its own thresholds."""
    return [*_contents(limits), *_serving(limits), *_processing(limits)]


def _contents(limits: Thresholds) -> list[Alert]:
    """Of what the programs that write here say of themselves."""
    seconds = "analect_stored_response_seconds"
    good = 'analect_stored_outcomes_total{outcome="success",@}'
    bad = 'analect_stored_outcomes_total{outcome="error",@}'
    every = "analect_stored_outcomes_total{@}"
    return [
        Alert(
            "AnalectSlowResponses",
            f"sum {_STORE} (rate({seconds}_sum{{@}}[10m])) / "
            f"sum {_STORE} (rate({seconds}_count{{@}}[10m])) > {limits.avg_response_time_seconds}",
            "10m",
            "warning",
            "What is stored took longer on average than the store's threshold.",
        ),
        Alert(
            "AnalectSuccessRateLow",
            f"sum {_STORE} (rate({good}[15m])) / sum {_STORE} (rate({every}[15m])) "
            f"< {limits.success_rate}",
            "15m",
            "warning",
            "Fewer of the stored records went well than the store's threshold.",
        ),
        Alert(
            "AnalectErrorRateHigh",
            f"sum {_STORE} (rate({bad}[5m])) / sum {_STORE} (rate({every}[5m])) "
            f"> {limits.error_rate}",
            "5m",
            "warning",
            "More of the stored records failed than the store's threshold.",
        ),
        Alert(
            "AnalectManySessions",
            f"sum {_STORE} (analect_stored_active_sessions{{@}}) > {limits.concurrent_users}",
            "5m",
            "warning",
            "More sessions are active at once than the store's threshold.",
        ),
    ]


def _serving(limits: Thresholds) -> list[Alert]:
    """Of the pods that take records and answer questions, and of what they stand on."""
    reads = "analect_read_request_seconds_bucket{@}"
    return [
        Alert(
            "AnalectNotReady",
            f"max {_STORE} (analect_http_ready_state{{@}}) == 0",
            "2m",
            "critical",
            "No pod of the store is ready to take records or answer questions.",
        ),
        Alert(
            "AnalectIngestRefusing",
            f"sum {_STORE} (rate(analect_http_refusals_total"
            '{reason=~"overloaded|store_unavailable|deadline_exceeded",@}[5m])) > 0',
            "5m",
            "critical",
            "Records are turned away: callers keep them and try again.",
        ),
        *(
            Alert(
                f"AnalectAvailabilityBurn{pace}",
                " and ".join(
                    f"sum {_STORE} (rate({_ERRORS}[{window}])) / "
                    f"sum {_STORE} (rate({_REQUESTS}[{window}])) > {burn * _BUDGET:g}"
                    for window in windows
                ),
                wait,
                severity,
                f"Requests fail {burn:g} times as fast as 99.9 % availability allows.",
            )
            for pace, burn, windows, wait, severity in (
                ("Fast", 14.4, ("1h", "5m"), "2m", "critical"),
                ("Slow", 6.0, ("6h", "30m"), "15m", "warning"),
            )
        ),
        Alert(
            "AnalectReadsSlow",
            f"histogram_quantile(0.95, sum by (le, namespace, app_kubernetes_io_instance) "
            f"(rate({reads}[10m]))) > 1",
            "10m",
            "warning",
            "One read in twenty takes longer than a second.",
        ),
        Alert(
            "AnalectSearchDegraded",
            f"sum {_STORE} (rate(analect_search_degraded_total{{@}}[10m])) > 0",
            "10m",
            "warning",
            "Searches are answered without an index that they need.",
        ),
        Alert(
            "AnalectStoreLarge",
            f'max {_STORE} (analect_store_size_bytes{{part="truth",@}}) '
            f"> {limits.database_size_megabytes * _MEGABYTE}",
            "30m",
            "warning",
            "The database is larger than the store's threshold.",
        ),
        Alert(
            "AnalectDiskFilling",
            "min by (namespace, app_kubernetes_io_instance) "
            "(predict_linear(analect_store_free_bytes{@}[6h], 86400)) < 0",
            "30m",
            "critical",
            "At the rate of the last six hours the disk is full within a day.",
        ),
    ]


def _processing(limits: Thresholds) -> list[Alert]:
    """Of what happens between stored and found."""
    waits = "analect_outbox_oldest_age_seconds"
    return [
        Alert(
            "AnalectBacklogOld",
            f"max by (namespace, app_kubernetes_io_instance, processor) ({waits}{{@}}) "
            f"> {limits.backlog_age_seconds}",
            "5m",
            "warning",
            "A processor has not come to its oldest work for longer than the store's threshold.",
        ),
        Alert(
            "AnalectStale",
            f'max {_STORE} ({waits}{{processor="text",@}}) > {limits.freshness_seconds}',
            "5m",
            "warning",
            "What is stored is not found within the store's threshold.",
        ),
        Alert(
            "AnalectQuarantineGrowing",
            "max by (namespace, app_kubernetes_io_instance, processor) "
            "(delta(analect_outbox_quarantined_records{@}[1h])) > 0",
            "0m",
            "warning",
            "A processor gave up on records within the last hour.",
        ),
        Alert(
            "AnalectProcessorPaused",
            "max by (namespace, app_kubernetes_io_instance, processor) "
            "(analect_processing_paused_state{@}) == 1",
            "6h",
            "warning",
            "A processor has been paused for six hours.",
        ),
        Alert(
            "AnalectIndexDrift",
            "sum by (namespace, app_kubernetes_io_instance, index) "
            "(analect_index_drift_records{@}) > 0",
            "1h",
            "warning",
            "An index does not hold what the store holds, and it is not on its way either.",
        ),
        Alert(
            "AnalectQueueDown",
            f"max {_STORE} (analect_queue_up_state{{@}}) == 0",
            "5m",
            "warning",
            "The queue's server does not answer: records are stored, and not indexed.",
        ),
        Alert(
            "AnalectDispatcherLeaderless",
            f"sum {_STORE} (analect_dispatcher_leader_state{{@}}) == 0",
            "5m",
            "warning",
            "No dispatcher leads: records are stored, and not indexed.",
        ),
    ]


def operator_alerts() -> list[Alert]:
    """Of the operator, and of what it alone knows of the stores."""
    unwell = (
        'max by (condition) (analect_operator_stores_count{{condition="{}",status="False",'
        'reason!~"{}"}}) > 0'
    )
    age = "max by (namespace, store) (analect_operator_store_backup_age_{})"
    return [
        Alert(
            "AnalectOperatorLeaderless",
            "sum(analect_operator_leader_state) != 1 or absent(analect_operator_leader_state)",
            "2m",
            "critical",
            "Not exactly one replica of the operator leads: stores are not looked after.",
        ),
        Alert(
            "AnalectOperatorDeaf",
            "max by (kind) (analect_operator_watch_age_seconds) > 300",
            "2m",
            "warning",
            "A watch of the operator has said nothing for five minutes.",
        ),
        Alert(
            "AnalectOperatorFailing",
            'sum by (kind) (rate(analect_operator_reconciles_total{outcome=~"failed|refused"}[10m])) > 0.1',
            "15m",
            "warning",
            "The operator keeps failing to bring objects to what they should be.",
        ),
        Alert(
            "AnalectStoreNotReady",
            unwell.format("Ready", "Stopped|Restoring"),
            "15m",
            "critical",
            "A store is not ready; its conditions say what it waits for.",
        ),
        Alert(
            "AnalectMigrationFailed",
            unwell.format("MigrationsApplied", "Running|WaitsForDatabase"),
            "15m",
            "critical",
            "A migration failed or was refused: the pods of the version before go on.",
        ),
        Alert(
            "AnalectBackupUnverified",
            unwell.format("BackupsHealthy", "Suspended"),
            "1h",
            "critical",
            "The last backup or the last drill of a store failed.",
        ),
        Alert(
            "AnalectBackupLate",
            f"{age.format('seconds')} > {age.format('limit_seconds')}",
            "15m",
            "critical",
            "The newest good backup of a store is older than the store's threshold.",
        ),
        Alert(
            "AnalectRetentionLate",
            "max by (namespace, store) (analect_operator_store_retention_age_seconds) > 172800",
            "1h",
            "warning",
            "A store's retention has not ended well for two days: records stay too long.",
        ),
    ]


def groups(
    name: str, alerts: list[Alert], selector: str = "", runbooks: str = ""
) -> list[dict[str, Any]]:
    """Groups of a rules file or a PrometheusRule. ``selector``: label matchers, by commas.
    ``runbooks``: the address below which the pages of the alerts are.
    """
    return [{"name": name, "rules": [alert.rule(selector, runbooks) for alert in alerts]}]
