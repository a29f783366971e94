"""What the builders are told: a store, where it stands, and what was decided about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analect_operator.build import names
from analect_operator.specs.base import GROUP, VERSION
from analect_operator.specs.store import StoreSpec

Manifest = dict[str, Any]

MANAGER = "analect-operator"
_NO_LABEL = frozenset("/@:")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the cluster has beside Kubernetes itself, the namespace in which the operator is, and
    the address under which its runbooks are (empty: nobody said).
    """

    kinds: frozenset[str] = frozenset()
    operator: str = "default"
    runbooks: str = ""

    @property
    def keda(self) -> bool:
        """Whether KEDA scales workers, and the operator does not."""
        return "ScaledObject" in self.kinds


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One store as it is to be built. Two are the same only where they are one object: what is
    worked out for a site is remembered by that.

    ``image`` is what its pods are to run: the old one while migrations of the new one are not
    through. ``secrets`` are digests of the Secrets it uses, by name, so that a change rolls pods.
    ``workers`` are numbers of workers by processor where they are not the spec's to say.
    ``running`` is false until the database is migrated for the first time, ``writers_stopped`` true
    while a Restore waits or runs. ``fenced``: the database was told of the mode.
    """

    name: str
    namespace: str
    uid: str
    spec: StoreSpec
    image: str
    cluster: Cluster = Cluster()
    secrets: Mapping[str, str] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    running: bool = True
    writers_stopped: bool = False
    fenced: bool = True

    def called(self, part: str) -> str:
        """Name of the part."""
        return names.child(self.name, part)

    @property
    def stopped(self) -> bool:
        """Whether no pod is to run."""
        return self.spec.mode == "Stopped"

    @property
    def servers_stopped(self) -> bool:
        """Whether managed servers rest too: once the database holds the mode, and nobody restores."""
        return self.stopped and self.fenced and not self.writers_stopped

    @property
    def embedded(self) -> bool:
        """Whether it is one pod with everything in it."""
        return self.spec.embedded is not None

    @property
    def secret(self) -> str:
        """The Secret with what the operator made for this store: passwords, keys."""
        return self.called("generated")

    @property
    def version(self) -> str:
        """The image's tag, as a label's value."""
        tag = self.image.rpartition(":")[2] if ":" in self.image else "latest"
        return "digest" if _NO_LABEL & set(tag) or "@" in self.image else tag[:63]

    def labels(self, component: str) -> dict[str, str]:
        """What every part of the store carries."""
        return {
            **self.selector(component),
            "app.kubernetes.io/managed-by": MANAGER,
            "app.kubernetes.io/part-of": "analect",
            "app.kubernetes.io/version": self.version,
        }

    def selector(self, component: str) -> dict[str, str]:
        """What tells the pods of a part from all others."""
        return {
            "app.kubernetes.io/name": "analect",
            "app.kubernetes.io/instance": names.label(self.name),
            "app.kubernetes.io/component": component,
        }

    def manifest(
        self, api_version: str, kind: str, part: str, component: str, body: Manifest
    ) -> Manifest:
        """A part that goes when the store goes."""
        made = self.lasting(api_version, kind, part, component, body)
        made["metadata"]["ownerReferences"] = [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "AnalysisStore",
                "name": self.name,
                "uid": self.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        return made

    def lasting(
        self, api_version: str, kind: str, part: str, component: str, body: Manifest
    ) -> Manifest:
        """A part that outlives the store."""
        return {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {
                "name": self.called(part),
                "namespace": self.namespace,
                "labels": self.labels(component),
            },
            **body,
        }

    def kept(
        self, api_version: str, kind: str, part: str, component: str, body: Manifest
    ) -> Manifest:
        """A part that the deletion policy speaks of."""
        make = self.lasting if self.spec.deletion_policy == "Retain" else self.manifest
        return make(api_version, kind, part, component, body)
