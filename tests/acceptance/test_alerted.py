"""From a metric to somebody's notification: what a store exports, read by a real Prometheus under
the store's own rules, and what a real Alertmanager sends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import start_http_server

from analect.service import AnalysisService
from analect.settings import Settings
from analect_operator.build.alerts import Alert, groups, operator_alerts, store_alerts
from analect_operator.build.children import children
from analect_operator.build.site import Site
from analect_operator.dashboards import DASHBOARDS, rendered
from analect_operator.metrics import Metrics
from analect_operator.specs.schedules import Thresholds
from analect_operator.specs.store import StoreSpec
from tests import asking
from tests.acceptance.alerting import Pod, Prometheus, needed, receiving, watching
from tests.acceptance.processes import Place, wait_for
from tests.valkey import valkey_server

ROOT = Path(__file__).parents[2]
HERE = {"namespace": "team", "app_kubernetes_io_instance": "demo"}
SELECTOR = ",".join(f'{name}="{value}"' for name, value in HERE.items())
METRIC = re.compile(r"\banalect_[a-z_]+\b")
OPERATOR = {
    "labels": {"app.kubernetes.io/part-of": "analect"},
    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8081"},
}
HURRIED = ("AnalectBacklogOld", "AnalectStale")
OF_THE_MACHINE = "AnalectDiskFilling"
"""Six hours of what the disk does, guessed from two seconds of what other tests write."""


def hurried(alert: Alert) -> Alert:
    """The same that waits a second."""
    return replace(alert, wait="1s") if alert.name in HURRIED else alert


def pod(component: str, url: str, spec: dict[str, Any]) -> Pod:
    """The pod of a store that the operator makes of ``spec``."""
    made = children(Site("demo", "team", "uid", StoreSpec.model_validate(spec), "analect:1"))
    (template,) = [
        one["spec"]["template"]
        for one in made
        if one["kind"] == "Deployment" and one["metadata"]["name"] == f"demo-{component}"
    ]
    return Pod(url, "team", f"demo-{component}-0", template["metadata"])


def test_a_backlog_is_notified_of_and_its_end_too(place: Place, tmp_path: Path) -> None:
    needed()
    limits = Thresholds(backlog_age_seconds=1, freshness_seconds=1)
    rules = groups("team-demo", [hurried(one) for one in store_alerts(limits)], SELECTOR)
    with place.server() as server, receiving() as receiver:
        pods = [pod("embedded", server.url, {"embedded": {}})]
        with watching(tmp_path / "watching", pods, rules, receiver) as prometheus:
            # A store that does nothing gives nobody reason to look.
            assert prometheus.alerts() <= {OF_THE_MACHINE}
            place.run("process", "--pause", "text")
            assert server.http.post("/v1/records", json={"input": "a pelican"}).is_success
            found = wait_for(lambda: receiver.got("AnalectBacklogOld", "firing"))
            assert found["labels"] == {
                **HERE,
                "alertname": "AnalectBacklogOld",
                "processor": "text",
                "severity": "warning",
            }
            assert found["annotations"]["summary"].startswith("A processor has not come to")
            page = ROOT / found["annotations"]["runbook"]
            assert page.read_text().startswith("# AnalectBacklogOld\n")
            assert wait_for(lambda: receiver.got("AnalectStale", "firing"))
            about_it = {*HURRIED, "AnalectProcessorPaused"}
            assert prometheus.alerts() - {OF_THE_MACHINE} == about_it
            place.run("process", "--resume", "text")
            for name in HURRIED:
                wait_for(lambda name=name: receiver.got(name, "resolved"))
            fired = {one["labels"]["alertname"] for one in receiver.alerts}
            assert fired == set(HURRIED)


@pytest.fixture
def cluster(tmp_path: Path, postgres_url: str) -> Iterator[list[Pod]]:
    """Every kind of process with something done: a server, a dispatcher, a worker."""
    from tests.integration.clusters import Cluster, whole

    with valkey_server() as valkey:
        cluster = Cluster(tmp_path, postgres_url, f"redis://127.0.0.1:{valkey.port}/0")
        cluster.environment["ANALECT_INDEX__GRAPH"] = "false"
        try:
            with AnalysisService.open(Settings(**cluster.values)) as service:
                started = {
                    "ingest": cluster.start("serve"),
                    "dispatcher": cluster.start("dispatch"),
                    "worker-text": cluster.start("work", "text"),
                }
                with asking.client(started["ingest"].url, timeout=30) as client:
                    use(client)
                wait_for(lambda: whole(service, 20))
            servers = {part: {"managed": {}} for part in ("database", "queue", "search")}
            yield [pod(part, process.url, servers) for part, process in started.items()]
        finally:
            cluster.close()


def use(client: httpx.Client) -> None:
    """A little of everything that is counted."""
    wait_for(lambda: client.get("/readyz").is_success)
    record = {"input": "a pelican", "session_id": "s", "success": True, "duration_ms": 12}
    more = {"input_tokens": 3, "output_tokens": 4, "cost": 0.5}
    answer = client.post("/v1/records", json=[{**record, **more} for _ in range(20)])
    assert answer.json()["accepted"] == 20
    assert client.get("/v1/records").is_success
    assert client.get("/v1/search", params={"q": "pelican"}).is_success


def exists(name: str, families: set[str]) -> bool:
    """Whether it is a family that is declared, or a part of one."""
    return name in families or re.sub(r"_(total|sum|count|bucket)$", "", name) in families


SILENT = {
    # Nothing failed, nobody was turned away.
    *("Requests that failed", "Turned away", "Failed attempts"),
    # Needs five minutes of looks.
    "Growth",
}


def test_what_alerts_and_dashboards_ask_for_is_there(cluster: list[Pod], tmp_path: Path) -> None:
    needed()
    operator = Metrics()
    server, thread = start_http_server(0, "127.0.0.1", operator.registry)
    operator.leader.set(1)
    try:
        pods = [
            *cluster,
            Pod(f"http://127.0.0.1:{server.server_port}", "ops", "operator", OPERATOR),
        ]
        limits = Thresholds()
        alerts = [*store_alerts(limits), *operator_alerts()]
        with watching(tmp_path / "watching", pods, groups("all", alerts, SELECTOR)) as prometheus:
            # Who scraped the dispatcher first may have thought that nobody is ready.
            wait_for(lambda: prometheus.alerts() <= {OF_THE_MACHINE})
            families = prometheus.families()
            for alert in alerts:
                missing = [one for one in METRIC.findall(alert.expr) if not exists(one, families)]
                assert not missing, f"{alert.name} asks for {missing}"
            # A rate needs two scrapes.
            wait_for(lambda: empty_panels(prometheus, families) <= SILENT)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def empty_panels(prometheus: Prometheus, families: set[str]) -> set[str]:
    """The panels of the stores' dashboards that show nothing; every question of every dashboard is
    understood, and is about something that is declared."""
    empty = set()
    for dashboard in DASHBOARDS:
        for panel in json.loads(rendered(dashboard))["panels"]:
            for target in panel["targets"]:
                expr = target["expr"].replace("$namespace", "team").replace("$store", "demo")
                missing = [one for one in METRIC.findall(expr) if not exists(one, families)]
                assert not missing, f"{panel['title']} asks for {missing}"
                if not prometheus.query(expr) and "analect_operator" not in expr:
                    empty.add(panel["title"])
    return empty
