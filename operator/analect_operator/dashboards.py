"""Dashboards for Grafana, generated: every panel is a title, a unit and what it asks Prometheus."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_COLUMNS = 3
_WIDTH = 24 // _COLUMNS
_HEIGHT = 8
_HERE = 'namespace=~"$namespace",app_kubernetes_io_instance=~"$store"'


@dataclass(frozen=True, slots=True)
class Panel:
    """``asks``: PromQL by legend; ``@`` stands for the chosen stores. ``unit`` as Grafana calls it."""

    title: str
    unit: str
    asks: dict[str, str]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """``per_store``: with a choice of namespace and store at the top."""

    name: str
    title: str
    per_store: bool
    panels: tuple[Panel, ...]


def _rate(metric: str, labels: str = "", by: str = "", window: str = "5m") -> str:
    grouped = f" by ({by})" if by else ""
    inner = f"{labels},@" if labels else "@"
    return f"sum{grouped} (rate({metric}{{{inner}}}[{window}]))"


def _quantile(share: float, metric: str, by: str = "") -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({grouped}) (rate({metric}_bucket{{@}}[5m])))"


STORE = Dashboard(
    "store",
    "Analect: a store",
    True,
    (
        Panel(
            "Records",
            "ops",
            {"{{outcome}}": _rate("analect_ingest_records_total", by="outcome")},
        ),
        Panel(
            "Requests that failed",
            "ops",
            {"{{status}}": _rate("analect_http_request_seconds_count", 'status=~"5.."', "status")},
        ),
        Panel("Turned away", "ops", {"{{reason}}": _rate("analect_http_refusals_total", by="reason")}),
        Panel(
            "Time of a commit",
            "s",
            {
                "p50": _quantile(0.5, "analect_store_commit_seconds"),
                "p99": _quantile(0.99, "analect_store_commit_seconds"),
            },
        ),
        Panel(
            "Reads, p95", "s", {"{{kind}}": _quantile(0.95, "analect_read_request_seconds", "kind")}
        ),
        Panel(
            "Searches, p95",
            "s",
            {"{{mode}}": _quantile(0.95, "analect_search_request_seconds", "mode")},
        ),
        Panel(
            "Response time of what is stored",
            "s",
            {"p50": _quantile(0.5, "analect_stored_response_seconds"),
             "p95": _quantile(0.95, "analect_stored_response_seconds")},
        ),
        Panel(
            "Share that went well",
            "percentunit",
            {
                "": _rate("analect_stored_outcomes_total", 'outcome="success"')
                + " / "
                + _rate("analect_stored_outcomes_total")
            },
        ),
        Panel("Sessions active", "short", {"": "sum(analect_stored_active_sessions{@})"}),
        Panel(
            "Tokens", "ops", {"{{direction}}": _rate("analect_stored_tokens_total", by="direction")}
        ),
        Panel("Cost in an hour", "short", {"": "sum(increase(analect_stored_cost_total{@}[1h]))"}),
        Panel("Size", "bytes", {"{{part}}": "max by (part) (analect_store_size_bytes{@})"}),
    ),
)  # fmt: skip
PIPELINE = Dashboard(
    "pipeline",
    "Analect: from stored to found",
    True,
    (
        Panel(
            "Oldest work that waits",
            "s",
            {"{{processor}}": "max by (processor) (analect_outbox_oldest_age_seconds{@})"},
        ),
        Panel(
            "Entries that wait",
            "short",
            {"{{processor}}": "max by (processor) (analect_outbox_pending_entries{@})"},
        ),
        Panel(
            "In quarantine",
            "short",
            {"{{processor}}": "max by (processor) (analect_outbox_quarantined_records{@})"},
        ),
        Panel(
            "Processed",
            "ops",
            {"{{processor}}": _rate("analect_processing_records_total", by="processor")},
        ),
        Panel(
            "Failed attempts",
            "ops",
            {"{{processor}}": _rate("analect_processing_failures_total", by="processor")},
        ),
        Panel(
            "Time of a batch, p95",
            "s",
            {"{{processor}}": _quantile(0.95, "analect_processing_batch_seconds", "processor")},
        ),
        Panel(
            "Jobs",
            "short",
            {"{{processor}} {{state}}": "max by (processor, state) (analect_queue_jobs_count{@})"},
        ),
        Panel(
            "Given back to the outbox", "ops", {"": _rate("analect_queue_returned_entries_total")}
        ),
        Panel(
            "Who leads, queue up",
            "short",
            {
                "dispatchers that lead": "sum(analect_dispatcher_leader_state{@})",
                "queue up": "min(analect_queue_up_state{@})",
            },
        ),
    ),
)
LIFECYCLE = Dashboard(
    "lifecycle",
    "Analect: growth, backups, retention",
    True,
    (
        Panel("Records", "short", {"": "max(analect_store_records_count{@})"}),
        Panel("Growth", "Bps", {"": "max(analect_store_growth_bytes_per_second{@})"}),
        Panel("Left on the disk", "bytes", {"": "min(analect_store_free_bytes{@})"}),
        Panel("Data keys", "short", {"": "max(analect_keys_data_count{@})"}),
        Panel(
            "Records by index",
            "short",
            {"{{index}}": "max by (index) (analect_index_records_count{@})"},
        ),
        Panel(
            "Age of the newest good backup",
            "s",
            {
                "{{namespace}}/{{store}}": "max by (namespace, store) "
                "(analect_operator_store_backup_age_seconds)"
            },
        ),
        Panel(
            "Age of the last good retention",
            "s",
            {
                "{{namespace}}/{{store}}": "max by (namespace, store) "
                "(analect_operator_store_retention_age_seconds)"
            },
        ),
    ),
)
OPERATOR = Dashboard(
    "operator",
    "Analect: the operator",
    False,
    (
        Panel(
            "Looks",
            "ops",
            {"{{kind}} {{outcome}}": "sum by (kind, outcome) "
             "(rate(analect_operator_reconciles_total[5m]))"},
        ),
        Panel(
            "Time of a look, p99",
            "s",
            {"": "histogram_quantile(0.99, sum by (le) "
             "(rate(analect_operator_reconcile_seconds_bucket[5m])))"},
        ),
        Panel(
            "Writes to the API server",
            "ops",
            {"{{verb}} {{kind}}": "sum by (verb, kind) (rate(analect_operator_writes_total[5m]))"},
        ),
        Panel("Who leads", "short", {"": "sum(analect_operator_leader_state)"}),
        Panel(
            "Objects that wait for a look", "short", {"": "max(analect_operator_queue_entries)"}
        ),
        Panel(
            "Silence of watches",
            "s",
            {"{{kind}}": "max by (kind) (analect_operator_watch_age_seconds)"},
        ),
        Panel(
            "Refused calls",
            "ops",
            {"{{code}}": "sum by (code) (rate(analect_operator_api_refusals_total[5m]))"},
        ),
        Panel("Drift mended", "ops", {"{{kind}}": "sum by (kind) (rate(analect_operator_drift_total[5m]))"}),
        Panel(
            "Stores by condition",
            "short",
            {
                "{{condition}} {{status}} {{reason}}": "max by (condition, status, reason) "
                "(analect_operator_stores_count)"
            },
        ),
    ),
)  # fmt: skip
DASHBOARDS = (STORE, PIPELINE, LIFECYCLE, OPERATOR)


def rendered(dashboard: Dashboard) -> str:
    """As Grafana reads it (schema 39, Grafana 10 and newer)."""
    variables = [_datasource()]
    if dashboard.per_store:
        ready = "analect_http_ready_state"
        variables += [
            _choice("namespace", f"label_values({ready}, namespace)"),
            _choice(
                "store",
                f'label_values({ready}{{namespace=~"$namespace"}}, app_kubernetes_io_instance)',
            ),
        ]
    body = {
        "uid": f"analect-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["analect"],
        "schemaVersion": 39,
        "editable": True,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": variables},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }
    return json.dumps(body, indent=1) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {
            "x": number % _COLUMNS * _WIDTH,
            "y": number // _COLUMNS * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": source,
                "expr": ask.replace("@", _HERE),
                "legendFormat": legend or panel.title,
            }
            for place, (legend, ask) in enumerate(panel.asks.items())
        ],
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
        "label": "Prometheus",
    }


def _choice(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "includeAll": True,
        "multi": True,
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }
