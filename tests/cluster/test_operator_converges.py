"""A store is made, changed, mended, paused and let go, on a real API server and its controllers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.operators import EXTERNAL, Operators, Place, Running, operators
from tests.cluster.plane import Plane, wait_for


@pytest.fixture(scope="module")
def fleet(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    with operators(plane, tmp_path_factory.mktemp("operators")) as made:
        yield made


@pytest.fixture(scope="module")
def operator(fleet: Operators) -> Running:
    return fleet.ready()


@pytest.fixture
def place(plane: Plane, namespace: str, operator: Running) -> Place:
    return Place(plane, namespace)


def still(place: Place, operator: Running, name: str) -> bool:
    """Whether a look at the store, asked for by a change that concerns no child, writes nothing but
    that it has seen the change, which comes last.
    """
    before = len(operator.wrote(place.name))
    path = place.path("analysisstores", name)
    body = place.get("analysisstores", name) or {}
    users = body["spec"].get("monitoring", {}).get("thresholds", {}).get("concurrentUsers", 0)
    changed = {"spec": {"monitoring": {"thresholds": {"concurrentUsers": users + 1}}}}
    generation = place.plane.api.merge(path, changed)["metadata"]["generation"]
    wait_for(
        lambda: (
            (place.get("analysisstores", name) or {})["status"]["observedGeneration"] == generation
        ),
        what="a look at the store",
    )
    return operator.wrote(place.name)[before:] == [f"apply AnalysisStore {name}"]


def test_a_store_on_servers_of_others(place: Place, operator: Running) -> None:
    spec = EXTERNAL | {
        "objectStore": {"url": "s3://bucket/prefix"},
        "backup": {},
        "archive": {},
        "networkPolicy": {"enabled": True, "allowFromNamespaces": ["web"]},
        "ingest": {"autoscaling": {"min": 2, "max": 4}, "exposure": {"host": "a.example.org"}},
    }
    place.store("demo", spec)
    place.ready("demo")
    assert place.names("deployments") == {
        f"demo-{part}"
        for part in (
            "ingest",
            "query",
            "dispatcher",
            "worker-text",
            "worker-vectors",
            "worker-graph",
        )
    }
    assert {"demo-backup-daily", "demo-drill", "demo-archive"} <= place.names("cronjobs")
    assert place.names("horizontalpodautoscalers") == {"demo-ingest"}
    assert place.names("networkpolicies") == {"demo-callers"}
    body = place.get("analysisstores", "demo") or {}
    assert body["status"]["migratedVersion"] == "analect:1.0.0"
    assert "finalizers" not in body["metadata"]
    assert "annotations" not in body["metadata"]
    wait_for(lambda: still(place, operator, "demo"), what="nothing is written any more")
    assert "form differs" not in operator.log.read_text()


def test_an_embedded_store(place: Place, operator: Running) -> None:
    place.store("tiny", {"image": "analect:1.0.0", "embedded": {}, "backup": {"volume": {}}})
    place.ready("tiny")
    assert place.names("deployments") == {"tiny-embedded"}
    assert place.names("persistentvolumeclaims") == {"tiny-data", "tiny-keys", "tiny-backups"}
    assert place.names("statefulsets") == set()
    # Not first without the Secret that is made for it, and a second pod with it.
    assert operator.wrote(place.name).count("apply Deployment tiny-embedded") == 1


def test_managed_servers_come_first(place: Place, operator: Running) -> None:
    managed = {part: {"managed": {}} for part in ("database", "queue", "search", "graph")}
    place.store("dev", {"image": "analect:1.0.0", **managed})
    place.ready("dev")
    assert place.names("statefulsets") == {f"dev-{part}" for part in managed}
    assert place.condition("dev", "DatabaseReady")["reason"] == "PodReady"
    told = [one for one in place.plane.api.items(place.path("events")) if "note" in one]
    mine = [one for one in told if one.get("reportingController") == "analect.dev/operator"]
    assert mine
    assert {one["type"] for one in mine} == {"Normal"}, "a beginning is nothing to be warned of"
    assert "form differs" not in operator.log.read_text()


@pytest.mark.parametrize(
    "name", ["x" * 253, "9.strange-name.of.mine", "a", "a.b", "-".join(["long"] * 40)]
)
def test_strange_names(place: Place, name: str) -> None:
    place.store(name)
    place.ready(name)
    assert all(len(one) <= 52 for one in place.names("deployments"))


def test_drift_is_mended_and_what_others_added_stays(place: Place, operator: Running) -> None:
    place.store("demo")
    place.ready("demo")
    ingest = place.path("deployments", "demo-ingest")
    api = place.plane.api

    def live() -> dict[str, Any]:
        found = api.get(ingest)
        assert found is not None
        return found

    api.merge(ingest, {"spec": {"template": {"spec": {"serviceAccountName": "default"}}}})
    wait_for(
        lambda: live()["spec"]["template"]["spec"]["serviceAccountName"] == "demo-pods",
        what="an edited field is put back",
    )
    api.merge(ingest, {"metadata": {"annotations": {"mine": "stays"}}})
    api.merge(ingest, {"metadata": {"labels": {"app.kubernetes.io/part-of": "another"}}})
    wait_for(
        lambda: live()["metadata"]["labels"]["app.kubernetes.io/part-of"] == "analect",
        what="a stolen label is put back",
    )
    assert live()["metadata"]["annotations"]["mine"] == "stays"
    uid = live()["metadata"]["uid"]
    api.delete(ingest)
    wait_for(
        lambda: (api.get(ingest) or {}).get("metadata", {}).get("uid") not in {None, uid},
        what="a deleted child is made again",
    )
    api.merge(place.path("services", "demo-query"), {"metadata": {"ownerReferences": None}})
    wait_for(
        lambda: (api.get(place.path("services", "demo-query")) or {})["metadata"].get(
            "ownerReferences"
        ),
        what="a removed owner is put back",
    )
    assert operator.metric("analect_operator_drift_total") >= 3


def test_changes_reach_the_children(place: Place) -> None:
    place.store("demo")
    place.ready("demo")

    def ingest() -> dict[str, Any]:
        found: dict[str, Any] = (place.get("deployments", "demo-ingest") or {})["spec"]
        return found

    place.change("demo", {"ingest": {"replicas": 3, "resources": {"cpu": "1000m"}}})
    wait_for(lambda: ingest()["replicas"] == 3, what="three pods")
    container = ingest()["template"]["spec"]["containers"][0]
    assert container["resources"] == {"requests": {"cpu": "1"}}
    place.change("demo", {"graph": None})
    wait_for(
        lambda: "demo-worker-graph" not in place.names("deployments"), what="no worker for graph"
    )
    place.change("demo", {"mode": "ReadOnly"})
    wait_for(lambda: ingest()["replicas"] == 0, what="nothing takes writes")
    assert (place.get("deployments", "demo-query") or {})["spec"]["replicas"] == 2
    place.change("demo", {"mode": "Stopped"})
    place.says("demo", "Ready", "False", "Stopped")
    wait_for(
        lambda: all(
            item["spec"]["replicas"] == 0
            for item in place.plane.api.items(place.path("deployments"))
        ),
        what="no pod at all",
    )


def test_an_autoscaler_begins_with_the_pods_there_are(place: Place) -> None:
    place.store("demo", EXTERNAL | {"ingest": {"replicas": 4}})
    place.ready("demo")
    path = place.path("deployments", "demo-ingest")
    since = (place.get("deployments", "demo-ingest") or {})["metadata"]["resourceVersion"]
    scaled = {"replicas": None, "autoscaling": {"min": 2, "max": 6}}
    place.change("demo", {"ingest": scaled})
    store = place.get("analysisstores", "demo") or {}
    wait_for(
        lambda: (
            (place.get("analysisstores", "demo") or {})["status"]["observedGeneration"]
            == store["metadata"]["generation"]
        ),
        what="a look at the store",
    )
    assert place.names("horizontalpodautoscalers") == {"demo-ingest"}
    place.plane.api.merge(f"{path}/scale", {"spec": {"replicas": 5}})
    place.plane.api.merge(path, {"metadata": {"labels": {"seen": "all"}}})
    seen = []
    with place.plane.api.watch(place.path("deployments"), since) as answer:
        for line in answer:
            body = json.loads(line)["object"]
            if body["metadata"]["name"] == "demo-ingest":
                seen.append(body["spec"]["replicas"])
                if "seen" in body["metadata"]["labels"]:
                    break
    assert set(seen) == {4, 5}
    # And back: what the autoscaler said counts no more.
    changes: list[tuple[dict[str, Any], set[int]]] = [
        ({"mode": "ReadOnly"}, {0}),
        ({"mode": "Active"}, {1, 2}),
        ({"ingest": {"replicas": 3, "autoscaling": None}}, {3}),
    ]
    for spec, wanted in changes:
        place.change("demo", spec)
        wait_for(
            lambda w=wanted: (
                (place.get("deployments", "demo-ingest") or {})["spec"]["replicas"] in w
            ),
            what=f"{wanted} pods",
        )


def test_lists_keep_the_order_that_they_were_given(place: Place, operator: Running) -> None:
    """Variables may refer to those before them; so a list in another order is mended, and one that
    is as it was said is left alone, whatever others put between.
    """
    place.store("demo")
    place.ready("demo")
    path = place.path("deployments", "demo-ingest")

    def live() -> list[dict[str, Any]]:
        body = place.get("deployments", "demo-ingest") or {}
        found: list[dict[str, Any]] = body["spec"]["template"]["spec"]["containers"][0]["env"]
        return found

    def said() -> str:
        return "".join(one["name"] for one in live() if len(one["name"]) == 1)

    def edit(env: list[dict[str, Any]]) -> None:
        place.plane.api.call(
            "PATCH",
            path,
            [{"op": "replace", "path": "/spec/template/spec/containers/0/env", "value": env}],
            "application/json-patch+json",
        )

    for names in ("AC", "ABC", "CA", "CBA"):
        env = [{"name": name, "value": "x"} for name in names]
        place.change("demo", {"podTemplate": {"env": env}})
        wait_for(lambda n=names: said() == n, what=f"variables {names}")
    edit([{"name": "THEIRS", "value": "stays"}, *live()])
    wait_for(lambda: still(place, operator, "demo"), what="nothing is written any more")
    edit(live()[::-1])
    wait_for(lambda: said() == "CBA", what="the order is put back")
    assert "THEIRS" in {one["name"] for one in live()}
    wait_for(lambda: still(place, operator, "demo"), what="nothing is written any more")
    assert "form differs" not in operator.log.read_text()


def test_a_paused_store_is_reported_on_and_not_touched(place: Place) -> None:
    place.store("demo")
    place.ready("demo")
    path = place.path("analysisstores", "demo")
    place.plane.api.merge(path, {"metadata": {"annotations": {"analect.dev/paused": "true"}}})
    place.says("demo", "Paused", "True")
    place.plane.api.delete(place.path("services", "demo-query"))
    place.plane.api.delete(place.path("deployments", "demo-query"))
    place.change("demo", {"mode": "Stopped"})
    place.says("demo", "Ready", "False")
    assert "demo-query" not in place.names("services")
    place.plane.api.merge(path, {"metadata": {"annotations": None}, "spec": {"mode": "Active"}})
    place.says("demo", "Paused", "False")
    place.ready("demo")
    assert "demo-query" in place.names("services")


def test_migrations_run_before_pods_roll(place: Place) -> None:
    place.store("demo")
    place.ready("demo")

    def image() -> str:
        body = place.get("deployments", "demo-ingest") or {}
        return str(body["spec"]["template"]["spec"]["containers"][0]["image"])

    place.change("demo", {"image": "analect:1.1.0"})
    wait_for(lambda: image() == "analect:1.1.0", what="the new version")
    place.says("demo", "MigrationsApplied", "True")
    place.change("demo", {"image": "analect:broken"})
    failed = place.says("demo", "MigrationsApplied", "False", "MigrationFailed")
    assert "pods stay at analect:1.1.0" in failed["message"]
    assert image() == "analect:1.1.0"
    place.change("demo", {"image": "analect:1.0.9"})
    place.says("demo", "MigrationsApplied", "False", "DowngradeRefused")
    assert image() == "analect:1.1.0"
    place.change("demo", {"image": "analect:1.2.0"})
    wait_for(lambda: image() == "analect:1.2.0", what="forward again")
    place.ready("demo")


def test_secrets(place: Place) -> None:
    ref = {"name": "db", "usernameKey": "user", "passwordKey": "pw"}
    external = {"url": "postgresql://db:5432/a", "secretRef": ref}
    place.store("demo", EXTERNAL | {"database": {"external": external}})
    lacking = place.says("demo", "DatabaseReady", "False", "SecretMissing")
    said = f"spec.database.external.secretRef: there is no secret {place.name}/db; create it"
    assert lacking["message"] == said
    place.says("demo", "Ready", "False", "SecretMissing")
    body = {"metadata": {"name": "db"}, "stringData": {"user": "x"}}
    place.plane.api.call("POST", place.path("secrets"), body)
    wait_for(
        lambda: "has no key pw" in place.condition("demo", "DatabaseReady").get("message", ""),
        what="the missing key is named",
    )
    place.plane.api.merge(place.path("secrets", "db"), {"stringData": {"pw": "first"}})
    place.ready("demo")

    def stamp() -> str:
        found = place.get("deployments", "demo-ingest") or {}
        return str(found["spec"]["template"]["metadata"]["annotations"]["analect.dev/secrets"])

    before = stamp()
    place.plane.api.merge(place.path("secrets", "db"), {"metadata": {"labels": {"a": "b"}}})
    place.plane.api.merge(place.path("secrets", "db"), {"stringData": {"pw": "second"}})
    wait_for(lambda: stamp() != before, what="a changed secret rolls the pods")
    place.change("demo", {"apiKeys": {"name": "callers", "key": "keys"}})
    lacking = place.says("demo", "IngestAvailable", "False", "SecretMissing")
    assert lacking["message"].startswith("spec.apiKeys: there is no secret")
    assert lacking["message"] in place.says("demo", "Ready", "False", "SecretMissing")["message"]
    body = {"metadata": {"name": "callers"}, "stringData": {"keys": "x"}}
    place.plane.api.call("POST", place.path("secrets"), body)
    place.ready("demo")


def events(place: Place, reason: str) -> list[dict[str, Any]]:
    """The Events of a namespace with this reason."""
    found = place.plane.api.items(place.path("events"))
    return [one for one in found if one["reason"] == reason]


def test_a_secret_that_opens_data_is_not_made_anew(place: Place) -> None:
    place.store("demo", {"image": "analect:1.0.0", "embedded": {}})
    place.ready("demo")
    path = place.path("secrets", "demo-generated")
    before = place.get("secrets", "demo-generated") or {}
    pods = (place.get("deployments", "demo-embedded") or {})["metadata"]["generation"]
    place.plane.api.delete(path)
    lost = place.says("demo", "Ready", "False", "SecretLost")
    assert f"the secret {place.name}/demo-generated is gone" in lost["message"]
    assert "demo-generated" not in place.names("secrets")
    assert (place.get("deployments", "demo-embedded") or {})["metadata"]["generation"] == pods
    meta = {name: before["metadata"][name] for name in ("name", "labels")}
    body = {"metadata": meta, "data": before["data"]}
    place.plane.api.call("POST", place.path("secrets"), body)
    place.ready("demo")
    place.plane.api.delete(place.path("analysisstores", "demo"))
    wait_for(lambda: not place.names("deployments"), what="it goes, its volumes stay")
    place.plane.api.delete(path)
    # A store of the same name has what is in the volumes, and not what opens it.
    place.store("demo", {"image": "analect:1.0.0", "embedded": {}})
    place.says("demo", "Ready", "False", "SecretLost")
    assert not place.names("deployments")
    place.plane.api.delete(place.path("analysisstores", "demo"))
    for name in ("demo-keys", "demo-data"):
        place.plane.api.delete(place.path("persistentvolumeclaims", name))
    wait_for(lambda: not place.names("persistentvolumeclaims"), what="the volumes are let go")
    place.store("demo", {"image": "analect:1.0.0", "embedded": {}})
    place.ready("demo")


@pytest.mark.parametrize("part", ["keys", "data"])
def test_a_volume_that_holds_data_is_not_made_anew(place: Place, part: str) -> None:
    """As the runbook has it: keep the volume, let the pods go, bind the claim again."""
    api, name = place.plane.api, f"demo-{part}"
    claim, pods = (
        place.path("persistentvolumeclaims", name),
        place.path("deployments", "demo-embedded"),
    )
    place.store("demo", {"image": "analect:1.0.0", "embedded": {}})
    place.ready("demo")
    volume = (api.get(claim) or {})["spec"]["volumeName"]
    assert (place.get("analysisstores", "demo") or {})["status"]["volumes"][part] == volume
    api.delete(claim)
    leaving = place.says("demo", "Ready", "False", "VolumeLeaving")
    assert f"`kubectl patch pv {volume} " in leaving["message"]
    place.change("demo", {"embedded": {"resources": {"cpu": "2"}}})
    generation = (place.get("analysisstores", "demo") or {})["metadata"]["generation"]
    wait_for(
        lambda: place.condition("demo", "Ready")["observedGeneration"] == generation,
        what="a look at the store",
    )
    assert (api.get(pods) or {})["metadata"]["generation"] == 1, "a new pod would let it go"
    api.delete(pods)
    lost = place.says("demo", "Ready", "False", "VolumeLost")
    assert f"its volume {volume} held" in lost["message"]
    told = wait_for(lambda: events(place, "VolumeLost") or None, what="an Event tells of it")
    assert told[0]["type"] == "Warning"
    assert name not in place.names("persistentvolumeclaims")
    assert not place.names("deployments")
    api.call(
        "PATCH",
        f"/api/v1/persistentvolumes/{volume}",
        [{"op": "remove", "path": "/spec/claimRef"}],
        "application/json-patch+json",
    )
    mode = "ReadWriteOnce"
    size = {"requests": {"storage": "1Gi" if part == "keys" else "10Gi"}}
    body = {"accessModes": [mode], "resources": size, "volumeName": volume}
    labels = {
        "app.kubernetes.io/managed-by": "analect-operator",
        "app.kubernetes.io/instance": "demo",
    }
    made = {"metadata": {"name": name, "labels": labels}, "spec": body}
    api.call("POST", place.path("persistentvolumeclaims"), made)
    place.ready("demo")
    assert (api.get(claim) or {})["spec"]["volumeName"] == volume


def test_deletion_keeps_data_unless_told(place: Place) -> None:
    place.store("kept")
    place.store("gone", EXTERNAL | {"deletionPolicy": "Delete"})
    for name in ("kept", "gone"):
        place.ready(name)
        place.plane.api.delete(place.path("analysisstores", name))
    wait_for(lambda: place.names("deployments") == set(), what="no Deployment is left")
    wait_for(lambda: "gone-keys" not in place.names("persistentvolumeclaims"), what="Delete")
    wait_for(lambda: "gone-generated" not in place.names("secrets"), what="Delete")
    assert "kept-keys" in place.names("persistentvolumeclaims")
    assert "kept-generated" in place.names("secrets")
    said = {one["regarding"]["name"]: one["note"] for one in events(place, "Deleted")}
    assert "the Secret kept-generated stay" in said["kept"]
    assert "Retain" not in said["gone"]
    assert "spec.database.external stay" in said["gone"]
    before = place.get("secrets", "kept-generated")
    place.store("kept")
    place.ready("kept")
    after = place.get("secrets", "kept-generated")
    assert before is not None
    assert after is not None
    assert before["data"] == after["data"]


def test_what_belongs_to_others_is_not_taken(place: Place) -> None:
    body = {"metadata": {"name": "demo-settings"}, "data": {"ANALECT_HOME": "/elsewhere"}}
    place.plane.api.call("POST", place.path("configmaps"), body)
    place.store("demo")
    taken = place.says("demo", "Ready", "False", "Taken")
    assert "ConfigMap demo-settings that belongs to somebody else" in taken["message"]
    assert (place.get("configmaps", "demo-settings") or {})["data"] == body["data"]
    place.plane.api.delete(place.path("configmaps", "demo-settings"))
    place.ready("demo")


def test_a_quota_is_named(place: Place) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "3"}}}
    place.plane.api.call("POST", place.path("resourcequotas"), quota)
    place.store("demo", EXTERNAL | {"ingest": {"replicas": 8}})
    wait_for(
        lambda: "exceeded quota" in place.condition("demo", "Ready").get("message", ""),
        what="the quota stands in the condition",
    )


def test_a_restart_of_a_converged_cluster_writes_nothing(
    place: Place, fleet: Operators, operator: Running
) -> None:
    """The second operator takes over from the first, which comes back for the other tests."""
    managed = {part: {"managed": {}} for part in ("database", "queue", "search", "graph")}
    place.store("dev", {"image": "analect:1.0.0", **managed})
    place.store("demo", EXTERNAL | {"objectStore": {"url": "s3://b/p"}, "backup": {}})
    for name in ("dev", "demo"):
        place.ready(name)
        wait_for(lambda n=name: still(place, operator, n), what="nothing is written any more")
    successor = fleet.ready()
    operator.process.terminate()
    operator.process.wait(timeout=10)
    wait_for(successor.leads, what="the other one leads")
    wait_for(lambda: successor.metric("analect_operator_queue_entries") == 0, what="all looked at")
    for name in ("dev", "demo"):
        assert still(place, successor, name)
    # In this namespace: those of earlier tests may still be on their way out.
    seen = ["apply AnalysisStore dev", "apply AnalysisStore demo"]
    assert successor.wrote(place.name) == seen
