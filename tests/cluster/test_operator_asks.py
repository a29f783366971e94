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

from tests.cluster.operators import EXTERNAL, Operators, Place, Running, operators
from tests.cluster.plane import Plane, wait_for

ENGINES = ("database", "queue", "search", "vectors", "graph")


class Dispatcher:
    """Stands where the Service of a dispatcher would: one answer for every store."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {
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


@pytest.fixture
def fleet(plane: Plane, tmp_path: Path) -> Iterator[Operators]:
    with operators(plane, tmp_path) as made:
        yield made


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
    secret = place.get("secrets", "demo-generated") or {}
    assert set(dispatcher.keys) == {base64.b64decode(secret["data"]["api-key"]).decode()}
