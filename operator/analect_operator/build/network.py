"""Who reaches the pods and whom they reach: policies inside the cluster, Ingress or HTTPRoute from
outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from analect_operator.build import environment as env
from analect_operator.build import names
from analect_operator.build.embedded import COMPONENT as EMBEDDED
from analect_operator.build.site import Manifest, Site
from analect_operator.specs.backends import ObjectStore
from analect_operator.specs.workloads import Exposure

_OPERATOR = {"app.kubernetes.io/name": "analect-operator"}
_NAMES = 53
_WEB = 80
_SECURE = 443
_USUAL = {"database": 5432, "queue": 6379, "search": 9200, "graph": 7687}
"""Ports of servers whose address says none."""
_PORT = re.compile(r"(?<=[^:/]):(\d+)(?=[,/?]|$)")
_METADATA = "169.254.0.0/16"
"""Where clouds tell pods who they are; without an access key a bucket is opened by that."""


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
    """Everything of the store talks with one another; callers and the operator reach HTTP and
    nothing else; the pods reach the ports of the store's servers.
    """
    mine = {
        "app.kubernetes.io/name": "analect",
        "app.kubernetes.io/instance": names.label(site.name),
    }
    one_another = {"podSelector": {"matchLabels": mine}}
    spaces = [site.namespace, *sorted(site.spec.network_policy.allow_from_namespaces)]
    callers: list[Manifest] = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}}}
        for space in dict.fromkeys(spaces)
    ]
    # It asks the dispatcher for the backlog and the states of engines.
    home = {"matchLabels": {"kubernetes.io/metadata.name": site.cluster.operator}}
    callers.append({"namespaceSelector": home, "podSelector": {"matchLabels": _OPERATOR}})
    body = {
        "podSelector": {"matchLabels": mine},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [one_another]}, {"from": callers, "ports": [_tcp(env.PORT)]}],
        "egress": [{"to": [one_another]}, *_outwards(site)],
    }
    return site.manifest(
        "networking.k8s.io/v1", "NetworkPolicy", "callers", "network", {"spec": body}
    )


def _outwards(site: Site) -> Iterator[Manifest]:
    """Beyond the store. By ports: where a name leads is not for a policy to know."""
    yield {"ports": [_tcp(_NAMES), {"port": _NAMES, "protocol": "UDP"}]}
    ports = set(site.spec.network_policy.allow_to_ports)
    for part, backend in env.backends(site).items():
        if backend.external is not None:
            ports |= _ports(backend.external.url or "", _USUAL[part])
    if (store := site.spec.object_store) is not None:
        ports |= _ports(store.endpoint or "https://", _WEB)
        yield from _identity(store)
    if ports:
        yield {"ports": [_tcp(port) for port in sorted(ports)]}


def _identity(store: ObjectStore) -> Iterator[Manifest]:
    if store.secret_ref is None:
        yield {"to": [{"ipBlock": {"cidr": _METADATA}}], "ports": [_tcp(_WEB)]}


def _ports(url: str, usual: int) -> set[int]:
    """The ports of an address, which may name several hosts."""
    scheme, _, rest = url.partition("://")
    said = {int(port) for port in _PORT.findall(rest.partition("/")[0])}
    return said or {_SECURE if scheme == "https" else usual}


def _tcp(port: int) -> Manifest:
    return {"port": port, "protocol": "TCP"}


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
