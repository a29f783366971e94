"""Leaders killed, an API server that goes and comes, compaction, lost namespaces, old CRDs."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from analect_operator.api import Api
from analect_operator.errors import ApiError
from analect_operator.informer import Informer
from analect_operator.metrics import Metrics
from analect_operator.resources import BY_KIND, Ref
from tests.cluster.conftest import ROOT
from tests.cluster.operators import Operators, Place, operators
from tests.cluster.plane import Plane, Refused, read_yaml, wait_for
from tests.cluster.silencer import Silencer


@pytest.fixture
def fleet(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    with operators(plane, tmp_path_factory.mktemp("operators")) as made:
        yield made


@pytest.fixture
def place(plane: Plane, namespace: str) -> Place:
    return Place(plane, namespace)


def replicas(place: Place) -> Any:
    return (place.get("deployments", "demo-query") or {}).get("spec", {}).get("replicas")


def test_a_leader_that_is_told_to_stop_hands_over_at_once(fleet: Operators, place: Place) -> None:
    first = fleet.ready()
    wait_for(first.leads, what="the first leads")
    second = fleet.ready()
    assert not second.leads()
    place.store("demo")
    place.ready("demo")
    looks = "analect_operator_reconciles_total"
    wait_for(lambda: second.metric(looks, outcome="done"), what="the second has looked, too")
    assert second.writes() == 0
    first.process.terminate()
    wait_for(second.leads, what="the second leads")
    # Given up, and not run out. How long it takes, `make bench-operator` says.
    wait_for(lambda: "gives the lease up" in first.log.read_text(), what="the first gave it up")
    assert first.process.wait(timeout=5) == 0
    place.change("demo", {"query": {"replicas": 3}})
    wait_for(lambda: replicas(place) == 3, what="the second works")


def test_a_leader_that_is_killed_is_replaced(fleet: Operators, place: Place) -> None:
    first = fleet.ready()
    wait_for(first.leads, what="the first leads")
    second = fleet.ready()
    first.kill()
    place.store("demo")
    wait_for(second.leads, what="the second leads")
    place.ready("demo")


def test_a_leader_that_sleeps_writes_nothing_when_it_wakes(fleet: Operators, place: Place) -> None:
    import signal

    first = fleet.ready()
    wait_for(first.leads, what="the first leads")
    second = fleet.ready()
    before = first.writes()
    first.process.send_signal(signal.SIGSTOP)
    place.store("demo")
    wait_for(second.leads, what="the second leads")
    place.ready("demo")
    first.process.send_signal(signal.SIGCONT)
    wait_for(lambda: not first.leads(), what="the first knows")
    assert first.writes() == before


def test_the_api_server_goes_and_comes_back(fleet: Operators, place: Place, plane: Plane) -> None:
    running = fleet.ready()
    place.store("demo")
    place.ready("demo")
    plane.restart_api_server()
    place.plane.api.delete(place.path("deployments", "demo-query"))
    wait_for(lambda: replicas(place) == 2, what="a child deleted meanwhile is made again")
    assert running.process.poll() is None


def test_what_is_deleted_while_nobody_looks(fleet: Operators, place: Place) -> None:
    first = fleet.ready()
    place.store("demo")
    place.ready("demo")
    first.kill()
    place.plane.api.delete(place.path("deployments", "demo-query"))
    place.plane.api.delete(place.path("services", "demo-ingest"))
    fleet.ready()
    wait_for(lambda: replicas(place) == 2, what="the Deployment is made again")
    wait_for(lambda: "demo-ingest" in place.names("services"), what="the Service too")


@asynccontextmanager
async def watching(
    place: Place, on_change: Callable[[dict[str, Any], bool], None], silence: float
) -> AsyncIterator[None]:
    """ConfigMaps that are mine, watched."""
    metrics = Metrics()
    api = Api(metrics)
    informer = Informer(
        api,
        BY_KIND["ConfigMap"],
        namespace=place.name,
        on_change=on_change,
        metrics=metrics,
        selectors={"labelSelector": "mine=yes"},
        jitter=lambda: 0.0,
        silence=silence,
    )
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(60):
            await informer.synced.wait()
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


def make_mine(place: Place, name: str) -> None:
    body = {"metadata": {"name": name, "labels": {"mine": "yes"}}}
    place.plane.api.call("POST", place.path("configmaps"), body)


def test_a_long_list_comes_in_pages(
    place: Place, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    monkeypatch.setattr("analect_operator.api._PAGE", 3)
    names = [f"one-of-many-{number}" for number in range(8)]
    for name in names:
        make_mine(place, name)
    seen: list[tuple[str, bool]] = []

    async def scenario() -> None:
        gone = asyncio.Event()

        def on_change(body: dict[str, Any], is_gone: bool) -> None:
            seen.append((body["metadata"]["name"], is_gone))
            if is_gone:
                gone.set()

        async with watching(place, on_change, 60):
            assert seen == [(name, False) for name in names]
            await asyncio.to_thread(plane.api.delete, place.path("configmaps", names[3]))
            await gone.wait()

    asyncio.run(scenario())
    assert seen[len(names) :] == [(names[3], True)]


def test_compaction(fleet: Operators, place: Place, plane: Plane) -> None:
    """etcd forgets the versions that a watch would go on from: 410 Gone."""
    running = fleet.ready()
    place.store("demo")
    place.ready("demo")

    def etcd(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(plane.etcd_url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    revision = etcd("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
    plane.pause("apiserver")
    etcd("/v3/kv/compaction", {"revision": revision, "physical": True})
    plane.resume("apiserver")
    plane.restart_api_server()
    place.change("demo", {"query": {"replicas": 4}})
    wait_for(lambda: replicas(place) == 4, what="it goes on")
    assert running.process.poll() is None


def test_a_namespace_that_goes_takes_nothing_with_it(
    fleet: Operators, place: Place, plane: Plane
) -> None:
    running = fleet.ready()
    place.store("demo")
    place.ready("demo")
    name = f"{place.name}-b"
    plane.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    other = Place(plane, name)
    other.store("demo")
    other.ready("demo")
    plane.pause("controller-manager")
    plane.api.delete(f"/api/v1/namespaces/{name}")
    looks = "analect_operator_reconciles_total"
    left = running.metric(looks, outcome="leaving")
    again = "apply Service demo-query"
    before = running.wrote(name).count(again)
    plane.api.delete(other.path("services", "demo-query"))
    wait_for(lambda: running.wrote(name).count(again) > before, what="it is tried")
    wait_for(lambda: running.metric(looks, outcome="leaving") > left, what="it is let go")
    assert running.wrote(name).count(again) == before + 1
    lines = running.log.read_text().splitlines()
    assert not [one for one in lines if '"event": "refused"' in one and name in one]
    plane.resume("controller-manager")
    place.change("demo", {"query": {"replicas": 3}})
    wait_for(lambda: replicas(place) == 3, what="the others are looked after")
    wait_for(lambda: plane.api.get(f"/api/v1/namespaces/{name}") is None, what="it is gone")
    assert running.process.poll() is None


def test_a_crd_that_goes_and_comes_back(fleet: Operators, place: Place, plane: Plane) -> None:
    running = fleet.ready()
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    body = read_yaml((ROOT / "crds" / "erasures.yaml").read_text())
    name = body["metadata"]["name"]
    plane.api.delete(f"{path}/{name}")
    wait_for(lambda: plane.api.get(f"{path}/{name}") is None, what="the CRD is gone")
    place.store("demo")
    place.ready("demo")
    plane.api.apply(path, body)
    wait_for(lambda: plane._established(f"{path}/{name}"), what="the CRD is back")
    assert running.process.poll() is None


def test_a_crd_of_the_version_before(fleet: Operators, place: Place, plane: Plane) -> None:
    """Fields that it does not know are absent; defaults that it did not fill in are ours."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    body = read_yaml((ROOT / "crds" / "analysisstores.yaml").read_text())
    spec = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for field in ("networkPolicy", "deletionPolicy", "dispatcher", "monitoring"):
        del spec["properties"][field]
    plane.api.apply(path, body)
    try:
        fleet.ready()
        place.store("demo")
        place.ready("demo")
    finally:
        plane.api.apply(path, read_yaml((ROOT / "crds" / "analysisstores.yaml").read_text()))


