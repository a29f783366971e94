"""A node whose pods are real processes of this machine: it registers itself, runs what the scheduler
binds to it, provides folders for claims, and tells pods the addresses of Services."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.cluster.plane import Plane, Refused
from tests.cluster.pods import HOST, PATCH, Pod, now

_POLL_SECONDS = 0.3
_SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_SIZE = {"cpu": "64", "memory": "256Gi", "pods": "250", "ephemeral-storage": "500Gi"}


class Node:
    """Threads in this process; ``close`` ends every pod."""

    def __init__(self, plane: Plane, folder: Path, name: str = "real-1") -> None:
        self._plane = plane
        self._folder = folder
        self._name = name
        self._closing = threading.Event()
        self._numbers = itertools.count(2)
        self._threads: list[threading.Thread] = []
        self._hosts: dict[str, str] = {}
        self.pods: dict[str, Pod] = {}
        """By uid, those that are gone as well."""

    def start(self) -> None:
        """Register, and run pods from now on."""
        labels = {"kubernetes.io/hostname": self._name, "kubernetes.io/os": "linux"}
        body = {"metadata": {"name": self._name, "labels": labels}}
        self._plane.api.call("POST", "/api/v1/nodes", body)
        self._beat()
        for work in (self._follow, self._serve):
            self._spawn(work)

    def close(self) -> None:
        """Every pod is told to leave, and is gone."""
        self._closing.set()
        for pod in self.pods.values():
            pod.leave()
        for thread in self._threads:
            thread.join(40)

    def find(self, namespace: str, prefix: str) -> Pod:
        """The newest pod whose name begins so; one that is ready, if there is one."""
        found = [
            pod
            for pod in self.pods.values()
            if pod.path.startswith(f"/api/v1/namespaces/{namespace}/pods/{prefix}")
        ]
        assert found, (
            f"no pod {namespace}/{prefix}; there are {[p.path for p in self.pods.values()]}"
        )
        return next((pod for pod in reversed(found) if pod.ready), found[-1])

    def _spawn(self, work: Any) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _beat(self) -> None:
        said = {
            "status": {
                "capacity": _SIZE,
                "allocatable": _SIZE,
                "addresses": [
                    {"type": "InternalIP", "address": HOST},
                    {"type": "Hostname", "address": self._name},
                ],
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True",
                        "reason": "Runs",
                        "lastHeartbeatTime": now(),
                        "lastTransitionTime": now(),
                    }
                ],
            }
        }
        self._plane.api.call("PATCH", f"/api/v1/nodes/{self._name}/status", said, PATCH)

    def _follow(self) -> None:
        """Pods of this node, looked for again and again: a watch of this size gains nothing."""
        query = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self._name}"
        while not self._closing.wait(_POLL_SECONDS):
            try:
                bodies = self._plane.api.items(query)
            except (Refused, OSError):
                continue  # the API server is being restarted
            for body in bodies:
                self._observe(body)

    def _observe(self, body: dict[str, Any]) -> None:
        uid = body["metadata"]["uid"]
        leaving = "deletionTimestamp" in body["metadata"]
        if uid not in self.pods:
            folder = self._folder / "pods"
            names = folder / "names" / body["metadata"]["namespace"]
            names.mkdir(parents=True, exist_ok=True)
            if not (names / "hosts").exists():
                (names / "hosts").write_text(self._hosts.get(names.name, "127.0.0.1 localhost\n"))
            pod = Pod(self._plane.api, self._plane.server, body, next(self._numbers), folder)
            self.pods[uid] = pod
            self._spawn(pod.run)
        if leaving:
            self.pods[uid].leave()

    def _serve(self) -> None:
        """What a cluster has beside its nodes: storage, names, a sign of life."""
        for round_ in itertools.count():
            if self._closing.wait(_POLL_SECONDS):
                return
            try:
                self._name_services()
                self._provide()
                if round_ % 30 == 0:
                    self._beat()
                    self._renew()
            except (Refused, OSError):
                continue  # the API server is being restarted

    def _renew(self) -> None:
        when = f"{now()[:-1]}.000000Z"
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": 40, "renewTime": when}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": spec,
        }
        self._plane.api.apply(_LEASES, body)

    def _name_services(self) -> None:
        """The hosts file of each namespace, from the EndpointSlices of its Services."""
        places: defaultdict[str, list[str]] = defaultdict(list)
        for one in self._plane.api.items(_SLICES):
            meta = one["metadata"]
            service = meta.get("labels", {}).get("kubernetes.io/service-name")
            for endpoint in one.get("endpoints") or ():
                if service and endpoint["conditions"].get("ready"):
                    address = endpoint["addresses"][0].replace("10.", "127.", 1)
                    places[meta["namespace"]].append(f"{address} {service}")
        for folder in (self._folder / "pods" / "names").glob("*"):
            text = _hosts(folder.name, places)
            if self._hosts.get(folder.name) != text:
                fresh = folder / f"hosts.{os.getpid()}"
                fresh.write_text(text)
                fresh.rename(folder / "hosts")
                self._hosts[folder.name] = text

    def _provide(self) -> None:
        for claim in self._plane.api.items("/api/v1/persistentvolumeclaims"):
            meta, spec = claim["metadata"], claim["spec"]
            if spec.get("volumeName") or claim.get("status", {}).get("phase") == "Bound":
                continue
            name = f"local-{meta['uid']}"
            body = {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": spec["resources"]["requests"],
                    "accessModes": spec["accessModes"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"namespace": meta["namespace"], "name": meta["name"]},
                    "hostPath": {"path": str(self._folder / "volumes" / name)},
                },
            }
            try:
                self._plane.api.call("POST", "/api/v1/persistentvolumes", body)
            except Refused as refused:
                if refused.code != 409:
                    raise


def _hosts(namespace: str, places: dict[str, list[str]]) -> str:
    lines = ["127.0.0.1 localhost"]
    for space, found in sorted(places.items()):
        for line in sorted(found):
            address, service = line.split()
            names = [f"{service}.{space}{tail}" for tail in ("", ".svc", ".svc.cluster.local")]
            own = [service] if space == namespace else []
            lines.append(" ".join([address, *own, *names]))
    return "\n".join(lines) + "\n"


def described(node: Node) -> str:
    """All that its pods said, for a test that failed."""
    return json.dumps({pod.path: pod.waits_for for pod in node.pods.values()}) + "".join(
        pod.logs() for pod in node.pods.values()
    )
