"""The chart: what it renders, that the API server takes it, and that its rights are enough."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.helms import CHART, Helm, of_kind
from tests.cluster.operators import EXTERNAL, Operators, Place, operators
from tests.cluster.plane import Plane, read_yaml, wait_for

ROOT = Path(__file__).parents[2]


def test_two_replicas_with_the_least_a_pod_needs(helm: Helm) -> None:
    found = helm.rendered()
    (deployment,) = of_kind(found, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["image"] == "analect:0.1.0"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert of_kind(found, "PodDisruptionBudget")
    assert of_kind(found, "NetworkPolicy")
    assert not of_kind(found, "PodMonitor")
    assert not of_kind(found, "AnalysisStore")


def test_the_definitions_are_those_of_the_operator_and_outlive_the_release(helm: Helm) -> None:
    found = {one["metadata"]["name"]: one for one in of_kind(helm.rendered(), CRD)}
    wanted = [read_yaml(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert found.keys() == {one["metadata"]["name"] for one in wanted}
    for one in wanted:
        shown = found[one["metadata"]["name"]]
        assert shown["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert shown == one
    assert not of_kind(helm.rendered("--set", "crds.install=false"), CRD)


CRD = "CustomResourceDefinition"


def test_a_list_of_namespaces_needs_no_rights_beyond_them(helm: Helm) -> None:
    found = helm.rendered("--set", "scope.namespaces={a,b}")
    assert not of_kind(found, "ClusterRole")
    assert not of_kind(found, "ClusterRoleBinding")
    roles = {one["metadata"]["namespace"] for one in of_kind(found, "Role")}
    assert roles == {"a", "b", "demo"}
    env = of_kind(found, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "ANALECT_OPERATOR_NAMESPACES", "value": "a,b"} in env


def test_no_right_is_a_wildcard(helm: Helm) -> None:
    found = helm.rendered()
    for role in [*of_kind(found, "ClusterRole"), *of_kind(found, "Role")]:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_monitors_and_rules_where_the_kinds_exist(helm: Helm) -> None:
    kinds = [f"monitoring.coreos.com/v1/{kind}" for kind in ("PodMonitor", "PrometheusRule")]
    found = helm.rendered(*(f"--api-versions={kind}" for kind in kinds))
    assert of_kind(found, "PodMonitor")
    (rules,) = of_kind(found, "PrometheusRule")
    names = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]}
    assert "AnalectOperatorLeaderless" in names


def test_a_first_store_comes_after_its_kind(helm: Helm) -> None:
    text = helm("template", "rel", str(CHART), "--set", "store.enabled=true")
    (store,) = of_kind(
        [one for one in yaml.load_all(text, yaml.CSafeLoader) if one], "AnalysisStore"
    )
    assert "post-install" in store["metadata"]["annotations"]["helm.sh/hook"]
    assert store["spec"] == {"embedded": {}}


def test_wrong_values_are_refused_by_name(helm: Helm) -> None:
    said = helm("template", "rel", str(CHART), "--set", "operator.replica=3", fails=True)
    assert "replica" in said


@pytest.fixture(scope="module")
def fleet(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    with operators(plane, tmp_path_factory.mktemp("chart-operators")) as made:
        yield made


def test_a_release_and_an_operator_with_its_rights_alone(
    helm: Helm, plane: Plane, namespace: str, fleet: Operators, tmp_path: Path
) -> None:
    """`helm install` in a namespace that enforces `restricted`; the operator then runs with the
    token of the release's account, makes a store, mends it and lets it go."""
    plane.api.merge(
        f"/api/v1/namespaces/{namespace}",
        {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    )
    where = ("--namespace", namespace, "--kubeconfig", str(plane.kubeconfig))
    options = ("--set", "crds.install=false", "--set", f"scope.namespaces={{{namespace}}}")
    helm("install", "rel", str(CHART), *where, *options, "--wait", "--timeout", "90s")
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/rel-operator/token"
    token = plane.api.call("POST", account, {"spec": {"expirationSeconds": 3600}})
    kubeconfig = tmp_path / "operator.kubeconfig"
    plane.write_kubeconfig(kubeconfig, token["status"]["token"])
    operator = fleet.ready(
        kubeconfig=kubeconfig, namespaces=namespace, lease="rel-operator-under-test"
    )
    place = Place(plane, namespace)
    place.store("demo", {**EXTERNAL, "archive": {}, "objectStore": {"url": "s3://bucket/a"}})
    place.ready("demo")
    plane.api.delete(place.path("deployments", "demo-query"))
    wait_for(lambda: place.get("deployments", "demo-query"), what="a deleted child is back")
    place.create("Backup", "backups", "now", {"storeRef": {"name": "demo"}})
    wait_for(
        lambda: (place.get("backups", "now") or {}).get("status", {}).get("phase"),
        what="a backup is begun",
    )
    plane.api.delete(place.path("analysisstores", "demo"))
    wait_for(lambda: "demo-ingest" not in place.names("deployments"), what="children are gone")
    assert operator.metric("analect_operator_api_refusals_total", code="403") == 0
    helm("upgrade", "rel", str(CHART), *where, *options, "--set", "operator.logLevel=debug")
    assert json.loads(helm("list", *where, "--output", "json"))[0]["revision"] == "2"
    helm("uninstall", "rel", *where)
