"""A crash before and after every write of a reconcile; the next operator converges.

What is written one after the other (by works, by policies) is ended after each write only: before
the next one all is the same.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from analect_operator.api import Api
from analect_operator.controller import Controller
from analect_operator.metrics import Metrics
from analect_operator.resources import Ref
from analect_operator.settings import OperatorOptions
from tests.cluster.operators import EXTERNAL, Place
from tests.cluster.plane import Plane

# A crash leaves connections open: that is what is tested.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DEADLINE = 30
LONG = os.environ.get("ANALECT_FAULT_ROUNDS") == "long"
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
        self._may_write()  # one that waits for the Lease is none yet
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


def looked(controller: Controller) -> bool:
    """It has seen a store."""
    return bool(controller.stores.memories)


async def lived(
    options: OperatorOptions,
    at: int,
    *,
    before: bool,
    through: Callable[[Controller], bool] = looked,
) -> bool:
    """One life of an operator: until it crashes, or is ``through`` and has nothing more to do.
    Whether it crashed.
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
        rested = controller.queue.size == 0 and not controller.queue._busy
        leads = controller.synced and controller.lease.leads
        calm = calm + 1 if leads and rested and through(controller) else 0
    for task in controller._tasks:
        task.cancel()
    # A crash leaves through every task; what it raised there was the point.
    await asyncio.gather(*controller._tasks, return_exceptions=True)
    await api.close()
    gc.collect()  # what was left open complains now, and not in another test
    return api.crashed.is_set()


def options(namespace: str, name: str) -> OperatorOptions:
    """Of an operator of this one namespace, with a Lease that nobody else wants."""
    return OperatorOptions(
        namespaces=(namespace,),
        namespace=namespace,
        lease=name,
        identity=name,
        poll_seconds=0,
        workers=1,
    )


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
        crashed = asyncio.run(lived(options(namespace, f"crash-{at}"), at, before=before))
        if crashed:
            again = options(namespace, f"after-{at}")
            assert asyncio.run(lived(again, -1, before=before)) is False
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


@dataclass(frozen=True)
class Wish:
    """Something that is asked of a store, each time once more; when an operator is through with it;
    and what must be so then.
    """

    ask: Callable[[Place, int], None]
    through: Callable[[Place, Controller, int], bool]
    right: Callable[[Place, int], None]


def owned_jobs(place: Place, plural: str, name: str) -> int:
    uid = (place.get(plural, name) or {})["metadata"]["uid"]
    owners = [
        one["metadata"]["ownerReferences"] for one in place.plane.api.items(place.path("jobs"))
    ]
    return sum(any(owner["uid"] == uid for owner in found) for found in owners)


def said(place: Place, controller: Controller, kind: str, name: str) -> dict[str, Any]:
    """The status, as the operator knows it."""
    found: dict[str, Any] = (controller.world.get(Ref(place.name, kind, name)) or {}).get(
        "status", {}
    )
    return found


def ended(kind: str) -> Callable[[Place, Controller, int], bool]:
    return lambda place, controller, turn: (
        said(place, controller, kind, f"now-{turn}").get("phase") == "Succeeded"
    )


def ask_backup(place: Place, turn: int) -> None:
    place.create("Backup", "backups", f"now-{turn}", REFERS)


def one_backup(place: Place, turn: int) -> None:
    assert owned_jobs(place, "backups", f"now-{turn}") == 1
    assert (place.get("backups", f"now-{turn}") or {})["status"]["result"] == SAID


def ask_erasure(place: Place, turn: int) -> None:
    body = {"metadata": {"name": f"who-{turn}"}, "stringData": {"subject": "someone@example.org"}}
    place.plane.api.call("POST", place.path("secrets"), body)
    ref = {"subjectSecretRef": {"name": f"who-{turn}", "key": "subject"}}
    place.create("Erasure", "erasures", f"now-{turn}", REFERS | ref)


def one_erasure(place: Place, turn: int) -> None:
    assert owned_jobs(place, "erasures", f"now-{turn}") == 1
    assert f"who-{turn}" not in place.names("secrets")


def ask_restore(place: Place, turn: int) -> None:
    place.create("Restore", "restores", f"now-{turn}", REFERS)


def restored(place: Place, controller: Controller, turn: int) -> bool:
    pod = controller.children.get(Ref(place.name, "Deployment", "demo-embedded"))
    return ended("Restore")(place, controller, turn) and pod is not None and pod.facts.wanted == 1


def one_restore(place: Place, turn: int) -> None:
    assert owned_jobs(place, "restores", f"now-{turn}") == 1


def ask_policy(place: Place, turn: int) -> None:
    """Another one than before, and a run of it."""
    for name in place.names("retentionpolicies"):
        place.plane.api.delete(place.path("retentionpolicies", name))
    rules = [{"name": "all", "hotDays": 30 + turn}]
    place.create("RetentionPolicy", "retentionpolicies", f"keep-{turn}", REFERS | {"rules": rules})
    if "demo-retention" in place.names("cronjobs"):
        place.run_now("demo-retention", f"run-{turn}")


