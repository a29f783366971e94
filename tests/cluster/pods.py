"""One pod as local processes: started, probed, restarted, stopped, and reported on as a kubelet
does it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.cluster import images
from tests.cluster.plane import Api, Refused
from tests.cluster.sandbox import Sandbox
from tests.cluster.volumes import Absent, Body, Given

PATCH = "application/strategic-merge-patch+json"
HOST = "10.244.255.1"
_TICK = 0.1
_SAID_BYTES = 4096
_LOG_LINES = 80


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Container:
    """A container and its process."""

    spec: Body
    folder: Path
    said: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    began: str = ""
    ended: str = ""
    restarts: int = 0
    started: bool = False
    ready: bool = False
    failures: int = 0
    next_probe: float = 0.0
    next_look: float = 0.0
    next_start: float = 0.0
    last: Body = field(default_factory=dict)

    @property
    def name(self) -> str:
        name: str = self.spec["name"]
        return name

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def code(self) -> int | None:
        """What it ended with; 128 more than the signal that ended it."""
        code = self.process.poll() if self.process is not None else None
        return 128 - code if code is not None and code < 0 else code

    def state(self) -> Body:
        """As its pod's status shows it."""
        if self.process is None:
            return {"waiting": {"reason": "ContainerCreating"}}
        if self.code is None:
            return {"running": {"startedAt": self.began}}
        self.ended = self.ended or now()
        return {
            "terminated": {
                "exitCode": self.code,
                "reason": "Completed" if self.code == 0 else "Error",
                "startedAt": self.began,
                "finishedAt": self.ended,
                "message": self._message(),
            }
        }

    def _message(self) -> str:
        said = self.said.read_text("utf-8", "replace") if self.said is not None else ""
        fallback = self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not said and fallback and self.code:
            lines = self.log.read_text("utf-8", "replace").splitlines()
            said = "\n".join(lines[-_LOG_LINES:])
        return said[-_SAID_BYTES:]


