"""The operator on a real API server: the table of speed and size, what was measured beside what
is asked.

    python -m benchmarks.operator_cluster [--stores 1000] [--idle 60]

etcd, API server, controller-manager, scheduler and the operator share this machine; pods are
faked by kwok. Needs Go once, to build the control plane.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.cluster import binary
from tests.cluster.operators import EXTERNAL, Operators, Place, Running, operators
from tests.cluster.plane import Plane, wait_for

ROOT = Path(__file__).parents[1]
SPEC = EXTERNAL | {
    # One pod a store: more would measure kwok.
    "ingest": {"replicas": 0},
    "query": {"replicas": 0},
    "processors": [{"name": name, "replicas": 0} for name in ("text", "vectors", "graph")],
    "objectStore": {"url": "s3://bucket/prefix"},
    "backup": {},
    "archive": {},
    "networkPolicy": {"enabled": True},
}
ROWS = (
    ("change_p50", "change of a spec to its child changed, P50", "ms", 100),
    ("change_p99", "the same, P99", "ms", 300),
    ("cold", "cold start, all converged", "s", 5),
    ("cold_writes", "writes of a cold start, but the Lease", "", 0),
    ("idle_writes", "writes while nothing changes, but the Lease", "", 0),
    ("edit_p99", "an edited child mended, P99", "ms", 300),
    ("delete_p99", "a deleted child made again, P99", "ms", 300),
    ("memory", "memory", "MiB", 150),
    ("hundred_still", "100 more stores at once, all children there, controllers still", "s", 8),
    ("hundred", "100 more, the controllers at work on them", "s", 8),
    ("handover", "the leader is told to stop: the other one leads", "s", 1),
    ("handover_work", "and a spec that is changed then is in its child", "s", 1),
    ("takeover", "the leader is killed: the other one leads", "s", 12),
)
KINDS = (
    "deployments",
    "services",
    "configmaps",
    "serviceaccounts",
    "cronjobs",
    "poddisruptionbudgets",
    "networkpolicies",
    "persistentvolumeclaims",
)
CONTROLLERS = ("controller-manager", "scheduler", "kwok")
FEW_WRITES = 3
"""A second: Leases are renewed."""
GIVEN = {"services": ("clusterIP", "clusterIPs"), "persistentvolumeclaims": ("volumeName",)}
"""What the API server or its controllers filled in."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stores", type=int, default=1000)
    parser.add_argument("--idle", type=float, default=60, help="seconds of watching it idle")
    said = parser.parse_args()
    stores: int = said.stores
    with tempfile.TemporaryDirectory(prefix="analect-bench-operator-") as folder:
        plane = Plane(binary.ensure(), Path(folder) / "plane", ROOT / "crds")
        try:
            plane.start()
            plane.start_kwok()
            # A claim that finds no volume is looked at, and complained of, again and again.
            plane.provide_volumes(stores + 400)
            plane.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "bench"}})
            with operators(plane, Path(folder), "info") as fleet:
                found = measured(plane, fleet, stores, said.idle)
        finally:
            plane.stop()
    print(f"{stores} stores, {found.pop('children'):.0f} children each")
    bare_seconds = {"hundred": found.pop("bare"), "hundred_still": found.pop("bare_still")}
    print(f"{'':66}{'asked':>10}{'seen':>12}")
    for name, title, unit, asked in ROWS:
        seen = found[name]
        mark = "" if seen <= asked else "  above"
        if name in bare_seconds:
            mark += f"; a client that only POSTs the same objects {bare_seconds[name]:,.1f} s"
        print(f"{title:66}{f'<= {asked} {unit}':>14}{f'{seen:,.1f} {unit}':>14}{mark}")


class Figures(dict[str, float]):
    """What was measured, told at once: a run that is cut short was not for nothing."""

    def __setitem__(self, name: str, value: float) -> None:
        print(f"  {name} {value:.2f}", flush=True)
        super().__setitem__(name, value)