def governed(place: Place, controller: Controller, turn: int) -> bool:
    status = said(place, controller, "RetentionPolicy", f"keep-{turn}")
    ran = "lastRun" in status or turn < 0
    return ran and "nextRun" in status and "demo" in str(status["conditions"][0]["message"])


def one_policy(place: Place, turn: int) -> None:
    text = (place.get("configmaps", "demo-retention") or {})["data"]["policy.json"]
    assert f'"hotDays": {30 + turn}' in text
    run = (place.get("retentionpolicies", f"keep-{turn}") or {})["status"]["lastRun"]
    assert (run["outcome"], run["archived"]) == ("Succeeded", 5)


def holders(place: Place) -> set[str]:
    """Who says how many pods there are to be for ingest."""
    entries = (place.get("deployments", "demo-ingest") or {})["metadata"]["managedFields"]
    return {one["manager"] for one in entries if "f:replicas" in one["fieldsV1"].get("f:spec", {})}


def handed(place: Place, controller: Controller) -> tuple[bool, bool]:
    """Whether the number of pods is the operator's, and whether there is an autoscaler."""
    pods = controller.children.get(Ref(place.name, "Deployment", "demo-ingest"))
    scaler = controller.children.get(Ref(place.name, "HorizontalPodAutoscaler", "demo-ingest"))
    assert pods is not None
    assert pods.facts.wanted == 3, "the number of pods stays as it was"
    return pods.sized, scaler is not None


def by_autoscaler(place: Place, controller: Controller, _turn: int) -> bool:
    return handed(place, controller) == (False, True)


def by_replicas(place: Place, controller: Controller, _turn: int) -> bool:
    return handed(place, controller) == (True, False)


def ask_autoscaler(place: Place, _turn: int) -> None:
    scaled = {"replicas": None, "autoscaling": {"min": 2, "max": 6}}
    place.change("demo", {"ingest": scaled})


def with_autoscaler(place: Place, _turn: int) -> None:
    assert holders(place) == {"analect-operator-until-scaled"}


def ask_replicas(place: Place, _turn: int) -> None:
    place.change("demo", {"ingest": {"replicas": 3, "autoscaling": None}})


def with_replicas(place: Place, _turn: int) -> None:
    assert holders(place) >= {"analect-operator"}


REFERS = {"storeRef": {"name": "demo"}}
SAID = '{"state": "final", "archived": 5}'
BACKED = SPEC | {
    "backup": {"volume": {}, "suspend": True},
    "podTemplate": {"annotations": {"test/message": SAID}},
}
WISHES: dict[str, tuple[dict[str, Any], range, tuple[Wish, ...]]] = {
    "backup": (BACKED, range(0, 99, 2), (Wish(ask_backup, ended("Backup"), one_backup),)),
    "erasure": (BACKED, range(1, 99, 2), (Wish(ask_erasure, ended("Erasure"), one_erasure),)),
    "restore": (BACKED, range(0, 99, 4), (Wish(ask_restore, restored, one_restore),)),
    "policy": (BACKED, range(99), (Wish(ask_policy, governed, one_policy),)),
    "pods": (
        EXTERNAL | {"ingest": {"replicas": 3}},
        range(99),
        (
            Wish(ask_autoscaler, by_autoscaler, with_autoscaler),
            Wish(ask_replicas, by_replicas, with_replicas),
        ),
    ),
}
"""What a store is, after which of the writes its operator ends, and what is asked of it. Every write
is the last of a life with ANALECT_FAULT_ROUNDS=long.
"""


@pytest.mark.parametrize("what", WISHES)
def test_every_write_of_what_is_asked_of_a_store(
    plane: Plane, namespace: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    place = Place(plane, namespace)
    spec, some, wishes = WISHES[what]
    place.store("demo", spec)
    plane.api.merge(
        f"{place.path('analysisstores', 'demo')}/status",
        {"status": {"migratedVersion": spec["image"]}},
    )
    if what == "policy":
        ask_policy(place, -1)
    assert asyncio.run(lived(options(namespace, "first"), -1, before=False)) is False
    for at in range(99) if LONG else some:
        crashed = False
        for number, wish in enumerate(wishes):

            def through(controller: Controller, wish: Wish = wish, turn: int = at) -> bool:
                return wish.through(place, controller, turn)

            wish.ask(place, at)
            name = f"{at}-{number}"
            first, again = options(namespace, f"crash-{name}"), options(namespace, f"after-{name}")
            if asyncio.run(lived(first, at, before=False, through=through)):
                crashed = True
                assert not asyncio.run(lived(again, -1, before=False, through=through))
            wish.right(place, at)
        if not crashed:
            assert at > 1, "it takes writes"
            return
    pytest.fail("there is no end to what it writes")
