"""Single instances of the servers behind a store, for development."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analect_operator.build import environment as env
from analect_operator.build import pods
from analect_operator.build.site import Manifest, Site
from analect_operator.specs.backends import Managed
from analect_operator.specs.quantities import canonical


@dataclass(frozen=True, slots=True)
class _Server:
    image: str
    port: int
    user: int
    path: str
    env: tuple[tuple[str, str], ...] = ()
    secret_env: tuple[tuple[str, str], ...] = ()
    command: tuple[str, ...] = ()


_SERVERS = {
    "database": _Server(
        "postgres:18",
        5432,
        999,
        "/var/lib/postgresql",
        (("POSTGRES_USER", "analect"), ("POSTGRES_DB", "analect")),
        (("POSTGRES_PASSWORD", "database-password"),),
    ),
    "queue": _Server(
        "valkey/valkey:9",
        6379,
        999,
        "/data",
        (),
        (("QUEUE_PASSWORD", "queue-password"),),
        # The password comes by standard input, for arguments are seen by others; not by a pipe,
        # for then the shell would be told to end, and not the server.
        (
            "sh",
            "-c",
            "exec valkey-server - <<END\nrequirepass $QUEUE_PASSWORD\nappendonly yes\ndir /data\nEND",
        ),
    ),
    "search": _Server(
        "opensearchproject/opensearch:3.5.0",
        9200,
        1000,
        "/usr/share/opensearch/data",
        (
            ("DISABLE_INSTALL_DEMO_CONFIG", "true"),
            ("DISABLE_SECURITY_PLUGIN", "true"),
            ("discovery.type", "single-node"),
            ("node.store.allow_mmap", "false"),
        ),
    ),
    "graph": _Server(
        "neo4j:5.26-community",
        7687,
        7474,
        "/data",
        (),
        (("NEO4J_AUTH", "graph-auth"),),
    ),
}


def managed(site: Site) -> Iterator[Manifest]:
    """A StatefulSet of one pod and a headless Service for each."""
    for part, backend in env.backends(site).items():
        if backend.managed is not None:
            yield _stateful(site, part, backend.managed)
            yield _headless(site, part)


def _stateful(site: Site, part: str, spec: Managed) -> Manifest:
    server = _SERVERS[part]
    container: Manifest = {
        "name": part,
        "image": spec.image or server.image,
        "ports": [{"name": part, "containerPort": server.port, "protocol": "TCP"}],
        "env": [{"name": name, "value": value} for name, value in server.env]
        + [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": site.secret, "key": key}}}
            for name, key in server.secret_env
        ],
        "volumeMounts": [{"name": "data", "mountPath": server.path}],
        "readinessProbe": {"tcpSocket": {"port": part}, "periodSeconds": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    } | pods.sized(spec.resources)
    if server.command:
        container["command"] = list(server.command)
    claim: Manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": canonical(spec.storage.size)}},
            "volumeMode": "Filesystem",
        },
        "status": {"phase": "Pending"},
    }
    if spec.storage.storage_class_name is not None:
        claim["spec"]["storageClassName"] = spec.storage.storage_class_name
    body = {
        "replicas": 0 if site.servers_stopped else 1,
        "serviceName": site.called(part),
        "selector": {"matchLabels": site.selector(part)},
        "persistentVolumeClaimRetentionPolicy": {
            "whenDeleted": site.spec.deletion_policy,
            "whenScaled": "Retain",
        },
        "template": {
            # A newer version of Analect is no reason to restart the servers it stands on.
            "metadata": {"labels": site.selector(part)},
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "serviceAccountName": site.called("pods"),
                "securityContext": pods.restricted(server.user),
                "containers": [container],
            }
            | pods.placed(site, part),
        },
        "volumeClaimTemplates": [claim],
    }
    return site.manifest("apps/v1", "StatefulSet", part, part, {"spec": body})


def _headless(site: Site, part: str) -> Manifest:
    port = _SERVERS[part].port
    body = {
        "clusterIP": "None",
        "selector": site.selector(part),
        "ports": [{"name": part, "port": port, "protocol": "TCP", "targetPort": part}],
    }
    return site.manifest("v1", "Service", part, part, {"spec": body})
