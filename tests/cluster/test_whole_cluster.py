"""The whole of it where pods are real processes: the operator from its chart, stores that it makes,
records written, found and walked through their pods, and all of it deleted in the end."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from neo4j import GraphDatabase

from tests.cluster import binary, images, sandbox
from tests.cluster.node import Node, described
from tests.cluster.operators import Place
from tests.cluster.plane import Plane, wait_for
from tests.conftest import requires
from tests.engines.maven import CannotBuild

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[2]
SLOW = 180
LONG = os.environ.get("ANALECT_FAULT_ROUNDS") == "long"
_SECTION = re.compile(r"^## On Kubernetes$(.*?)^## ", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
WHOLE: dict[str, Any] = {
    "database": {"managed": {}},
    "queue": {"managed": {}},
    "search": {"managed": {}},
    "graph": {"managed": {}},
    "ingest": {"replicas": 1},
    "query": {"replicas": 1},
    "processors": [{"name": "text"}, {"name": "graph"}],
    # One process less to wait for.
    "podTemplate": {"env": [{"name": "ANALECT_INDEX__VECTORS", "value": "false"}]},
    "backup": {"volume": {}},
}
DRAFTS = [{"input": f"the pelican lands, {n}", "thread_id": "t-1", "turn": n} for n in range(20)]


@dataclass
class Live:
    """A plane whose only node runs pods, and the programs that people use on it."""

    plane: Plane
    node: Node
    programs: Path

    def sh(self, command: str) -> str:
        """A line as somebody types it."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=ROOT,
            env={
                "PATH": f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.programs),
                "KUBECONFIG": str(self.plane.kubeconfig),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, place: Place, store: str, role: str, path: str, body: Any = None) -> Any:
        """What a pod of the store answers, with the key that the operator made."""
        key = self.secret(place, f"{store}-generated", "api-key")
        address = self.node.find(place.name, f"{store}-{role}-").address
        return json.loads(self.get(address, 8080, path, key, body))

    def get(self, address: str, port: int, path: str, key: str = "", body: Any = None) -> bytes:
        """What a port of a pod answers."""
        request = urllib.request.Request(
            f"http://{address}:{port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            found: bytes = answer.read()
        return found

    def secret(self, place: Place, name: str, key: str) -> str:
        """A value of a Secret."""
        found = place.get("secrets", name) or {}
        return base64.b64decode(found["data"][key]).decode()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    for missing in (binary.missing(), sandbox.missing()):
        if missing:
            requires("kubernetes", missing)
    folder = tmp_path_factory.mktemp("live")
    program = binary.ensure()
    (folder / "bin").mkdir()
    helm = folder / "bin" / "helm"
    helm.write_text(f'#!/bin/sh\nexec {program} helm "$@"\n')
    helm.chmod(0o755)
    plane = Plane(program, folder / "plane", None)
    node = Node(plane, folder / "node")
    try:
        plane.start()
        node.start()
        yield Live(plane, node, folder / "bin")
    finally:
        node.close()
        plane.stop()


@pytest.fixture(autouse=True)
def told(live: Live, request: pytest.FixtureRequest, capsys: Any) -> Iterator[None]:
    """What the pods wrote is shown beside a test that failed."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        sys.stdout.write(described(live.node))


def test_the_readme_is_followed(live: Live) -> None:
    """The operator's release with its definitions, a first store, `helm test`."""
    section = _SECTION.search((ROOT / "README.md").read_text())
    assert section is not None
    commands = re.findall(r"^\$ (.*)$", "\n".join(_BLOCK.findall(section[1])), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        live.sh(command)
    place = Place(live.plane, "analect")
    (record,) = live.ask(place, "first", "embedded", "/v1/records")["items"]
    assert record["kind"] == "event"
    live.sh("kubectl --namespace analect delete analysisstore first")
    wait_for(lambda: "first-embedded" not in place.names("deployments"), what="its pod is gone")
    assert {"first-data", "first-keys"} <= place.names("persistentvolumeclaims")


@pytest.fixture(scope="module")
def store(live: Live) -> Place:
    """A store with managed servers, ready, and twenty records in it."""
    if not LONG:
        pytest.skip("only with ANALECT_FAULT_ROUNDS=long: it takes four servers and six processes")
    try:
        for server in ("opensearch", "neo4j"):
            images.of(server)
    except CannotBuild as error:
        requires("engines", str(error))
    live.sh("kubectl create namespace team")
    place = Place(live.plane, "team")
    place.store("demo", WHOLE)
    try:
        place.says("demo", "Ready", "True", deadline=SLOW)
    except AssertionError:
        sys.stdout.write(f"{place.get('analysisstores', 'demo')}\n{described(live.node)}")
        raise
    stored = live.ask(place, "demo", "ingest", "/v1/records", DRAFTS)
    assert stored["accepted"] == len(DRAFTS)
    return place


def test_a_record_is_found_in_opensearch_and_walked_in_neo4j(live: Live, store: Place) -> None:
    def found() -> Any:
        hits = live.ask(store, "demo", "query", "/v1/search?q=pelican&mode=text&limit=50")["items"]
        return hits if len(hits) == len(DRAFTS) else None

    hits = wait_for(found, what="every record is found", deadline=SLOW)
    wait_for(lambda: backlog(live, store) == 0, what="the backlog falls")
    record = hits[0]["record"]["id"]
    related = live.ask(store, "demo", "query", f"/v1/related/{record}?depth=2")
    assert len(related["nodes"]) >= len(DRAFTS)
    search = live.get(live.node.find("team", "demo-search").address, 9200, "/_cat/indices")
    assert "team-demo-text" in search.decode()
    graph = f"bolt://{live.node.find('team', 'demo-graph').address}:7687"
    auth = ("neo4j", live.secret(store, "demo-generated", "graph-password"))
    with GraphDatabase.driver(graph, auth=auth) as driver:
        (count,) = driver.execute_query("MATCH (r:Record) RETURN count(r)").records[0]
    assert count == len(DRAFTS)
    for condition in ("QueueReady", "SearchReady", "GraphReady"):
        store.says("demo", condition, "True", "Answers")


def test_what_runs_by_the_clock_runs_and_is_told_of(live: Live, store: Place) -> None:
    rules = [{"name": "all", "hotDays": 30}]
    spec = {"storeRef": {"name": "demo"}, "rules": rules, "schedule": "* * * * *"}
    store.create("RetentionPolicy", "retentionpolicies", "keep", spec)
    # The policy runs by the clock; the others are due at hours that nobody can wait for.
    live.sh("kubectl -n team create job --from=cronjob/demo-backup-daily backup-daily-now")
    parts = {"backup-daily", "retention"}
    said = wait_for(lambda: ended(store, parts), what="both ran", deadline=SLOW)
    live.sh(
        """kubectl -n team patch retentionpolicy/keep --type merge -p '{"spec":{"suspend":true}}'"""
    )
    assert set(said.values()) == {"Succeeded"}, described(live.node)
    policy = store.get("retentionpolicies", "keep") or {}
    assert policy["status"]["lastRun"]["outcome"] == "Succeeded"
    live.sh("kubectl -n team create job --from=cronjob/demo-drill drill-now")
    said = wait_for(lambda: ended(store, {"drill"}), what="the drill")
    assert set(said.values()) == {"Succeeded"}, described(live.node)


def test_a_stopped_store_is_restored_in_its_place(live: Live, store: Place) -> None:
    store.change("demo", {"mode": "Stopped"})
    wait_for(lambda: held(store) == "Stopped", what="the database refuses writes")
    store.create("Restore", "restores", "back", {"storeRef": {"name": "demo"}})
    done = store.says("back", "Complete", "True", plural="restores", deadline=SLOW)
    assert done["reason"] == "Succeeded"
    store.change("demo", {"mode": "Active"})
    store.says("demo", "Ready", "True", deadline=SLOW)
    wait_for(lambda: held(store) is None, what="the database takes writes")
    page = live.ask(store, "demo", "query", "/v1/records?limit=100")["items"]
    assert len(page) == len(DRAFTS)
    assert live.ask(store, "demo", "ingest", "/v1/records", DRAFTS[:1])["accepted"] == 1


def test_all_of_it_is_deleted(live: Live, store: Place) -> None:
    live.sh("kubectl -n team delete analysisstore/demo")
    live.sh("kubectl -n team delete restores,retentionpolicies --all")
    wait_for(lambda: not store.names("pods"), what="no pod is left", deadline=SLOW)
    assert not store.names("deployments") | store.names("cronjobs") | store.names("statefulsets")
    assert {"demo-keys", "demo-backups"} <= store.names("persistentvolumeclaims")
    assert "demo-generated" in store.names("secrets")
    live.sh("helm uninstall analect --namespace analect")
    wait_for(lambda: not Place(live.plane, "analect").names("pods"), what="the operator is gone")


def backlog(live: Live, store: Place) -> int:
    """Entries that wait, as the dispatcher counts them."""
    status = live.ask(store, "demo", "dispatcher", "/v1/status")
    return sum(one["entries"] for one in status["processors"].values())


def held(store: Place) -> str | None:
    """The mode that the database holds."""
    status: dict[str, Any] = (store.get("analysisstores", "demo") or {})["status"]
    return status.get("heldMode")


def ended(store: Place, parts: set[str]) -> dict[str, str] | None:
    """How the runs of these parts ended; None while one has not."""
    found = (store.get("analysisstores", "demo") or {})["status"].get("runs", ())
    said = {one["name"]: one.get("outcome", "Running") for one in found if one["name"] in parts}
    return said if said.keys() == parts and "Running" not in said.values() else None
