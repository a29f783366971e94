"""A Kubernetes control plane on loopback: etcd, API server, controller-manager, scheduler, kwok."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import secrets
import signal
import ssl
import subprocess
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.ports import free_port
from tests.waiting import pauses

DEADLINE = 60
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """In the child: gone when its parent is, however that ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_for(look: Callable[[], Any], *, what: str, deadline: float = DEADLINE) -> Any:
    """What ``look`` returns, once that is neither None nor False."""
    end = time.monotonic() + deadline
    pause = pauses()
    while True:
        found = look()
        if found not in (None, False):
            return found
        assert time.monotonic() < end, f"after {deadline} s still not: {what}"
        time.sleep(next(pause))


def read_yaml(text: str) -> Any:
    """One document, by the parser in C: definitions of custom resources are long, and the one in
    Python takes twenty times as long.
    """
    return yaml.load(text, yaml.CSafeLoader)


class Refused(AssertionError):
    """The API server said no."""

    def __init__(self, code: int, body: str) -> None:
        super().__init__(f"{code}: {body[:2000]}")
        self.code = code
        self.body = body


def _close(connections: list[http.client.HTTPSConnection]) -> None:
    for connection in connections:
        connection.close()


class Api:
    """Plain calls for tests, with one token; a connection a thread."""

    def __init__(self, server: str, ca: Path, token: str) -> None:
        self._address = server.removeprefix("https://")
        self._token = token
        self._kept = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []
        weakref.finalize(self, _close, self._opened)
        self._tls = ssl.create_default_context(cafile=str(ca))

    def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        used = getattr(self._kept, "connection", None)
        connection = used or self._open()
        self._kept.connection = None
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if used is not None:
                return self.call(method, path, body, kind)  # it had gone stale
            raise ConnectionError(str(error)) from error
        self._kept.connection = connection
        if answer.status >= 400:
            raise Refused(answer.status, text)
        return json.loads(text) if text.startswith("{") else {"text": text}

    def _open(self) -> http.client.HTTPSConnection:
        made = http.client.HTTPSConnection(self._address, context=self._tls, timeout=30)
        self._opened.append(made)
        return made

    def watch(self, path: str, since: str = "") -> Any:
        """The open answer to a watch: a line an event, all there is first or what came ``since``."""
        request = urllib.request.Request(
            f"https://{self._address}{path}?watch=true&timeoutSeconds=3600&resourceVersion={since}",
            headers={"Authorization": f"Bearer {self._token}"},
        )
        return urllib.request.urlopen(request, context=self._tls)

    def get(self, path: str) -> dict[str, Any] | None:
        try:
            return self.call("GET", path)
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    def items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", path)["items"]
        return found

    def apply(self, path: str, body: dict[str, Any], manager: str = "test") -> dict[str, Any]:
        name = body["metadata"]["name"]
        return self.call("PATCH", f"{path}/{name}?fieldManager={manager}&force=true", body, APPLY)

    def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        return self.call("PATCH", f"{path}?fieldManager=kubectl-edit", patch, MERGE)

    def delete(self, path: str) -> None:
        try:
            self.call("DELETE", path)
        except Refused as refused:
            if refused.code != 404:
                raise


