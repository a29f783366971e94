"""Who reaches the pods: policies inside the cluster, Ingress or HTTPRoute from outside."""

from __future__ import annotations

from collections.abc import Iterator

from analect_operator.build import environment as env
from analect_operator.build import names
from analect_operator.build.embedded import COMPONENT as EMBEDDED
from analect_operator.build.site import Manifest, Site
from analect_operator.specs.workloads import Exposure


def network(site: Site) -> Iterator[Manifest]:
    """NetworkPolicy, Ingresses, HTTPRoutes."""
    if site.spec.network_policy.enabled:
        yield _policy(site)
    for role, serving in (("ingest", site.spec.ingest), ("query", site.spec.query)):
        if serving.exposure is None:
            continue
        target = EMBEDDED if site.embedded else role
        if serving.exposure.gateway is None:
            yield _ingress(site, role, target, serving.exposure)
        elif "HTTPRoute" in site.cluster.kinds:
            yield _route(site, role, target, serving.exposure)


def _policy(site: Site) -> Manifest:
    """Everything of the store talks with one another; callers reach HTTP and nothing else."""
    mine = {
        "app.kubernetes.io/name": "analect",
        "app.kubernetes.io/instance": names.label(site.name),
    }
    spaces = [site.namespace, *sorted(site.spec.network_policy.allow_from_namespaces)]
    callers = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}}}
        for space in dict.fromkeys(spaces)
    ]
    body = {
        "podSelector": {"matchLabels": mine},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": mine}}]},
            {"from": callers, "ports": [{"port": env.PORT, "protocol": "TCP"}]},
        ],
    }
    return site.manifest(
        "networking.k8s.io/v1", "NetworkPolicy", "callers", "network", {"spec": body}
    )


def _ingress(site: Site, role: str, target: str, exposure: Exposure) -> Manifest:
    backend = {"service": {"name": site.called(target), "port": {"number": env.PORT}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    body: Manifest = {"rules": [{"host": exposure.host, "http": {"paths": [path]}}]}
    if exposure.ingress_class_name is not None:
        body["ingressClassName"] = exposure.ingress_class_name
    if exposure.tls_secret_name is not None:
        body["tls"] = [{"hosts": [exposure.host], "secretName": exposure.tls_secret_name}]
    return site.manifest("networking.k8s.io/v1", "Ingress", role, role, {"spec": body})


def _route(site: Site, role: str, target: str, exposure: Exposure) -> Manifest:
    api = "gateway.networking.k8s.io"
    body = {
        "parentRefs": [{"group": api, "kind": "Gateway", "name": exposure.gateway}],
        "hostnames": [exposure.host],
        "rules": [
            {
                "backendRefs": [
                    {
                        "group": "",
                        "kind": "Service",
                        "name": site.called(target),
                        "port": env.PORT,
                        "weight": 1,
                    }
                ],
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            }
        ],
    }
    return site.manifest(f"{api}/v1", "HTTPRoute", role, role, {"spec": body})
