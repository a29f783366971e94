"""All that is ever rendered, from stores with everything on, before a real API server: it knows every
field, would write it as we say it, and lets the pods into a namespace that enforces `restricted`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from analect_operator.build.children import children
from analect_operator.build.jobs import Policy, migration, once
from analect_operator.build.site import Cluster, Manifest, Site
from analect_operator.build.volumes import generated_secret
from analect_operator.objects import decoded
from analect_operator.projection import live_digest, wanted_digest
from analect_operator.resources import BY_KIND, OPTIONAL
from analect_operator.specs.retention import RetentionSpec
from analect_operator.specs.store import StoreSpec
from analect_operator.works import work_run
from tests.cluster.plane import APPLY, Plane, Refused

EVERY_KIND = Cluster(frozenset(one.kind for one in OPTIONAL))
SIZES = {"cpu": "500m", "memory": "512Mi", "cpuLimit": "2", "memoryLimit": "2Gi"}
COMMON: dict[str, Any] = {
    "imagePullPolicy": "Always",
    "backup": {"volume": {"size": "20Gi", "storageClassName": "slow"}, "resources": SIZES},
    "archive": {"resources": SIZES},
    "objectStore": {
        "url": "s3://bucket/prefix",
        "endpoint": "https://objects:9000",
        "region": "eu-central-1",
        "secretRef": {"name": "bucket"},
        "ca": {"name": "authority"},
    },
    "privacy": {"names": True, "vault": True, "omitServices": ["payroll", "hr"]},
    "networkPolicy": {"enabled": True, "allowFromNamespaces": ["web"], "allowToPorts": [8443]},
    "apiKeys": {"name": "callers", "key": "hashes"},
    "keys": {
        "kekSecretRef": {"name": "kek", "key": "kek"},
        "ring": {"size": "2Gi", "storageClassName": "shared"},
    },
    "podTemplate": {
        "annotations": {"example.org/team": "a"},
        "labels": {"example.org/cost": "b"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}
                    ]
                }
            }
        },
        "tolerations": [{"key": "dedicated", "value": "a", "effect": "NoSchedule"}],
        "topologySpread": [{"topologyKey": "topology.kubernetes.io/zone"}],
        "imagePullSecrets": ["registry"],
        "env": [
            {"name": "A", "value": "b"},
            {"name": "C", "secretKeyRef": {"name": "more", "key": "c"}},
        ],
    },
}
SERVED = {
    "ingest": {
        "autoscaling": {"min": 2, "max": 5},
        "resources": SIZES,
        "exposure": {"host": "in.example.org", "tlsSecretName": "tls", "ingressClassName": "nginx"},
    },
    "query": {
        "replicas": 3,
        "serviceType": "LoadBalancer",
        "exposure": {"host": "out.example.org", "gateway": "outer"},
    },
    "dispatcher": {"replicas": 2, "resources": SIZES},
    "processors": [
        {"name": "text", "autoscaling": {"min": 0, "max": 9}, "batch": 100, "concurrency": 4},
        {"name": "graph", "replicas": 2, "resources": SIZES},
    ],
}
PARTS = ("database", "queue", "search", "graph")
MANAGED = {
    "storage": {"size": "5Gi", "storageClassName": "fast"},
    "image": "registry.example.org/server:1",
    "resources": SIZES,
}
WHERE = {
    "database": "postgresql://db:5432/a",
    "queue": "rediss://valkey:6380/0",
    "search": "https://search:9200",
    "graph": "neo4j+s://graph:7687",
}
STORES: dict[str, dict[str, Any]] = {
    "external": COMMON
    | SERVED
    | {
        part: {
            "external": {
                "url": url,
                "ca": {"name": "authority"},
                "secretRef": {"name": part, "usernameKey": "user", "passwordKey": "password"},
            }
        }
        for part, url in WHERE.items()
    },
    "by-secret": SERVED
    | {part: {"external": {"secretRef": {"name": part, "urlKey": "url"}}} for part in PARTS},
    "managed": COMMON | SERVED | {part: {"managed": MANAGED} for part in PARTS},
    "plain": {part: {"managed": {}} for part in PARTS},
    "embedded": COMMON
    | {
        "embedded": {"storage": {"size": "50Gi", "storageClassName": "fast"}, "resources": SIZES},
        "ingest": {"exposure": {"host": "in.example.org"}, "serviceType": "NodePort"},
    },
    "smallest": {"embedded": {}},
}
POLICY = {
    "storeRef": {"name": "demo"},
    "rules": [{"name": "all", "hotDays": 30, "warmDays": 90, "coldDays": 900}],
}
WORKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Backup", {}),
    ("Restore", {"backupId": "20260101T000000Z-full"}),
    ("Erasure", {"subjectSecretRef": {"name": "who", "key": "subject"}}),
    ("Erasure", {"sessionId": "s-1"}),
)


@pytest.fixture(scope="module")
def space(bare: Plane) -> Iterator[str]:
    """A namespace that enforces `restricted`."""
    name = f"strict-{uuid.uuid4().hex[:8]}"
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    body = {"metadata": {"name": name, "labels": labels}}
    bare.api.call("POST", "/api/v1/namespaces", body)
    path = f"/api/v1/namespaces/{name}/serviceaccounts"
    bare.api.call("POST", path, {"metadata": {"name": "demo-pods"}})
    yield name
    bare.api.delete(f"/api/v1/namespaces/{name}")


def rendered(spec: dict[str, Any], namespace: str) -> list[Manifest]:
    """Everything that the operator ever makes of a store like this."""
    site = Site(
        "demo",
        namespace,
        str(uuid.uuid4()),
        StoreSpec.model_validate(spec),
        "analect:1.0.0",
        EVERY_KIND,
    )
    policy = Policy("keep", RetentionSpec.model_validate(POLICY))
    found = [*children(site, policy), migration(site), generated_secret(site, bytes)]
    for number, (kind, more) in enumerate(WORKS):
        if kind != "Backup" or site.spec.backup is not None:
            body = {"kind": kind, "spec": {"storeRef": {"name": "demo"}, **more}}
            found.append(once(site, work_run(site, body), str(number)))
    return found


def dry(plane: Plane, manifest: Manifest) -> Manifest:
    """What the API server would keep; it refuses a field that it does not know."""
    meta = manifest["metadata"]
    path = BY_KIND[manifest["kind"]].path(meta["namespace"], meta["name"])
    asks = "fieldManager=analect-operator&dryRun=All&fieldValidation=Strict&force=true"
    return plane.api.call("PATCH", f"{path}?{asks}", manifest, APPLY)


@pytest.mark.parametrize("name", STORES)
def test_every_field_is_known_and_kept_as_it_was_said(bare: Plane, space: str, name: str) -> None:
    manifests = rendered(STORES[name], space)
    for manifest in manifests:
        called = f"{manifest['kind']} {manifest['metadata']['name']}"
        try:
            kept = dry(bare, manifest)
        except Refused as refused:
            pytest.fail(f"{called}: {refused}")
        told = decoded(msgspec.json.encode(kept))
        assert live_digest(told) == wanted_digest(manifest), f"{called} is kept in another form"


def test_the_stores_have_everything_on() -> None:
    kinds = {one["kind"] for spec in STORES.values() for one in rendered(spec, "n")}
    assert {one.kind for one in OPTIONAL} <= kinds
    assert {"Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= kinds


def templates(manifest: Manifest) -> Iterator[Manifest]:
    """Of pods, with the volumes that a StatefulSet adds to its own."""
    spec = manifest.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    if "template" in spec:
        claims = [one["metadata"]["name"] for one in spec.get("volumeClaimTemplates", ())]
        volumes = [{"name": name, "emptyDir": {}} for name in claims]
        pod = spec["template"]["spec"]
        yield spec["template"] | {"spec": pod | {"volumes": [*pod.get("volumes", ()), *volumes]}}


@pytest.mark.parametrize("name", ["external", "managed", "embedded"])
def test_pods_are_let_in_where_restricted_is_enforced(bare: Plane, space: str, name: str) -> None:
    found = [template for one in rendered(STORES[name], space) for template in templates(one)]
    for template in found:
        pod = {
            "metadata": {**template["metadata"], "generateName": "any-"},
            "spec": template["spec"],
        }
        bare.api.call("POST", f"/api/v1/namespaces/{space}/pods?dryRun=All", pod)
    assert len(found) >= 8
    open_to_all = {
        "metadata": {"generateName": "any-"},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    with pytest.raises(Refused, match="PodSecurity"):
        bare.api.call("POST", f"/api/v1/namespaces/{space}/pods?dryRun=All", open_to_all)