@contextmanager
def spending(plane: Plane, operator: Running) -> Iterator[None]:
    """Tell what CPU each process had meanwhile."""
    processes = {**plane.processes, "operator": operator.process.pid}

    def seconds() -> dict[str, float]:
        times = {}
        for name, number in processes.items():
            said = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            times[name] = (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")
        return times

    before = seconds()
    yield
    told = (f"{name} {after - before[name]:.1f}" for name, after in seconds().items())
    print(f"  seconds of CPU: {', '.join(told)}", flush=True)


def measured(plane: Plane, fleet: Operators, stores: int, idle: float) -> dict[str, float]:
    """Every figure."""
    place = Place(plane, "bench")
    first = fleet.ready()
    began = time.monotonic()
    make(place, range(stores))
    settled(first, stores)
    print(f"{stores} stores made and converged in {time.monotonic() - began:.0f} s", flush=True)
    children = sum(owned(place, kind) for kind in KINDS) // stores
    # The controllers are behind with what was made; until they are through, stores change.
    calm(plane)
    first.terminate()
    second = fleet.start()
    began = time.monotonic()
    patiently(
        lambda: second.ready() and looks(second) >= stores and at_rest(second), "all looked at"
    )
    found = Figures()
    found["children"], found["cold"] = children, time.monotonic() - began
    found["cold_writes"] = second.writes()
    before = second.writes()
    time.sleep(idle)
    found["idle_writes"] = second.writes() - before
    found["memory"] = resident(second)
    with Watched(plane) as seen:
        changes = [one(seen, place, number, change) for number in sample(stores)]
        edits = [one(seen, place, number, edit) for number in sample(stores)]
        deletes = [one(seen, place, number, delete) for number in sample(stores)]
    found["change_p50"] = statistics.median(changes)
    found["change_p99"] = p99(changes)
    found["edit_p99"] = p99(edits)
    found["delete_p99"] = p99(deletes)
    third = standby(fleet, stores)
    with Watched(plane) as seen:
        began = time.monotonic()
        second.process.terminate()
        right = change(place, 0, more=1000)
        found["handover"] = timed(third, began)
        seen.until("store-0-query", right)
        found["handover_work"] = time.monotonic() - began
    fourth = standby(fleet, stores)
    began = time.monotonic()
    third.kill()
    found["takeover"] = timed(fourth, began)

    def both(name: str, work: Callable[[int], float]) -> None:
        """Twice: the operator and the API server by themselves, and with the controllers."""
        calm(plane)
        with still(plane), spending(plane, fourth):
            found[f"{name}_still"] = work(0)
        settled(fourth, stores)
        calm(plane)
        with spending(plane, fourth):
            found[name] = work(1)
        settled(fourth, stores)

    both("hundred", lambda turn: hundred(place, stores + 100 * turn))
    both("bare", lambda turn: bare(place, f"bare-{turn}"))
    return found


@contextmanager
def still(plane: Plane) -> Iterator[None]:
    """The controllers and the scheduler of Kubernetes do nothing meanwhile."""
    for name in CONTROLLERS:
        plane.pause(name)
    try:
        yield
    finally:
        for name in CONTROLLERS:
            plane.resume(name)


def calm(plane: Plane) -> None:
    """Wait until next to nothing is written any more, by whomever."""

    def version() -> int:
        found = plane.api.call("GET", "/api/v1/namespaces?limit=1")["metadata"]
        return int(found["resourceVersion"])

    def look() -> bool:
        before = version()
        time.sleep(3)
        return version() - before < 3 * FEW_WRITES

    wait_for(look, what="the controllers are through", deadline=600)


def make(place: Place, numbers: range) -> None:
    """Stores that say their migrations are through, so that their children are all there is."""

    def one(number: int) -> None:
        place.store(f"store-{number}", SPEC)
        status = {"status": {"migratedVersion": SPEC["image"]}}
        path = place.path("analysisstores", f"store-{number}")
        place.plane.api.merge(f"{path}/status", status)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, numbers))


def settled(running: Running, stores: int) -> None:
    """Wait until nothing is written any more."""

    def calm() -> bool:
        before = running.writes()
        time.sleep(3)
        return at_rest(running) and running.writes() == before and looks(running) >= stores

    wait_for(calm, what="converged", deadline=1800)


def patiently(look: Callable[[], bool], what: str) -> None:
    """Ask a few times a second only: whoever is asked has work to do, on the same two CPUs."""

    def slowly() -> bool:
        time.sleep(0.2)
        return look()

    wait_for(slowly, what=what, deadline=180)


def standby(fleet: Operators, stores: int) -> Running:
    """Another one that knows all there is, and waits."""
    found = fleet.ready()
    patiently(lambda: looks(found) >= stores and at_rest(found), "all looked at")
    return found


def timed(heir: Running, began: float) -> float:
    """Seconds until this one leads."""
    wait_for(heir.leads, what="it leads", deadline=30)
    return time.monotonic() - began


def at_rest(running: Running) -> bool:
    """Whether nothing waits."""
    return running.metric("analect_operator_queue_entries") == 0


def looks(running: Running) -> float:
    """How many looks at stores ended well."""
    name = "analect_operator_reconciles_total"
    return running.metric(name, kind="AnalysisStore", outcome="done")


def owned(place: Place, kind: str) -> int:
    """How many children of a kind there are; counted without listing them."""
    found = place.plane.api.call("GET", f"{place.path(kind)}?limit=1")
    return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))