class Pod:
    """One pod on a node; ``run`` in a thread of its own until it is gone."""

    def __init__(self, api: Api, server: str, body: Body, number: int, folder: Path) -> None:
        self._api = api
        self._server = server
        self.body = body
        meta = body["metadata"]
        self.path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        self.uid: str = meta["uid"]
        # EndpointSlices refuse loopback addresses; everything under 127 is this machine's own.
        tail = f"{128 + (os.getpid() >> 8) % 127}.{os.getpid() & 255}.{number}"
        self.ip, self.address = f"10.{tail}", f"127.{tail}"
        self._folder = folder / f"{meta['namespace']}.{meta['name']}.{number}"
        self._names = folder / "names" / meta["namespace"]
        self._began = now()
        self._leaving = threading.Event()
        self._told: Body = {}
        self._given = Given(api, body | {"status": {"podIP": self.ip}}, self._folder / "volumes")
        self.containers = [Container(one, self._folder) for one in body["spec"]["containers"]]
        self.waits_for = ""

    @property
    def ready(self) -> bool:
        """Whether all its containers are, and are to stay."""
        return not self._leaving.is_set() and all(one.ready for one in self.containers)

    def leave(self) -> None:
        """It is to end."""
        self._leaving.set()

    def run(self) -> None:
        """Until it ended by itself, or was told to leave and did."""
        self._folder.mkdir(parents=True)
        try:
            while not self._leaving.wait(_TICK):
                for one in self.containers:
                    self._look(one)
                self._tell(self._phase())
                if self._phase() in {"Succeeded", "Failed"}:
                    self._leaving.wait()
            self._end()
        except (Refused, OSError) as error:
            # The control plane is going away, or the test that wanted it has ended.
            self.waits_for = str(error)
        finally:
            for one in self.containers:
                if one.process is not None and one.process.poll() is None:
                    one.process.kill()
                    one.process.wait()

    def logs(self) -> str:
        """What all its containers wrote."""
        found = [one.log for one in self.containers if one.log.exists()]
        said = "\n".join(f"== {log}\n{log.read_text('utf-8', 'replace')}" for log in found)
        return f"{self.path} {self._told.get('phase')} {self.waits_for}\n{said}"

    def _look(self, one: Container) -> None:
        if one.process is None or (one.code is not None and self._again(one)):
            if time.monotonic() >= one.next_start:
                self._start(one)
        elif one.code is None:
            self._probe(one)
        else:
            one.ready = False

    def _again(self, one: Container) -> bool:
        policy = self.body["spec"].get("restartPolicy", "Always")
        return policy == "Always" or (policy == "OnFailure" and one.code != 0)

    def _start(self, one: Container) -> None:
        if one.process is not None:
            one.last = one.state()
            one.restarts += 1
        try:
            words, environment, sandbox = self._prepared(one)
        except Absent as error:
            self.waits_for = str(error)
            one.next_start = time.monotonic() + 0.3
            return
        self.waits_for = ""
        one.said = sandbox.folder / "termination-log"
        with one.log.open("ab") as log:
            one.process = subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        one.began, one.ended, one.failures, one.next_probe = now(), "", 0, 0.0
        one.next_look = 0.0
        one.started = "startupProbe" not in one.spec
        one.ready = one.started and "readinessProbe" not in one.spec
        one.next_start = time.monotonic() + min(5.0, 0.5 * 2**one.restarts)

    def _prepared(self, one: Container) -> tuple[list[str], dict[str, str], Sandbox]:
        folder = self._folder / f"{one.name}-{one.restarts}"
        if folder.exists():
            shutil.rmtree(folder)
        security = self.body["spec"].get("securityContext", {})
        sandbox = Sandbox(
            folder, self._names, security.get("runAsUser", 0), security.get("runAsGroup", 0)
        )
        for mount in one.spec.get("volumeMounts", ()):
            source, only = self._given.volume(mount["name"])
            read_only = only or mount.get("readOnly", False)
            sandbox.mount(source, mount["mountPath"], read_only=read_only)
        image = images.of(one.spec["image"])
        sandbox.show(image.programs)
        host, _, port = self._server.removeprefix("https://").partition(":")
        environment = {
            **image.environment(self.address),
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            **self._given.environment(one.spec),
        }
        # The network is shared: what would listen everywhere listens on the pod's address.
        environment = {
            name: self.address if value == "0.0.0.0" else value
            for name, value in environment.items()
        }
        words = one.spec.get("command") or image.entrypoint
        return sandbox.command([*words, *one.spec.get("args", ())]), environment, sandbox

    def _probe(self, one: Container) -> None:
        """Readiness is asked for more often than the pod says, so that tests wait less; whether it
        lives, as the pod says.
        """
        if time.monotonic() < one.next_probe:
            return
        if not one.started:
            one.started = self._answers(one, one.spec["startupProbe"])
        elif (probe := one.spec.get("readinessProbe")) is not None:
            one.ready = self._answers(one, probe)
        else:
            one.ready = True
        one.next_probe = time.monotonic() + (1.0 if one.ready else 0.2)
        probe = one.spec.get("livenessProbe")
        if probe is None or not one.started or time.monotonic() < one.next_look:
            return
        one.next_look = time.monotonic() + probe.get("periodSeconds", 10)
        one.failures = 0 if self._answers(one, probe) else one.failures + 1
        if one.failures >= probe.get("failureThreshold", 3) and one.process is not None:
            one.process.kill()

    def _answers(self, one: Container, probe: Body) -> bool:
        said = probe.get("httpGet") or probe["tcpSocket"]
        port = said["port"]
        if isinstance(port, str):
            (port,) = (p["containerPort"] for p in one.spec["ports"] if p["name"] == port)
        seconds = probe.get("timeoutSeconds", 1)
        try:
            if "tcpSocket" in probe:
                socket.create_connection((self.address, port), seconds).close()
                return True
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            url = f"http://{self.address}:{port}{said.get('path', '/')}"
            with opener.open(url, timeout=seconds) as answer:
                return bool(answer.status < 400)
        except (OSError, urllib.error.HTTPError):
            return False

    def _phase(self) -> str:
        codes = [one.code if not self._again(one) else None for one in self.containers]
        if any(one.process is None for one in self.containers):
            return "Pending"
        if all(code is not None for code in codes):
            return "Failed" if any(codes) else "Succeeded"
        return "Running"

    def _tell(self, phase: str) -> None:
        ready = phase == "Running" and all(one.ready for one in self.containers)
        flag = "True" if ready else "False"
        statuses = [
            {
                "name": one.name,
                "image": one.spec["image"],
                "imageID": one.spec["image"],
                "ready": one.ready,
                "started": one.started,
                "restartCount": one.restarts,
                "state": one.state(),
                "lastState": one.last,
            }
            for one in self.containers
        ]
        status = {
            "phase": phase,
            "startTime": self._began,
            "hostIP": HOST,
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "conditions": [
                {"type": kind, "status": said}
                for kind, said in (
                    ("Initialized", "True"),
                    ("ContainersReady", flag),
                    ("Ready", flag),
                )
            ],
            "containerStatuses": statuses,
        }
        if status == self._told:
            return
        self._told = status
        body = {"metadata": {"uid": self.uid}, "status": status}
        try:
            self._api.call("PATCH", f"{self.path}/status", body, PATCH)
        except Refused as refused:
            if refused.code not in {404, 409}:  # it went meanwhile
                raise

    def _end(self) -> None:
        grace = self.body["spec"].get("terminationGracePeriodSeconds", 30)
        deadline = time.monotonic() + grace
        for one in self.containers:
            if one.process is not None and one.process.poll() is None:
                os.killpg(one.process.pid, signal.SIGTERM)
        for one in self.containers:
            if one.process is None:
                continue
            try:
                one.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait()
        self._tell(self._phase())
        last: dict[str, Any] = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        try:
            self._api.call("DELETE", self.path, last)
        except Refused as refused:
            if refused.code not in {404, 409}:
                raise
