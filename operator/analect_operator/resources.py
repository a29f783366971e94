"""The kinds of Kubernetes that a store is made of, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from analect_operator.specs.kinds import KINDS


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind and its place in the API."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Path of all of them, of those of a namespace, or of one."""
        root = "/api" if "/" not in self.api_version else "/apis"
        within = f"/namespaces/{namespace}" if namespace else ""
        one = f"/{name}" if name else ""
        return f"{root}/{self.api_version}{within}/{self.plural}{one}"


class Ref(NamedTuple):
    """One object. A tuple, for it is the key of all that is known: looked up ten times an event."""

    namespace: str
    kind: str
    name: str

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> Ref:
        """The object that a manifest describes."""
        meta = manifest["metadata"]
        return cls(meta.get("namespace", ""), manifest["kind"], meta["name"])


CHILDREN = tuple(
    Resource(*row)
    for row in (
        ("v1", "ConfigMap", "configmaps"),
        ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        ("v1", "Service", "services"),
        ("v1", "ServiceAccount", "serviceaccounts"),
        ("apps/v1", "Deployment", "deployments"),
        ("apps/v1", "StatefulSet", "statefulsets"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        ("batch/v1", "CronJob", "cronjobs"),
        ("batch/v1", "Job", "jobs"),
        ("networking.k8s.io/v1", "Ingress", "ingresses"),
        ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
        ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    )
)
OPTIONAL = (
    Resource("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    Resource("keda.sh/v1alpha1", "ScaledObject", "scaledobjects"),
    Resource("keda.sh/v1alpha1", "TriggerAuthentication", "triggerauthentications"),
    Resource("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
    Resource("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
)
"""Kinds that a cluster may lack."""

SECRETS = Resource("v1", "Secret", "secrets")
PODS = Resource("v1", "Pod", "pods")
EVENTS = Resource("events.k8s.io/v1", "Event", "events")
LEASES = Resource("coordination.k8s.io/v1", "Lease", "leases")
OWN = {kind.kind: Resource(kind.api_version, kind.kind, kind.plural) for kind in KINDS}
BY_KIND = {
    resource.kind: resource
    for resource in (*CHILDREN, *OPTIONAL, SECRETS, PODS, EVENTS, LEASES, *OWN.values())
}
