"""Every alert fires when it should and is silent when it should be, by Prometheus's own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from analect_operator.build.alerts import Alert, groups, operator_alerts, store_alerts
from analect_operator.dashboards import DASHBOARDS, rendered
from analect_operator.metrics import Metrics
from analect_operator.specs.schedules import Thresholds
from tests.conftest import requires

ROOT = Path(__file__).parents[2]
LIMITS = Thresholds()
ALERTS = {one.name: one for one in [*store_alerts(LIMITS), *operator_alerts()]}
METRIC = re.compile(r"\banalect_[a-z_]+\b")
BOUNDED = {
    *("severity", "namespace", "app_kubernetes_io_instance", "processor", "index"),
    *("kind", "condition", "store"),
}
HERE = 'namespace="n",app_kubernetes_io_instance="s"'

# Series are in promtool's notation, a minute apart, in a store that is called s in namespace n.
OUTCOMES = "analect_stored_outcomes_total"
HTTP = "analect_http_request_seconds_count"
Series = dict[str, str]


def stores(title: str, status: str, reason: str) -> str:
    """Stores of which a condition says so."""
    labels = f'condition="{title}",status="{status}",reason="{reason}"'
    return f"analect_operator_stores_count{{{labels}}}"


CASES: dict[str, tuple[Series, Series]] = {
    "AnalectSlowResponses": (
        {
            "analect_stored_response_seconds_sum{}": "0+600x60",
            "analect_stored_response_seconds_count{}": "0+60x60",
        },
        {
            "analect_stored_response_seconds_sum{}": "0+120x60",
            "analect_stored_response_seconds_count{}": "0+60x60",
        },
    ),
    "AnalectSuccessRateLow": (
        {f'{OUTCOMES}{{outcome="success"}}': "0+9x60", f'{OUTCOMES}{{outcome="error"}}': "0+1x60"},
        {f'{OUTCOMES}{{outcome="success"}}': "0+99x60", f'{OUTCOMES}{{outcome="error"}}': "0+1x60"},
    ),
    "AnalectErrorRateHigh": (
        {f'{OUTCOMES}{{outcome="success"}}': "0+9x60", f'{OUTCOMES}{{outcome="error"}}': "0+1x60"},
        {f'{OUTCOMES}{{outcome="success"}}': "0+99x60", f'{OUTCOMES}{{outcome="error"}}': "0+1x60"},
    ),
    "AnalectManySessions": (
        {"analect_stored_active_sessions{}": "101x60"},
        {"analect_stored_active_sessions{}": "100x60"},
    ),
    "AnalectNotReady": (
        {'analect_http_ready_state{pod="a"}': "0x60", 'analect_http_ready_state{pod="b"}': "0x60"},
        {'analect_http_ready_state{pod="a"}': "1x60", 'analect_http_ready_state{pod="b"}': "0x60"},
    ),
    "AnalectIngestRefusing": (
        {'analect_http_refusals_total{reason="overloaded"}': "0+1x60"},
        {'analect_http_refusals_total{reason="unauthenticated"}': "0+1x60"},
    ),
    "AnalectAvailabilityBurnFast": (
        {f'{HTTP}{{status="503"}}': "0+2x60", f'{HTTP}{{status="200"}}': "0+98x60"},
        {f'{HTTP}{{status="503"}}': "0+1x60", f'{HTTP}{{status="200"}}': "0+999x60"},
    ),
    "AnalectAvailabilityBurnSlow": (
        {f'{HTTP}{{status="503"}}': "0+1x60", f'{HTTP}{{status="200"}}': "0+99x60"},
        {f'{HTTP}{{status="503"}}': "0+1x60", f'{HTTP}{{status="200"}}': "0+999x60"},
    ),
    "AnalectReadsSlow": (
        {
            'analect_read_request_seconds_bucket{le="1"}': "0+80x60",
            'analect_read_request_seconds_bucket{le="2.5"}': "0+100x60",
            'analect_read_request_seconds_bucket{le="+Inf"}': "0+100x60",
        },
        {
            'analect_read_request_seconds_bucket{le="1"}': "0+100x60",
            'analect_read_request_seconds_bucket{le="2.5"}': "0+100x60",
            'analect_read_request_seconds_bucket{le="+Inf"}': "0+100x60",
        },
    ),
    "AnalectSearchDegraded": (
        {"analect_search_degraded_total{}": "0+1x60"},
        {"analect_search_degraded_total{}": "7x60"},
    ),
    "AnalectStoreLarge": (
        {'analect_store_size_bytes{part="truth"}': "1000000001x60"},
        {
            'analect_store_size_bytes{part="truth"}': "1000x60",
            'analect_store_size_bytes{part="text"}': "1000000001x60",
        },
    ),
    "AnalectDiskFilling": (
        {"analect_store_free_bytes{}": "1000000-1000x60"},
        {"analect_store_free_bytes{}": "10000000-1000x60"},
    ),
    "AnalectBacklogOld": (
        {'analect_outbox_oldest_age_seconds{processor="graph"}': "601x60"},
        {'analect_outbox_oldest_age_seconds{processor="graph"}': "60x60"},
    ),
    "AnalectStale": (
        {'analect_outbox_oldest_age_seconds{processor="text"}': "301x60"},
        {'analect_outbox_oldest_age_seconds{processor="graph"}': "301x60"},
    ),
    "AnalectQuarantineGrowing": (
        {'analect_outbox_quarantined_records{processor="text"}': "0+1x60"},
        {'analect_outbox_quarantined_records{processor="text"}': "3x60"},
    ),
    "AnalectProcessorPaused": (
        {'analect_processing_paused_state{processor="text"}': "1x400"},
        {'analect_processing_paused_state{processor="text"}': "0x400"},
    ),
    "AnalectIndexDrift": (
        {
            'analect_index_drift_records{index="text",difference="missing"}': "3x100",
            'analect_index_drift_records{index="text",difference="stale"}': "0x100",
        },
        {'analect_index_drift_records{index="text",difference="missing"}': "0x100"},
    ),
    "AnalectQueueDown": (
        {"analect_queue_up_state{}": "0x60"},
        {"analect_queue_up_state{}": "1x60"},
    ),
    "AnalectDispatcherLeaderless": (
        {'analect_dispatcher_leader_state{pod="a"}': "0x60"},
        {
            'analect_dispatcher_leader_state{pod="a"}': "0x60",
            'analect_dispatcher_leader_state{pod="b"}': "1x60",
        },
    ),
    "AnalectOperatorLeaderless": (
        {"analect_operator_leader_state{}": "0x60"},
        {"analect_operator_leader_state{}": "1x60"},
    ),
    "AnalectOperatorDeaf": (
        {'analect_operator_watch_age_seconds{kind="Job"}': "0+60x60"},
        {'analect_operator_watch_age_seconds{kind="Job"}': "60x60"},
    ),
    "AnalectOperatorFailing": (
        {'analect_operator_reconciles_total{kind="AnalysisStore",outcome="failed"}': "0+60x60"},
        {'analect_operator_reconciles_total{kind="AnalysisStore",outcome="done"}': "0+60x60"},
    ),
    **{
        name: (
            {stores(title, "False", bad): "1x100"},
            {stores(title, "True", "AsPlanned"): "1x100", stores(title, "False", meant): "1x100"},
        )
        for name, title, bad, meant in (
            ("AnalectStoreNotReady", "Ready", "PodsFail", "Stopped"),
            ("AnalectMigrationFailed", "MigrationsApplied", "MigrationFailed", "Running"),
            ("AnalectBackupUnverified", "BackupsHealthy", "Failed", "Suspended"),
        )
    },
    "AnalectBackupLate": (
        {
            'analect_operator_store_backup_age_seconds{store="s"}': "130000x60",
            'analect_operator_store_backup_age_limit_seconds{store="s"}': "129600x60",
        },
        {
            'analect_operator_store_backup_age_seconds{store="s"}': "130000x60",
            'analect_operator_store_backup_age_limit_seconds{store="s"}': "200000x60",
        },
    ),
    "AnalectRetentionLate": (
        {'analect_operator_store_retention_age_seconds{store="s"}': "180000x100"},
        {'analect_operator_store_retention_age_seconds{store="s"}': "80000x100"},
    ),
}
LATE = {"AnalectProcessorPaused": "390m", "AnalectIndexDrift": "90m"}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        requires("monitoring", "promtool, of Debian's package prometheus")
    assert found is not None
    return found


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(ALERTS)


def test_alerts_fire_and_are_silent(promtool: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": groups("all", list(ALERTS.values()), HERE)}))
    # Of the operator's alerts the labels of a store are no part.
    tests = [
        case(ALERTS[name], series, fires=fires)
        for name, (firing, quiet) in CASES.items()
        for series, fires in ((firing, True), (quiet, False))
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [rules.name], "tests": tests}))
    done = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def case(alert: Alert, series: Series, *, fires: bool) -> dict[str, Any]:
    """What promtool is to look at; the labels of a firing alert are those of its series, as far
    as its expression keeps them."""
    at = LATE.get(alert.name, "95m" if "x100" in next(iter(series.values())) else "58m")
    expected: dict[str, Any] = {"eval_time": at, "alertname": alert.name}
    if fires:
        rule = alert.rule(HERE)
        labels = {"severity": alert.severity, **kept_labels(alert, series)}
        expected["exp_alerts"] = [
            {"exp_labels": labels, "exp_annotations": rule["annotations"]},
        ]
    else:
        expected["exp_alerts"] = []
    given = [
        {"series": name.replace("{", "{" + HERE + ",").replace(",}", "}"), "values": values}
        for name, values in series.items()
    ]
    return {"interval": "1m", "input_series": given, "alert_rule_test": [expected]}


def kept_labels(alert: Alert, series: Series) -> dict[str, str]:
    """The labels that the outermost aggregation leaves."""
    by = re.search(r"by \(([^)]*)\)", alert.expr)
    names = [name.strip() for name in by[1].split(",")] if by else []
    found = {"namespace": "n", "app_kubernetes_io_instance": "s"}
    for name in series:
        found |= dict(re.findall(r'(\w+)="([^"]*)"', name))
    return {name: found[name] for name in names if name in found and name != "le"}


def exists(name: str) -> bool:
    """Whether a process exports it: the operator's registry knows, or the reference, which other
    tests hold against what servers and workers export."""
    known = {family.name for family in Metrics().registry.collect()}
    known |= set(METRIC.findall((ROOT / "docs/reference/metrics.md").read_text()))
    return name in known or re.sub(r"_(total|sum|count|bucket)$", "", name) in known


def test_what_alerts_ask_for_is_exported() -> None:
    for alert in ALERTS.values():
        for name in METRIC.findall(alert.expr):
            assert exists(name), f"{alert.name} asks for {name}"


def test_dashboards_ask_for_what_is_exported_in_words_prometheus_reads(
    promtool: str, tmp_path: Path
) -> None:
    asked = [
        target["expr"].replace("$namespace", "n").replace("$store", "s")
        for dashboard in DASHBOARDS
        for panel in json.loads(rendered(dashboard))["panels"]
        for target in panel["targets"]
    ]
    for expr in asked:
        for name in METRIC.findall(expr):
            assert exists(name), f"a dashboard asks for {name}"
    rules = [{"record": f"asked:{number}", "expr": expr} for number, expr in enumerate(asked)]
    file = tmp_path / "asked.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_has_a_label_of_unbounded_size() -> None:
    for alert in ALERTS.values():
        for names in re.findall(r"by \(([^)]*)\)", alert.expr):
            left = {name.strip() for name in names.split(",")} - {"le"}
            assert left <= BOUNDED, alert.name


def test_every_alert_has_its_page() -> None:
    for name in ALERTS:
        page = ROOT / "docs" / "runbooks" / f"{name}.md"
        assert page.is_file(), f"docs/runbooks/{name}.md is missing"
        assert page.read_text().startswith(f"# {name}\n")


def test_a_store_brings_its_own_thresholds() -> None:
    alerts = {one.name: one for one in store_alerts(Thresholds(concurrent_users=7))}
    assert alerts["AnalectManySessions"].expr.endswith("> 7")


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("scrape_configs", ("promtool", "check", "config", "--syntax-only")),
        ("route", ("amtool", "check-config")),
    ],
)
def test_configurations_in_the_docs_are_read(tmp_path: Path, key: str, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        requires("monitoring", f"{command[0]}, of Debian's packages of Prometheus")
    page = (ROOT / "docs" / "how-to" / "watch-on-kubernetes.md").read_text()
    (text,) = [one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if f"{key}:" in one]
    # Debian's Prometheus is built without the discovery of Kubernetes.
    text = re.sub(r"kubernetes_sd_configs: .*", "static_configs: [{targets: [a]}]", text)
    (tmp_path / "config.yaml").write_text(text)
    done = subprocess.run(
        [*command, str(tmp_path / "config.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