class Plane:
    """One control plane; ``start`` and ``stop``, and the API server alone can be killed."""

    def __init__(self, binary: Path, folder: Path, crds: Path | None) -> None:
        self.binary = binary
        self.folder = folder
        self.crds = crds
        self.kubeconfig = folder / "admin.kubeconfig"
        self._tokens = {name: secrets.token_hex(16) for name in ("admin", "kcm", "scheduler")}
        self._ports = {
            name: free_port() for name in ("etcd", "peer", "api", "controllers", "scheduler")
        }
        self._api: Api | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._launched: dict[str, tuple[str, ...]] = {}

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self._ports['api']}"

    @property
    def ca(self) -> Path:
        return self.folder / "pki" / "apiserver.crt"

    @property
    def api(self) -> Api:
        """The administrator's."""
        if self._api is None:
            self._api = Api(self.server, self.ca, self._tokens["admin"])
        return self._api

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['etcd']}"

    @property
    def processes(self) -> dict[str, int]:
        """The numbers of its processes."""
        return {name: one.pid for name, one in self._running.items()}

    def start(self) -> None:
        self._prepare()
        self._etcd()
        self.start_api_server()
        self._install_crds()
        self._controllers()
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_for(lambda: self.api.get(account), what="the default ServiceAccount")

    def stop(self) -> None:
        for name in reversed(list(self._running)):
            self.kill(name)

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def pause(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGCONT)

    def start_api_server(self) -> None:
        pki = self.folder / "pki"
        self.launch(
            "apiserver",
            f"--etcd-servers={self.etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._ports['api']}",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={pki}",
            f"--token-auth-file={pki}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.key",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true",
            "--profiling=false",
            # A watch cannot begin with a list in Kubernetes 1.30, 1.31 and 1.33.
            "--feature-gates=WatchList=false",
            # Tests and benchmarks call faster than a tenant may.
            "--max-requests-inflight=1000",
            "--max-mutating-requests-inflight=500",
        )
        wait_for(self._ready, what="the API server is ready")

    def restart_api_server(self) -> None:
        """Killed and started again; and those that stand on it, which would wait up to a minute
        before they ask it again: twice as long after every failure.
        """
        self.kill("apiserver")
        self.start_api_server()
        for name in ("controller-manager", "scheduler", "kwok"):
            if name in self._running:
                self.kill(name)
                self.launch(name, *self._launched[name])
        probe = f"probe-{secrets.token_hex(4)}"
        self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": probe}})
        account = f"/api/v1/namespaces/{probe}/serviceaccounts/default"
        wait_for(lambda: self.api.get(account), what="the controllers work again")
        self.api.delete(f"/api/v1/namespaces/{probe}")

    def write_kubeconfig(self, path: Path, token: str) -> None:
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": self.server,
                                "certificate-authority": str(self.ca),
                            },
                        }
                    ],
                    "users": [{"name": "test", "user": {"token": token}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                }
            )
        )
        path.chmod(0o600)

    def launch(self, name: str, *arguments: str) -> None:
        self._launched[name] = arguments
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [self.binary, name, *arguments],
                stdout=log,
                stderr=log,
                # Memory for processors: these share two with the tests.
                env={**os.environ, "GOMAXPROCS": "2", "GOGC": "300"},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  (no thread runs Python in the child)
            )

    def provide_volumes(self, count: int) -> None:
        """So many claims are bound: nobody provisions here."""
        for number in range(count):
            body = {
                "metadata": {"name": f"volume-{number}"},
                "spec": {
                    "capacity": {"storage": "1Ti"},
                    "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                    "hostPath": {"path": f"/nowhere/{number}"},
                },
            }
            self.api.call("POST", "/api/v1/persistentvolumes", body)

    def start_kwok(self) -> None:
        """A node whose pods run at once, and do nothing."""
        size = {"cpu": "10000", "memory": "64Ti", "pods": "100000"}
        meta = {
            "name": "fake-1",
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": "fake-1"},
        }
        node = {"metadata": meta, "status": {"allocatable": size, "capacity": size}}
        self.api.call("POST", "/api/v1/nodes", node)
        stages = Path(__file__).parent / "kwok.yaml"
        self.launch(
            "kwok",
            f"--kubeconfig={self.kubeconfig}",
            f"--config={stages}",
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
            "--server-address=",
        )

    def _prepare(self) -> None:
        pki = self.folder / "pki"
        pki.mkdir(parents=True, exist_ok=True)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (pki / "sa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        tokens = self._tokens
        (pki / "tokens.csv").write_text(
            f'{tokens["admin"]},admin,admin,"system:masters"\n'
            f"{tokens['kcm']},system:kube-controller-manager,kcm\n"
            f"{tokens['scheduler']},system:kube-scheduler,scheduler\n"
        )
        self.write_kubeconfig(self.kubeconfig, tokens["admin"])
        for name in ("kcm", "scheduler"):
            self.write_kubeconfig(self.folder / f"{name}.kubeconfig", tokens[name])

    def _etcd(self) -> None:
        peer = f"http://127.0.0.1:{self._ports['peer']}"
        self.launch(
            "etcd",
            "--name=test",
            f"--data-dir={self.folder}/etcd",
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--heartbeat-interval=20",
            "--election-timeout=200",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=test={peer}",
        )

    def _controllers(self) -> None:
        manager = self.folder / "kcm.kubeconfig"
        self.launch(
            "controller-manager",
            f"--kubeconfig={manager}",
            f"--authentication-kubeconfig={manager}",
            f"--authorization-kubeconfig={manager}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['controllers']}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.folder}/pki/sa.key",
            f"--root-ca-file={self.ca}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--profiling=false",
        )
        scheduler = self.folder / "scheduler.kubeconfig"
        self.launch(
            "scheduler",
            f"--kubeconfig={scheduler}",
            f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports['scheduler']}",
            "--leader-elect=false",
            "--profiling=false",
        )

    def _ready(self) -> bool:
        log = self.folder / "apiserver.log"
        assert self._running["apiserver"].poll() is None, log.read_text()[-2000:]
        try:
            return self.api.call("GET", "/readyz")["text"] == "ok"
        except (OSError, Refused):
            return False

    def _install_crds(self) -> None:
        """Before the controller-manager starts: it looks for new kinds every 30 s only."""
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for file in sorted(self.crds.glob("*.yaml")) if self.crds is not None else ():
            body = read_yaml(file.read_text())
            self.api.apply(path, body)
            name = body["metadata"]["name"]
            wait_for(lambda n=name: self._established(f"{path}/{n}"), what=f"{name} established")

    def _established(self, path: str) -> bool:
        found = self.api.get(path) or {}
        conditions = (found.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