def test_a_webhook_that_times_out_is_named_and_outlived(
    fleet: Operators, place: Place, plane: Plane
) -> None:
    fleet.ready()
    hook = {
        "metadata": {"name": place.name},
        "webhooks": [
            {
                "name": "slow.example.org",
                "clientConfig": {"url": "https://192.0.2.1/"},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["*"],
                        "resources": ["services"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.name}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "timeoutSeconds": 1,
            }
        ],
    }
    hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    plane.api.call("POST", hooks, hook)
    try:
        place.store("demo")
        wait_for(
            lambda: "demo-keys" in place.names("persistentvolumeclaims"), what="other children"
        )
        wait_for(
            lambda: "webhook" in place.condition("demo", "Ready").get("message", ""),
            what="the webhook is named",
        )
    finally:
        plane.api.delete(f"{hooks}/{place.name}")
    place.ready("demo")


def test_admission_that_refuses_is_named(fleet: Operators, place: Place, plane: Plane) -> None:
    fleet.ready()
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["configmaps"],
    }
    policy = {
        "metadata": {"name": place.name},
        "spec": {
            "matchConstraints": {
                "resourceRules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.name}},
            },
            "validations": [
                {"expression": "!('data' in object)", "message": "no data in ConfigMaps here"}
            ],
        },
    }
    plane.api.call("POST", policies, policy)
    bound = {"policyName": place.name, "validationActions": ["Deny"]}
    plane.api.call("POST", bindings, {"metadata": {"name": place.name}, "spec": bound})

    def enforced() -> bool:
        body = {"metadata": {"name": "probe"}, "data": {"a": "b"}}
        try:
            plane.api.call("POST", f"{place.path('configmaps')}?dryRun=All", body)
        except Refused:
            return True
        return False

    try:
        wait_for(enforced, what="the policy is enforced")
        place.store("demo")
        wait_for(
            lambda: (
                "no data in ConfigMaps here" in place.condition("demo", "Ready").get("message", "")
            ),
            what="the refusal stands in the condition",
        )
    finally:
        plane.api.delete(f"{bindings}/{place.name}")
        plane.api.delete(f"{policies}/{place.name}")
    place.ready("demo")


