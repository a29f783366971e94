"""What the dispatcher of a store says: engines in words, workers by the backlog."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import binary
from tests.cluster.conftest import ROOT
from tests.cluster.operators import EXTERNAL, Operators, Place, Running, operators
from tests.cluster.plane import Plane, wait_for
from tests.conftest import requires

ENGINES = ("database", "queue", "search", "vectors", "graph")


class Dispatcher:
    """Stands where the Service of a dispatcher would: one answer for every store."""

    def __init__(self) -> None:
        self.status: Any = {
            "processors": {},
            "engines": {name: {"state": "ok"} for name in ENGINES},
            "store": {"schema": "0007"},
        }
        self.keys: list[str] = []


@contextmanager
def answering(dispatcher: Dispatcher) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            dispatcher.keys.append(self.headers["authorization"].removeprefix("Bearer "))
            body = json.dumps(dispatcher.status).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asked(dispatcher: Dispatcher) -> None:
    """Wait until what was said at the next asking has had its effect."""
    before = len(dispatcher.keys)
    wait_for(lambda: len(dispatcher.keys) > before + 1, what="asked, and asked again")


@pytest.fixture
def fleet(plane: Plane, tmp_path: Path) -> Iterator[Operators]:
    with operators(plane, tmp_path) as made:
        yield made


@pytest.fixture
def with_keda(tmp_path: Path) -> Iterator[Plane]:
    """A control plane that knows KEDA's kinds beside ours. Nobody scales anything there: the test
    says how many there are to be, as KEDA would.
    """
    if missing := binary.missing():
        requires("kubernetes", missing)
    kinds = tmp_path / "kinds"
    kinds.mkdir()
    foreign = Path(__file__).parent / "foreign"
    keda = (foreign / f"{name}.yaml" for name in ("scaledobjects", "triggerauthentications"))
    for file in (*(ROOT / "crds").glob("*.yaml"), *keda):
        (kinds / file.name).symlink_to(file)
    made = Plane(binary.ensure(), tmp_path / "plane", kinds)
    try:
        made.start()
        made.start_kwok()
        made.provide_volumes(2)
        yield made
    finally:
        made.stop()


def pods_of(place: Place, component: str) -> list[str]:
    """The pods of a part of a store that are to stay."""
    label = f"?labelSelector=app.kubernetes.io/component={component}"
    found = place.plane.api.items(place.path("pods") + label)
    return sorted(
        one["metadata"]["name"] for one in found if "deletionTimestamp" not in one["metadata"]
    )


def test_engines_in_words_and_workers_by_the_backlog(
    fleet: Operators, plane: Plane, namespace: str
) -> None:
    place = Place(plane, namespace)
    dispatcher = Dispatcher()
    scaled = {"name": "text", "autoscaling": {"min": 1, "max": 4, "targetBacklog": 10}}
    with answering(dispatcher) as address:

        def started() -> Running:
            where = f"{address}/{{service}}"
            return fleet.ready(poll_seconds="0.1", namespaces=namespace, service_url=where)

        running = started()
        wait_for(running.leads, what="it leads")
        place.store("demo", EXTERNAL | {"processors": [scaled]})
        idle = place.says("demo", "ProcessorsAvailable", "False", "NoWorkers")
        assert "nobody works on graph, vectors" in idle["message"]
        others = [{"name": "vectors"}, {"name": "graph"}]
        place.change("demo", {"processors": [scaled, *others]})
        place.says("demo", "SearchReady", "True", "Answers")
        place.ready("demo")
        refused = "https://search:9200 refused the password"
        engines = dispatcher.status["engines"]
        engines["vectors"] = {"state": "unavailable", "message": refused}
        found = place.says("demo", "SearchReady", "False", "NotReady")
        assert found["message"] == refused
        assert refused in place.condition("demo", "Ready")["message"]
        engines["vectors"] = {"state": "ok"}
        place.ready("demo")

        def workers() -> int:
            body = place.get("deployments", "demo-worker-text") or {}
            return int(body["spec"]["replicas"])

        assert (place.get("analysisstores", "demo") or {})["status"]["schemaVersion"] == "0007"
        assert workers() == 1
        second = started()
        looks = "analect_operator_reconciles_total"
        wait_for(
            lambda: second.metric(looks, outcome="done"), what="the second has seen one worker"
        )
        dispatcher.status["processors"] = {"text": {"entries": 35}}
        wait_for(lambda: workers() == 4, what="more workers at once")
        pods = wait_for(
            lambda: found if len(found := pods_of(place, "worker-text")) == 4 else None,
            what="their pods",
        )
        dispatcher.status["busy"] = {"text": [pods[2]]}
        assert running.metric("analect_operator_store_backlog_entries", store="demo") == 35
        # Whoever takes over goes on from the workers there are.
        running.terminate()
        dispatcher.status["processors"] = {"text": {"entries": 3}}
        wait_for(lambda: workers() == 3, what="one less at a time")
        wait_for(lambda: workers() == 1, what="down to the least")
        left = [pods[2]]
        wait_for(lambda: pods_of(place, "worker-text") == left, what="the busy one is left")
        assert second.leads()
        # By hand: there is no backlog that would ask for fewer.
        place.change("demo", {"processors": [scaled, {"name": "vectors", "replicas": 4}]})
        pods = wait_for(
            lambda: found if len(found := pods_of(place, "worker-vectors")) == 4 else None,
            what="four of another kind",
        )
        dispatcher.status["busy"] = {"vectors": [pods[1]]}
        place.change("demo", {"processors": [scaled, {"name": "vectors", "replicas": 1}]})
        left = [pods[1]]
        wait_for(lambda: pods_of(place, "worker-vectors") == left, what="the busy one is left")
        for strange in ([], {"processors": {"text": 3}}, {"busy": {"vectors": 1}}):
            dispatcher.status = strange
            asked(dispatcher)
        place.change("demo", {"processors": [scaled, {"name": "vectors", "replicas": 0}]})
        wait_for(lambda: not pods_of(place, "worker-vectors"), what="who says that hinders nobody")
        assert second.leads()
    secret = place.get("secrets", "demo-generated") or {}
    assert set(dispatcher.keys) == {base64.b64decode(secret["data"]["api-key"]).decode()}


def test_pods_that_do_not_begin_say_why(fleet: Operators, plane: Plane, namespace: str) -> None:
    fleet.ready(poll_seconds="0.2")
    place = Place(plane, namespace)
    place.store("demo", EXTERNAL | {"image": "analect:absent"})
    failing = place.says("demo", "MigrationsApplied", "False", "PodsFail")
    assert "the image analect:absent cannot be pulled" in failing["message"]
    assert failing["message"] in place.says("demo", "Ready", "False", "PodsFail")["message"]
    place.change("demo", {"image": "analect:1.0.0"})
    place.ready("demo")
    # What serves goes on: it is told all the same that the change does not come about.
    place.change("demo", {"podTemplate": {"nodeSelector": {"kubernetes.io/os": "none"}}})
    stuck = place.says("demo", "IngestAvailable", "True", "RolloutStuck")
    assert "demo-ingest: pods of before serve" in stuck["message"]
    assert "finds no node: 0/1 nodes are available" in stuck["message"]
    assert "of before serve" in place.says("demo", "Ready", "True", "RolloutStuck")["message"]
    place.change("demo", {"podTemplate": {"nodeSelector": None}})
    place.says("demo", "Ready", "True", "AllAvailable")
    place.store("tiny", {"image": "analect:crash", "embedded": {}})
    last_words = "ended: analect: ANALECT_KEYS__KEK_VALUE is not base64"
    wait_for(
        lambda: place.condition("tiny", "IngestAvailable").get("message", "").endswith(last_words),
        what="the last words of the pod",
    )
    told = {
        (one["regarding"]["name"], one["reason"], one["type"])
        for one in plane.api.items(place.path("events"))
        if one.get("reportingController") == "analect.dev/operator"
    }
    assert {("demo", "PodsFail", "Warning"), ("demo", "RolloutStuck", "Warning")} <= told
    assert ("tiny", "PodsFail", "Warning") in told


PRICE = "controller.kubernetes.io/pod-deletion-cost"


def prices(place: Place) -> dict[str, str]:
    """What it costs to delete each of the workers on words; those that nobody priced are absent."""
    found = {}
    for name in pods_of(place, "worker-text"):
        meta = (place.get("pods", name) or {"metadata": {}})["metadata"]
        if PRICE in meta.get("annotations", {}):
            found[name] = meta["annotations"][PRICE]
    return found


def test_who_is_busy_is_told_to_whoever_scales(with_keda: Plane, tmp_path: Path) -> None:
    place = Place(with_keda, "default")
    dispatcher = Dispatcher()
    scaled = {"name": "text", "autoscaling": {"min": 1, "max": 4, "targetBacklog": 10}}
    with operators(with_keda, tmp_path) as fleet, answering(dispatcher) as address:
        where = f"{address}/{{service}}"
        running = fleet.ready(poll_seconds="0.1", service_url=where)
        wait_for(running.leads, what="it leads")
        place.store("demo", EXTERNAL | {"processors": [scaled]})
        dispatcher.status["processors"] = {"text": {"entries": 35}}
        workers = place.path("deployments", "demo-worker-text")
        wait_for(lambda: place.get("deployments", "demo-worker-text"), what="its workers")
        with_keda.api.merge(f"{workers}/scale", {"spec": {"replicas": 4}})
        pods = wait_for(
            lambda: found if len(found := pods_of(place, "worker-text")) == 4 else None,
            what="as many as somebody else wants",
        )
        dispatcher.status |= {"busy": {"text": [pods[1]]}, "processors": {"text": {"entries": 25}}}
        wait_for(lambda: prices(place) == {pods[1]: "1"}, what="the busy one costs")
        # Nobody has scaled them yet, and another one has work now.
        dispatcher.status["busy"] = {"text": [pods[2]]}
        now = {pods[1]: "0", pods[2]: "1"}
        wait_for(lambda: prices(place) == now, what="the other one costs")

        lease = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/{fleet.lease}"
        with_keda.api.merge(lease, {"spec": {"holderIdentity": "another"}})
        wait_for(lambda: not running.leads(), what="it leads no more")
        dispatcher.status["busy"] = {"text": [pods[0]]}
        now = {pods[0]: "1", pods[1]: "0", pods[2]: "0"}
        wait_for(lambda: prices(place) == now, what="told once it leads again")
        assert running.leads()

        store = place.path("analysisstores", "demo")
        pause = {"metadata": {"annotations": {"analect.dev/paused": "true"}}}
        with_keda.api.merge(store, pause)
        place.says("demo", "Paused", "True")
        asked(dispatcher)  # one that was under way may not have known
        dispatcher.status["busy"] = {"text": [pods[3]]}
        asked(dispatcher)
        assert prices(place) == now, "whoever pauses a store has its pods left alone"
        dispatcher.status["busy"] = {"text": [pods[0]]}
        with_keda.api.merge(store, {"metadata": {"annotations": {"analect.dev/paused": None}}})
        place.says("demo", "Paused", "False")

        dispatcher.status["processors"] = {"text": {"entries": 3}}
        with_keda.api.merge(f"{workers}/scale", {"spec": {"replicas": 1}})
        wait_for(lambda: pods_of(place, "worker-text") == [pods[0]], what="the busy one is left")