def resident(running: Running) -> float:
    """MiB in memory."""
    text = Path(f"/proc/{running.process.pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def sample(stores: int) -> list[int]:
    """A hundred stores."""
    return random.Random(7).sample(range(stores), min(100, stores))


def p99(values: list[float]) -> float:
    """In milliseconds, as given."""
    return sorted(values)[int(len(values) * 0.99) - 1]


class Watched:
    """Deployments as they change: when each was last seen, with what."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._news = threading.Condition()
        self._live: dict[str, dict[str, Any] | None] = {}
        self._enough = False
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        path = "/apis/apps/v1/namespaces/bench/deployments"
        # Not from the beginning: to read six thousand takes longer than what is waited for.
        now = self._plane.api.call("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
        self._answer = self._plane.api.watch(path, now)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # With one event more, made here: what one thread reads another one cannot close.
        self._enough = True
        path = "/apis/apps/v1/namespaces/bench/deployments/store-0-query"
        annotations = {"watched": str(time.monotonic_ns())}
        self._plane.api.merge(path, {"metadata": {"annotations": annotations}})
        self._thread.join(timeout=30)
        self._answer.close()

    def until(self, name: str, right: Callable[[dict[str, Any] | None], bool]) -> None:
        """Wait until the Deployment is so."""
        with self._news:
            assert self._news.wait_for(lambda: right(self._live.get(name)), timeout=30)

    def _follow(self) -> None:
        try:
            for line in self._answer:
                event = json.loads(line)
                item = event["object"]
                with self._news:
                    gone = event["type"] == "DELETED"
                    self._live[item["metadata"]["name"]] = None if gone else item
                    self._news.notify_all()
                if self._enough:
                    return
        except (OSError, ValueError, AttributeError):
            return  # the server closed it


def change(place: Place, number: int, more: int = 0) -> Callable[[dict[str, Any] | None], bool]:
    """Another spec, and another one with ``more`` thousandths of a CPU; what its child must be."""
    cpu = f"{more + random.Random(number).randint(101, 899)}m"
    place.change(f"store-{number}", {"query": {"resources": {"cpu": cpu}}})

    def right(item: dict[str, Any] | None) -> bool:
        if item is None:
            return False
        container = item["spec"]["template"]["spec"]["containers"][0]
        return container.get("resources", {}).get("requests", {}).get("cpu") == cpu

    return right


def edit(place: Place, number: int) -> Callable[[dict[str, Any] | None], bool]:
    """Somebody edits a child."""
    path = place.path("deployments", f"store-{number}-query")
    answer = place.plane.api.merge(path, {"spec": {"replicas": 1}})
    generation = answer["metadata"]["generation"]
    return lambda item: (
        item is not None
        and item["metadata"]["generation"] > generation
        and item["spec"]["replicas"] == 0
    )


def delete(place: Place, number: int) -> Callable[[dict[str, Any] | None], bool]:
    """Somebody deletes a child."""
    path = place.path("deployments", f"store-{number}-query")
    uid = (place.plane.api.get(path) or {})["metadata"]["uid"]
    place.plane.api.delete(path)
    return lambda item: item is not None and item["metadata"]["uid"] != uid


def one(seen: Watched, place: Place, number: int, act: Callable[..., Any]) -> float:
    """Milliseconds from the answer to what was done until the child is right."""
    right = act(place, number)
    began = time.monotonic()
    seen.until(f"store-{number}-query", right)
    return (time.monotonic() - began) * 1000


def hundred(place: Place, stores: int) -> float:
    """Seconds until 100 more stores have as many children as those before."""
    wanted = {kind: owned(place, kind) // stores * (stores + 100) for kind in KINDS}
    began = time.monotonic()
    make(place, range(stores, stores + 100))
    # To count them is work for the server, too: not before the last store has what is made last.
    last = f"store-{stores + 99}-callers"
    patiently(lambda: place.get("networkpolicies", last) is not None, "the last store's children")
    patiently(lambda: all(owned(place, kind) >= wanted[kind] for kind in KINDS), "all children")
    return time.monotonic() - began


def bare(place: Place, namespace: str) -> float:
    """Seconds that a client takes, eight calls at a time, to POST what 100 stores consist of: what
    no operator can be faster than.
    """
    plane = place.plane
    plane.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    there = Place(plane, namespace)
    bodies = []
    for kind in KINDS:
        path = f"{place.path(kind)}?labelSelector=app.kubernetes.io/instance=store-0"
        for item in plane.api.items(path):
            meta = {name: item["metadata"][name] for name in ("name", "labels")}
            for name in GIVEN.get(kind, ()):
                item["spec"].pop(name, None)
            rest = {name: part for name, part in item.items() if name not in {"metadata", "status"}}
            bodies.append((there.path(kind), json.dumps({"metadata": meta, **rest})))

    def post(number: int) -> None:
        for path, text in bodies:
            body = json.loads(text.replace("store-0", f"bare-{number}"))
            plane.api.call("POST", path, body)

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(post, range(100)))
    return time.monotonic() - began


if __name__ == "__main__":
    main()
