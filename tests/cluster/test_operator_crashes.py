"""A crash before and after every write of a reconcile; the next operator converges."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

import pytest

from analect_operator.api import Api
from analect_operator.controller import Controller
from analect_operator.metrics import Metrics
from analect_operator.settings import OperatorOptions
from tests.cluster.operators import Place
from tests.cluster.plane import Plane

# A crash leaves connections open: that is what is tested.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DEADLINE = 30
# The smallest store: what is tested is the way of applying, not what is applied.
SPEC = {"image": "analect:1.0.0", "embedded": {}}


class Crash(BaseException):
    """The process ends here."""


class CrashingApi(Api):
    """Ends the process before or after its write number ``at``; never when that is negative."""

    def __init__(self, metrics: Metrics, at: int, *, before: bool) -> None:
        super().__init__(metrics)
        self.left = at
        self.before = before
        self.crashed = asyncio.Event()

    async def _write(self, *arguments: Any) -> bytes:
        last = self.left == 0
        self.left -= 1
        if self.crashed.is_set() or (last and self.before):
            self.crashed.set()
            raise Crash
        answer = await super()._write(*arguments)
        if last:
            self.crashed.set()
            raise Crash
        return answer


async def lived(options: OperatorOptions, at: int, *, before: bool) -> tuple[bool, int]:
    """One life of an operator: until it crashes, or has nothing more to do. Whether it crashed,
    and how many writes there were.
    """
    metrics = Metrics()
    api = CrashingApi(metrics, at, before=before)
    controller = Controller(api, options, metrics, lambda: time.time_ns() // 1000, os.urandom)
    await controller.start()
    end = time.monotonic() + DEADLINE
    calm = 0
    while not api.crashed.is_set() and calm < 3:
        assert time.monotonic() < end, "it neither crashed nor came to rest"
        await asyncio.sleep(0.05)
        rested = (
            controller.lease.leads and controller.stores.memories and controller.queue.size == 0
        )
        calm = calm + 1 if controller.synced and rested and not controller.queue._busy else 0
    for task in controller._tasks:
        task.cancel()
    # A crash leaves through every task; what it raised there was the point.
    await asyncio.gather(*controller._tasks, return_exceptions=True)
    await api.close()
    gc.collect()  # what was left open complains now, and not in another test
    return api.crashed.is_set(), at - api.left


def children(place: Place) -> set[str]:
    kinds = (
        "deployments",
        "services",
        "configmaps",
        "serviceaccounts",
        "poddisruptionbudgets",
        "persistentvolumeclaims",
        "secrets",
    )
    return {
        f"{kind}/{name}" for kind in kinds for name in place.names(kind) if name.startswith("demo-")
    }


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_every_write(
    plane: Plane, namespace: str, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    place = Place(plane, namespace)
    whole: set[str] = set()
    at = 0
    while True:
        place.store("demo", SPEC)
        # As if migrated: the Job would be the same at every turn.
        plane.api.merge(
            f"{place.path('analysisstores', 'demo')}/status",
            {"status": {"migratedVersion": SPEC["image"]}},
        )
        options = OperatorOptions(
            namespaces=(namespace,),
            namespace=namespace,
            lease=f"crash-{at}",
            identity="one",
            poll_seconds=0,
            workers=1,
        )
        crashed, _ = asyncio.run(lived(options, at, before=before))
        again = OperatorOptions(
            namespaces=(namespace,),
            namespace=namespace,
            lease=f"after-{at}",
            identity="two",
            poll_seconds=0,
            workers=1,
        )
        if crashed:
            assert asyncio.run(lived(again, -1, before=before))[0] is False
        whole = whole or children(place)
        assert children(place) == whole
        if not crashed:
            break
        at += 1
        plane.api.delete(place.path("analysisstores", "demo"))
        remove_all(place)
    assert at >= len(whole), "every child is at least one write"


def remove_all(place: Place) -> None:
    """At once, without waiting for the garbage collector."""
    for path in children(place):
        kind, _, name = path.partition("/")
        body = place.path(kind, name)
        if kind == "persistentvolumeclaims":
            place.plane.api.merge(body, {"metadata": {"finalizers": None}})
        place.plane.api.delete(body)
