"""Real Prometheus and Alertmanager (Debian's packages) on free ports of loopback, and somebody who
is notified."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests import asking
from tests.acceptance.processes import wait_for
from tests.conftest import requires

_LISTENS = re.compile(r'msg="Listening on" address=(127\.0\.0\.1:\d+)')
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "watch-on-kubernetes.md"


@dataclass(frozen=True, slots=True)
class Pod:
    """What is scraped: ``metadata`` is that of its template, ``url`` where it really listens."""

    url: str
    namespace: str
    name: str
    metadata: Mapping[str, Any]

    def discovered(self) -> dict[str, Any]:
        """As Prometheus finds it in a cluster."""
        address = self.url.removeprefix("http://")
        found = {"namespace": self.namespace, "pod_name": self.name}
        for part in ("label", "annotation"):
            for name, value in self.metadata[f"{part}s"].items():
                found[f"pod_{part}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"] = value
        port = "pod_annotation_prometheus_io_port"
        assert port in found, "nothing tells Prometheus to scrape it"
        found[port] = address.rpartition(":")[2]
        labels = {f"__meta_kubernetes_{name}": value for name, value in found.items()}
        return {"targets": [address], "labels": labels}


def relabelling() -> list[dict[str, Any]]:
    """What the documentation tells a plain Prometheus to do with the pods that it finds."""
    (block,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    found: list[dict[str, Any]] = yaml.safe_load(block)["scrape_configs"][0]["relabel_configs"]
    return found


@dataclass(slots=True)
class Receiver:
    """A webhook that keeps the alerts it was sent, in order."""

    url: str = ""
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def got(self, name: str, status: str) -> dict[str, Any] | None:
        """The first notification of this alert with this status (``firing``, ``resolved``)."""
        return next(
            (
                one
                for one in self.alerts
                if one["labels"]["alertname"] == name and one["status"] == status
            ),
            None,
        )


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    url: str

    def ready(self) -> bool:
        """Whether it answers questions now."""
        return asking.get(f"{self.url}/-/ready").is_success

    def ask(self, path: str, **params: str) -> Any:
        """``data`` of an answer of its API; a question it does not understand is an error."""
        answer = asking.get(f"{self.url}/api/v1/{path}", params=params, timeout=30)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found

    def scraped(self, targets: int) -> bool:
        """Whether so many targets have been reached."""
        found = self.ask("targets", state="active")["activeTargets"]
        failed = [one["lastError"] for one in found if one["health"] == "down"]
        assert not failed, failed
        return [one["health"] for one in found] == ["up"] * targets

    def alerts(self) -> set[str]:
        """What fires, or will when it lasts."""
        return {one["labels"]["alertname"] for one in self.ask("alerts")["alerts"]}

    def unwell(self) -> list[str]:
        """Rules that cannot be evaluated, or have not been yet."""
        return [
            f"{rule['name']}: {rule.get('lastError', rule['health'])}"
            for group in self.ask("rules")["groups"]
            for rule in group["rules"]
            if rule["health"] != "ok"
        ]

    def families(self) -> set[str]:
        """Every metric that a target declares, whether it has a series yet or not."""
        return set(self.ask("metadata"))


def needed() -> None:
    """Skip where the programs are not installed."""
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            requires("monitoring", f"{program}, Debian's package of that name")


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver, until the block ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.alerts.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """What came is in ``alerts``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def watching(
    folder: Path,
    pods: Sequence[Pod],
    groups: list[dict[str, Any]],
    receiver: Receiver | None = None,
) -> Iterator[Prometheus]:
    """A Prometheus that has reached all ``pods`` and evaluated the rules of ``groups``."""
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "250ms"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "analect",
                "file_sd_configs": [{"files": ["pods.json"]}],
                "relabel_configs": relabelling(),
            }
        ],
    }
    (folder / "pods.json").write_text(json.dumps([pod.discovered() for pod in pods]))
    with ExitStack() as stack:
        if receiver is not None:
            alertmanager = stack.enter_context(_alertmanager(folder, receiver))
            config["alerting"] = {
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]
            }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        address = stack.enter_context(
            _running(
                folder / "prometheus.log",
                "prometheus",
                f"--config.file={folder}/prometheus.yaml",
                f"--storage.tsdb.path={folder}/data",
                "--web.listen-address=127.0.0.1:0",
                # Resent every quarter of a minute otherwise, and resolved as late.
                "--rules.alert.resend-delay=1s",
            )
        )
        prometheus = Prometheus(f"http://{address}")
        wait_for(prometheus.ready)  # it listens before it has opened what it keeps
        wait_for(lambda: prometheus.scraped(len(pods)))
        wait_for(lambda: not prometheus.unwell())
        yield prometheus


@contextmanager
def _alertmanager(folder: Path, receiver: Receiver) -> Iterator[str]:
    config = {
        "route": {
            "receiver": "somebody",
            "group_by": ["alertname"],
            "group_wait": "50ms",
            "group_interval": "1s",
        },
        "receivers": [
            {
                "name": "somebody",
                "webhook_configs": [{"url": receiver.url, "send_resolved": True}],
            }
        ],
    }
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    with _running(
        folder / "alertmanager.log",
        "prometheus-alertmanager",
        f"--config.file={folder}/alertmanager.yaml",
        f"--storage.path={folder}/alertmanager",
        "--cluster.listen-address=",
        "--web.listen-address=127.0.0.1:0",
    ) as address:
        yield address


@contextmanager
def _running(log: Path, *command: str) -> Iterator[str]:
    """The program, until the block ends; the address that its log names."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)

    def listens() -> str | None:
        assert process.poll() is None, log.read_text()
        found = _LISTENS.search(log.read_text())
        return found[1] if found else None

    try:
        yield wait_for(listens)
    finally:
        process.terminate()
        process.wait(20)
