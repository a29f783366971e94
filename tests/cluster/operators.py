"""Operators as real processes, and what tests ask of the cluster they work on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.plane import DEADLINE, Plane, _die_with_parent, wait_for
from tests.ports import free_port

GROUP = "/apis/analect.dev/v1alpha1"
EXTERNAL: dict[str, Any] = {
    "image": "analect:1.0.0",
    "database": {"external": {"url": "postgresql://db:5432/a"}},
    "queue": {"external": {"url": "redis://valkey:6379/0"}},
    "search": {"external": {"url": "http://search:9200"}},
    "graph": {"external": {"url": "bolt://graph:7687"}},
}


@dataclass
class Running:
    """One operator process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return '"ready": true' in self.get("/readyz")
        except (urllib.error.HTTPError, OSError):
            return False

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all samples that carry these labels."""
        total = 0.0
        for line in self.get("/metrics").splitlines():
            if line.startswith((f"{name} ", f"{name}{{")) and all(
                f'{label}="{value}"' in line for label, value in labels.items()
            ):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def writes(self) -> float:
        """Writes but those to the Lease."""
        name = "analect_operator_writes_total"
        return self.metric(name) - self.metric(name, kind="Lease")

    def wrote(self, namespace: str) -> list[str]:
        """Every write to this namespace so far: verb, kind and name."""
        lines = (line for line in self.log.read_text().splitlines() if '"event": "writes"' in line)
        found = [json.loads(line) for line in lines]
        return [
            f"{one['verb']} {one['kind']} {one['name']}"
            for one in found
            if one["namespace"] == namespace
        ]

    def leads(self) -> bool:
        # Not by the metrics: to tell of a thousand stores takes the time that is measured.
        return '"leads": true' in self.get("/readyz")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


@dataclass
class Operators:
    """Starts operators on a plane and stops what is left."""

    plane: Plane
    folder: Path
    log_level: str = "debug"
    started: list[Running] = field(default_factory=list)
    lease: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}")

    def start(self, kubeconfig: Path | None = None, **env: str) -> Running:
        port = free_port()
        log = self.folder / f"operator-{len(self.started)}-{port}.log"
        said = {f"ANALECT_OPERATOR_{name.upper()}": value for name, value in env.items()}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "analect_operator.main"],
                env={
                    **os.environ,
                    "KUBECONFIG": str(kubeconfig or self.plane.kubeconfig),
                    "ANALECT_OPERATOR_HOST": "127.0.0.1",
                    "ANALECT_OPERATOR_PORT": str(port),
                    "ANALECT_OPERATOR_LOG_LEVEL": self.log_level,
                    "ANALECT_OPERATOR_POLL_SECONDS": "0",
                    # A leader of another test that was killed is not waited for.
                    "ANALECT_OPERATOR_LEASE": self.lease,
                    **said,
                },
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  (no thread runs Python in the child)
            )
        running = Running(process, port, log)
        self.started.append(running)
        return running

    def ready(self, kubeconfig: Path | None = None, **env: str) -> Running:
        running = self.start(kubeconfig, **env)
        wait_for(running.ready, what="the operator is ready")
        return running

    def stop(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGCONT)
                running.process.terminate()
        for running in self.started:
            try:
                running.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                running.kill()


@contextmanager
def operators(plane: Plane, folder: Path, log_level: str = "debug") -> Iterator[Operators]:
    """At ``debug`` a log tells of every write, which `Running.wrote` reads."""
    made = Operators(plane, folder, log_level)
    try:
        yield made
    finally:
        made.stop()


@dataclass(frozen=True)
class Place:
    """A namespace seen through the API."""

    plane: Plane
    name: str

    def path(self, kind: str, name: str = "") -> str:
        root = {
            "deployments": "/apis/apps/v1",
            "statefulsets": "/apis/apps/v1",
            "jobs": "/apis/batch/v1",
            "cronjobs": "/apis/batch/v1",
            "poddisruptionbudgets": "/apis/policy/v1",
            "horizontalpodautoscalers": "/apis/autoscaling/v2",
            "networkpolicies": "/apis/networking.k8s.io/v1",
            "events": "/apis/events.k8s.io/v1",
        }.get(kind)
        if root is None:
            own = ("analysisstores", "retentionpolicies", "backups", "restores", "erasures")
            root = GROUP if kind in own else "/api/v1"
        tail = f"/{name}" if name else ""
        return f"{root}/namespaces/{self.name}/{kind}{tail}"

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.plane.api.get(self.path(kind, name))

    def names(self, kind: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.plane.api.items(self.path(kind))}

    def create(self, kind: str, plural: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        body = {
            "apiVersion": "analect.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        return self.plane.api.call("POST", self.path(plural), body)

    def store(self, name: str, spec: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.create("AnalysisStore", "analysisstores", name, spec or EXTERNAL)

    def run_now(self, cron_job: str, name: str, *, failing: str | None = None) -> None:
        """As `kubectl create job --from` does; where it is to fail, with these last words."""
        found = self.get("cronjobs", cron_job) or {}
        owner = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": cron_job,
            "uid": found["metadata"]["uid"],
            "controller": True,
        }
        template = found["spec"]["jobTemplate"]
        labels = template["metadata"]["labels"]
        if failing is not None:
            pod = template["spec"]["template"]
            pod["metadata"]["annotations"]["test/message"] = failing
            pod["spec"]["containers"][0]["image"] = "analect:broken"
        meta = {"name": name, "labels": labels, "ownerReferences": [owner]}
        body = {"metadata": meta, "spec": template["spec"]}
        self.plane.api.call("POST", self.path("jobs"), body)

    def change(self, name: str, spec: dict[str, Any]) -> None:
        self.plane.api.merge(self.path("analysisstores", name), {"spec": spec})

    def condition(self, name: str, type_: str, plural: str = "analysisstores") -> dict[str, Any]:
        body = self.get(plural, name) or {}
        found = (body.get("status") or {}).get("conditions") or ()
        return next((one for one in found if one["type"] == type_), {})

    def says(
        self,
        name: str,
        type_: str,
        status: str,
        reason: str = "",
        deadline: float = DEADLINE,
        **more: str,
    ) -> Any:
        """Wait until a condition says so; the condition."""

        def look() -> dict[str, Any] | None:
            one = self.condition(name, type_, **more)
            right = one.get("status") == status and reason in {"", one.get("reason")}
            return one if right else None

        what = f"{name} {type_}={status} {reason}"
        try:
            return wait_for(look, what=what, deadline=deadline)
        except AssertionError as error:
            error.add_note(self._seen(name, **more))
            raise

    def _seen(self, name: str, plural: str = "analysisstores") -> str:
        """What a resource says of itself, and the Deployments of their pods."""
        status = (self.get(plural, name) or {}).get("status") or {}
        said = [
            f"{one['type']}={one['status']}: {one.get('message', '')}"
            for one in status.get("conditions", ())
        ]
        ready = [
            f"{item['metadata']['name']}: {item.get('status', {}).get('readyReplicas', 0)} ready"
            for item in self.plane.api.items(self.path("deployments"))
        ]
        return "\n".join([*said, *ready])

    def ready(self, name: str) -> None:
        self.says(name, "Ready", "True")
