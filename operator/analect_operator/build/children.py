"""All that belongs to a store."""

from __future__ import annotations

from analect_operator.build import environment as env
from analect_operator.build import names
from analect_operator.build.alerts import groups, store_alerts
from analect_operator.build.embedded import embedded
from analect_operator.build.jobs import Policy, cron_jobs
from analect_operator.build.managed import managed
from analect_operator.build.network import network
from analect_operator.build.site import Manifest, Site
from analect_operator.build.volumes import claims
from analect_operator.build.workloads import workloads


def children(site: Site, policy: Policy | None = None) -> list[Manifest]:
    """What the store consists of, in the order in which it is applied; the generated Secret and
    the Jobs are made by those who decide about them.
    """
    found = [_account(site), _settings(site), *claims(site), *managed(site)]
    if site.running:
        found += embedded(site) if site.embedded else workloads(site)
        found += cron_jobs(site, policy)
    found += network(site)
    if "PodMonitor" in site.cluster.kinds and site.spec.monitoring.pod_monitor:
        found.append(_pod_monitor(site))
    if "PrometheusRule" in site.cluster.kinds and site.spec.monitoring.rules:
        found.append(_rules(site))
    return found


def _account(site: Site) -> Manifest:
    """Pods get no token: they have nothing to say to the API server."""
    return site.manifest(
        "v1", "ServiceAccount", "pods", "pods", {"automountServiceAccountToken": False}
    )


def _settings(site: Site) -> Manifest:
    return site.manifest("v1", "ConfigMap", "settings", "settings", {"data": env.settings(site)})


def _pod_monitor(site: Site) -> Manifest:
    mine = {
        "app.kubernetes.io/name": "analect",
        "app.kubernetes.io/instance": names.label(site.name),
    }
    body = {
        "selector": {"matchLabels": mine},
        "podMetricsEndpoints": [{"port": "http", "path": "/metrics"}],
        "podTargetLabels": ["app.kubernetes.io/instance", "app.kubernetes.io/component"],
    }
    return site.manifest(
        "monitoring.coreos.com/v1", "PodMonitor", "metrics", "metrics", {"spec": body}
    )


def _rules(site: Site) -> Manifest:
    """The store's alerts, by its own thresholds."""
    mine = f'namespace="{site.namespace}",app_kubernetes_io_instance="{names.label(site.name)}"'
    alerts = store_alerts(site.spec.monitoring.thresholds)
    name = f"{site.namespace}-{site.name}"
    body = {"groups": groups(name, alerts, mine, site.cluster.runbooks)}
    return site.manifest(
        "monitoring.coreos.com/v1", "PrometheusRule", "alerts", "metrics", {"spec": body}
    )
