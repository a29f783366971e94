"""The rights that the chart gives are those that the operator uses: the API server's own log of what it
was asked, while stores come, change, and lose every part that they can lose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.helms import CHART, Helm, Manifest, of_kind
from tests.cluster.operators import EXTERNAL, Operators, Place, operators
from tests.cluster.plane import Plane, wait_for
from tests.cluster.test_operator_works import RULES, STORE, saying

SPACE = "rights"
USER = f"system:serviceaccount:{SPACE}:rel-operator"
Used = set[tuple[str, str, str]]
"""Group, resource (with its subresource), verb."""
FULL = EXTERNAL | {
    "objectStore": {"url": "s3://bucket/prefix"},
    "backup": {},
    "archive": {},
    "networkPolicy": {"enabled": True},
    "ingest": {"autoscaling": {"min": 2, "max": 4}, "exposure": {"host": "a.example.org"}},
    "query": {"exposure": {"host": "b.example.org", "gateway": "outer"}},
    "processors": [{"name": "text", "autoscaling": {"min": 1, "max": 4}}, {"name": "graph"}],
}
BARE: dict[str, Any] = {
    "backup": None,
    "archive": None,
    "networkPolicy": {"enabled": False},
    "ingest": {"autoscaling": None, "exposure": None},
    "query": {"exposure": None},
    "processors": [{"name": "text", "autoscaling": None}],
    "monitoring": {"podMonitor": False, "rules": False},
}
MANAGED = {part: {"managed": {}} for part in ("database", "queue", "search")}


@pytest.fixture
def fleet(bare: Plane, tmp_path: Path) -> Iterator[Operators]:
    with operators(bare, tmp_path) as made:
        yield made


@pytest.fixture
def space(bare: Plane, helm: Helm) -> Iterator[Place]:
    """A release for the whole cluster, without pods: the operator runs beside it."""
    where = ("--namespace", SPACE, "--kubeconfig", str(bare.kubeconfig))
    options = ("--create-namespace", "--take-ownership", "--set", "operator.replicas=0")
    helm("install", "rel", str(CHART), *where, *options)
    place = Place(bare, SPACE)
    yield place
    for name in place.names("analysisstores"):
        bare.api.delete(place.path("analysisstores", name))
    helm("uninstall", "rel", *where)


def test_every_right_is_used_and_no_other_is_asked_for(
    bare: Plane, helm: Helm, space: Place, fleet: Operators, tmp_path: Path
) -> None:
    account = f"/api/v1/namespaces/{SPACE}/serviceaccounts/rel-operator/token"
    token = bare.api.call("POST", account, {"spec": {"expirationSeconds": 3600}})
    kubeconfig = tmp_path / "operator.kubeconfig"
    bare.write_kubeconfig(kubeconfig, token["status"]["token"])
    operator = fleet.ready(kubeconfig=kubeconfig, namespace=SPACE, lease="rel-operator")
    live_through_everything(space)
    operator.terminate()
    asked, refused = log_of(bare, USER)
    assert not refused
    roles = [one for kind in ("ClusterRole", "Role") for one in of_kind(helm.rendered(), kind)]
    idle = [text for role in roles for rule in role["rules"] for text in unused(rule, asked)]
    assert not idle, idle


def live_through_everything(place: Place) -> None:
    """Make every kind of child, and let each go that ever goes before its store."""
    # Somebody else's object stands in the way: the operator looks whose it is.
    taken = {"metadata": {"name": "demo-settings"}, "data": {"ANALECT_HOME": "/mine"}}
    place.plane.api.call("POST", place.path("configmaps"), taken)
    place.store("demo", saying(FULL, '{"state": "final"}'))
    place.says("demo", "Ready", "False", "Taken")
    place.plane.api.delete(place.path("configmaps", "demo-settings"))
    place.create("RetentionPolicy", "retentionpolicies", "keep", STORE | {"rules": RULES})
    place.ready("demo")
    place.says("keep", "Accepted", "True", plural="retentionpolicies")
    secret = {"metadata": {"name": "who"}, "stringData": {"subject": "someone@example.org"}}
    place.plane.api.call("POST", place.path("secrets"), secret)
    who = {"subjectSecretRef": {"name": "who", "key": "subject"}}
    brief = STORE | {"ttlSecondsAfterFinished": 1}
    for kind, plural, more in (
        ("Backup", "backups", {}),
        ("Erasure", "erasures", who),
        ("Restore", "restores", {}),
    ):
        place.create(kind, plural, "now", brief | more)
        wait_for(lambda p=plural: place.get(p, "now") is None, what=f"{kind} is done and removed")
    place.plane.api.delete(place.path("retentionpolicies", "keep"))
    place.change("demo", BARE)
    wait_for(lambda: surplus(place) == [], what="what is not wanted any more is gone")
    place.store("dev", {"image": "analect:1.0.0", **MANAGED})
    place.ready("dev")
    place.change("dev", {"search": None})
    wait_for(lambda: "dev-search" not in place.names("statefulsets"), what="the engine is gone")
    for name in ("demo", "dev"):
        place.plane.api.delete(place.path("analysisstores", name))


def surplus(place: Place) -> list[str]:
    return [
        f"{kind}/{name}"
        for kind in ("cronjobs", "horizontalpodautoscalers", "networkpolicies")
        for name in place.names(kind)
    ]


def log_of(plane: Plane, user: str) -> tuple[Used, list[str]]:
    """What a user asked for, and what of it was forbidden."""
    asked: Used = set()
    refused = []
    for line in (plane.folder / "audit.log").read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] != user or "objectRef" not in event:
            continue
        ref = event["objectRef"]
        resource = "/".join(filter(None, (ref["resource"], ref.get("subresource"))))
        what = (ref.get("apiGroup", ""), resource, event["verb"])
        code = event.get("responseStatus", {}).get("code")
        if code == 403:
            refused.append(" ".join(what))
        asked.add(what)
        if code == 201 and event["verb"] == "patch":
            # An apply that makes something needs the right to create it, too.
            asked.add((*what[:2], "create"))
    return asked, refused


def unused(rule: Manifest, asked: Used) -> list[str]:
    """Resources of a rule that nothing was done with, verbs that nothing was done by."""
    (group,) = rule["apiGroups"]
    mine = {(resource, verb) for where, resource, verb in asked if where == group}
    still = [
        f"{group}/{resource}"
        for resource in rule["resources"]
        if not any(one == resource for one, verb in mine if verb in rule["verbs"])
    ]
    never = [
        f"{verb} {group}/{','.join(rule['resources'])}"
        for verb in rule["verbs"]
        if not any(one == verb for resource, one in mine if resource in rule["resources"])
    ]
    return still + never