def through(between: Silencer, plane: Plane, folder: Path) -> Path:
    """The kubeconfig of somebody whom something may cut off."""
    kubeconfig = folder / "through-the-silencer.kubeconfig"
    said = yaml.safe_load(plane.kubeconfig.read_text())
    said["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{between.port}"
    kubeconfig.write_text(yaml.safe_dump(said))
    return kubeconfig


def test_watches_that_went_deaf(fleet: Operators, place: Place, plane: Plane) -> None:
    """Their connections stay open and say nothing any more: the Lease, which is renewed all the
    time, is the one that tells; all are made up for.
    """
    with Silencer(urlsplit(plane.server).port or 0) as between:
        running = fleet.ready(kubeconfig=through(between, plane, fleet.folder))
        since = time.monotonic()
        place.store("demo")
        place.ready("demo")
        # The watches are those connections on which the operator asks nothing more. They begin a
        # while after it is ready, and all have to be as old.
        wait_for(lambda: time.monotonic() - since > 5, what="its watches are told apart")
        assert between.hush(older=2.5)
        place.plane.api.delete(place.path("deployments", "demo-query"))
        wait_for(lambda: replicas(place) == 2, what="a deletion nobody told of is made up for")
        assert running.metric("analect_operator_watch_restarts_total", kind="Deployment") >= 1
        assert '"event": "watch is deaf"' in running.log.read_text()


# Who is cut off cannot say farewell: its end of the connection stays open for a while.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_watch_that_hears_nothing_at_all(
    place: Place, plane: Plane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is nothing to prove it by, silence that lasts is taken for deafness."""
    names: list[str] = []

    async def scenario(between: Silencer) -> None:
        news = asyncio.Event()

        def on_change(body: dict[str, Any], _gone: bool) -> None:
            names.append(body["metadata"]["name"])
            news.set()

        async with watching(place, on_change, 3):
            await asyncio.to_thread(make_mine, place, "heard")
            await news.wait()
            news.clear()
            assert between.hush(older=0)
            await asyncio.to_thread(make_mine, place, "missed")
            await news.wait()

    with Silencer(urlsplit(plane.server).port or 0) as between:
        monkeypatch.setenv("KUBECONFIG", str(through(between, plane, tmp_path)))
        asyncio.run(scenario(between))
    gc.collect()  # what was left open complains now, and not in another test
    assert names == ["heard", "missed"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_connections_that_went_dead_cost_one_call(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And not one each: a leader whose every call takes three seconds leads no more."""

    async def scenario(between: Silencer) -> None:
        api = Api(Metrics())
        lease = Ref("default", "Lease", "nobody")
        try:
            await asyncio.gather(*(api.get(lease) for _ in range(6)))
            assert between.hush(older=0) > 1
            with pytest.raises(ApiError, match="TimeoutError"):
                await api.get(lease, 0.3)
            assert await api.get(lease) is None
        finally:
            await api.close()

    with Silencer(urlsplit(plane.server).port or 0) as between:
        monkeypatch.setenv("KUBECONFIG", str(through(between, plane, tmp_path)))
        asyncio.run(scenario(between))
        gc.collect()


def test_a_list_of_namespaces_is_watched(fleet: Operators, place: Place, plane: Plane) -> None:
    """A score of watches each, which hold a connection each, and calls find theirs beside them."""
    others = [Place(plane, f"{place.name}-{tail}") for tail in "bcd"]
    for other in others:
        plane.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": other.name}})
    spaces = [place.name, *(other.name for other in others[:-1])]
    running = fleet.ready(namespaces=",".join(spaces), namespace="default")
    for one in (place, *others):
        one.store("demo", {"image": "analect:1.0.0", "embedded": {}})
    for one in (place, *others[:-1]):
        one.ready("demo")
    assert running.wrote(others[-1].name) == []
    assert running.metric("analect_operator_api_refusals_total", code="0") == 0
    for other in others:
        plane.api.delete(f"/api/v1/namespaces/{other.name}")
