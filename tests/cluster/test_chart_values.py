"""The chart's values: each does what it says, and a misspelt one is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.helms import CHART, Helm, Manifest, of_kind

MONITORS = ("--api-versions=monitoring.coreos.com/v1/PodMonitor",)
RULES = ("--api-versions=monitoring.coreos.com/v1/PrometheusRule",)
KINDS = (*MONITORS, *RULES)
EVERYTHING = (*KINDS, "--set", "store.enabled=true")
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
TOLERATION = {"key": "dedicated", "operator": "Exists"}
AFFINITY = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}

# What is set, and where it is seen: kind, path into the manifest, what stands there.
SEEN: dict[str, tuple[Any, str, str, Any]] = {
    "operator.replicas": (3, "Deployment", "spec.replicas", 3),
    "operator.logLevel": ("debug", "Deployment", "env.ANALECT_OPERATOR_LOG_LEVEL", "debug"),
    "operator.pollSeconds": (7, "Deployment", "env.ANALECT_OPERATOR_POLL_SECONDS", "7"),
    "operator.resources": (
        {"limits": {"cpu": "1"}},
        "Deployment",
        "container.resources.limits.cpu",
        "1",
    ),
    "operator.nodeSelector": (
        {"disk": "fast"},
        "Deployment",
        "pod.nodeSelector",
        {"disk": "fast"},
    ),
    "operator.tolerations": ([TOLERATION], "Deployment", "pod.tolerations", [TOLERATION]),
    "operator.affinity": (AFFINITY, "Deployment", "pod.affinity", AFFINITY),
    "operator.priorityClassName": ("high", "Deployment", "pod.priorityClassName", "high"),
    "operator.podAnnotations": ({"team": "a"}, "Deployment", "annotations.team", "a"),
    "image.repository": ("r.example.org/a", "Deployment", "container.image", "r.example.org/a:0.1.0"),
    "image.tag": ("7", "Deployment", "container.image", "analect:7"),
    "image.pullPolicy": ("Always", "Deployment", "container.imagePullPolicy", "Always"),
    "image.pullSecrets": (
        [{"name": "registry"}],
        "Deployment",
        "pod.imagePullSecrets",
        [{"name": "registry"}],
    ),
    "scope.namespaces": (["a"], "Deployment", "env.ANALECT_OPERATOR_NAMESPACES", "a"),
    "serviceAccount.annotations": (
        {"role": "a"},
        "ServiceAccount",
        "metadata.annotations",
        {"role": "a"},
    ),
    "crds.install": (False, "CustomResourceDefinition", "", None),
    "monitoring.scrapeAnnotations": (
        False,
        "Deployment",
        "spec.template.metadata.annotations",
        {"kubectl.kubernetes.io/default-container": "operator"},
    ),
    "monitoring.podMonitor": (False, "PodMonitor", "", None),
    "monitoring.rules": (False, "PrometheusRule", "", None),
    "monitoring.dashboards": (False, "ConfigMap", "metadata.annotations", {
        "helm.sh/hook": "test",
        "helm.sh/hook-weight": "-1",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }),
    "monitoring.dashboardLabel": ("mine", "ConfigMap", "metadata.labels.mine", "1"),
    "monitoring.runbooksUrl": (
        "https://wiki.example.org/r/",
        "PrometheusRule",
        "spec.groups.0.rules.0.annotations.runbook_url",
        "https://wiki.example.org/r/AnalectOperatorLeaderless.md",
    ),
    "monitoring.labels": ({"release": "p"}, "PodMonitor", "metadata.labels.release", "p"),
    "networkPolicy.enabled": (False, "NetworkPolicy", "", None),
    "store.enabled": (False, "AnalysisStore", "", None),
    "store.name": ("mine", "AnalysisStore", "metadata.name", "mine"),
    "store.spec": ({"embedded": {"storage": {"size": "1Gi"}}}, "AnalysisStore",
                   "spec.embedded.storage.size", "1Gi"),
    "test.store": ("other", "Pod", "env.WRITE_URL", "http://other-ingest:8080"),
    "test.writeUrl": ("http://w", "Pod", "env.WRITE_URL", "http://w"),
    "test.readUrl": ("http://r", "Pod", "env.READ_URL", "http://r"),
    "test.secretName": ("mine", "Pod", "env.ANALECT_API_KEY.name", "mine"),
    "test.secretKey": ("mine", "Pod", "env.ANALECT_API_KEY.key", "mine"),
}  # fmt: skip


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every value that one may set; maps that are empty or a spec are one value."""
    for name, value in values.items():
        here = f"{path}{name}"
        if isinstance(value, dict) and value and here not in {"operator.resources", "store.spec"}:
            yield from leaves(value, f"{here}.")
        else:
            yield here


def test_every_value_is_looked_at() -> None:
    assert set(SEEN) == set(leaves(VALUES))


@pytest.fixture(scope="module")
def usual(helm: Helm) -> list[Manifest]:
    return helm.rendered(*EVERYTHING)


def test_both_helms_render_the_same(any_helm: Helm, usual: list[Manifest]) -> None:
    def key(one: Manifest) -> str:
        return json.dumps(one, sort_keys=True)

    assert sorted(any_helm.rendered(*EVERYTHING), key=key) == sorted(usual, key=key)


@pytest.mark.parametrize("path", SEEN)
def test_a_value_does_what_it_says(
    helm: Helm, usual: list[Manifest], tmp_path: Path, path: str
) -> None:
    value, kind, where, shown = SEEN[path]
    group, _, name = path.partition(".")
    values: dict[str, Any] = {"store": {"enabled": True}}
    values.setdefault(group, {})[name] = value
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    found = of_kind(helm.rendered(*KINDS, "--values", str(file)), kind)
    assert found != of_kind(usual, kind)
    if shown is None:
        assert not found
    else:
        assert shown in [at(one, where) for one in found]


def at(manifest: Manifest, where: str) -> Any:
    """What stands at a path; `pod`, `container`, `env` and `annotations` are those of its pods."""
    found: Any = manifest
    for part in where.split("."):
        found = step(found, part)
    return found


def step(found: Any, part: str) -> Any:
    if part in {"pod", "container", "env", "annotations"} and "kind" in found:
        template = found["spec"].get("template", found)
        if part == "annotations" and "template" in found["spec"]:
            return template["metadata"]["annotations"]
        if part == "annotations":
            return found["metadata"].get("annotations", {})
        pod = template["spec"]
        container = pod["containers"][0]
        env = {
            one["name"]: one.get("value", one.get("valueFrom", {}).get("secretKeyRef"))
            for one in container["env"]
        }
        return {"pod": pod, "container": container, "env": env}[part]
    if isinstance(found, list):
        return found[int(part)]
    return found.get(part) if isinstance(found, dict) else None


def test_misspelt_values_are_refused_by_name(any_helm: Helm, tmp_path: Path) -> None:
    """At each level at once, and every wrong one is named."""
    wrong: dict[str, Any] = {"misspelt": 1, "image": {"pullSecrets": [{"nom": "a"}]}}
    for group in VALUES:
        wrong.setdefault(group, {})[f"no{group}"] = 1
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(wrong))
    said = any_helm("template", "rel", str(CHART), "--values", str(file), fails=True)
    for name in ["misspelt", "nom", *(f"no{group}" for group in VALUES)]:
        assert f"'{name}'" in said or f"{name} " in said, f"{name} is not named:\n{said}"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"operator": {"replicas": "two"}}, "/operator/replicas"),
        ({"operator": {"logLevel": "loud"}}, "/operator/logLevel"),
        ({"image": {"repository": ""}}, "/image/repository"),
        ({"scope": {"namespaces": ["Team_A"]}}, "/scope/namespaces/0"),
        ({"store": {"name": "First"}}, "/store/name"),
        ({"monitoring": {"labels": {"release": 1}}}, "/monitoring/labels/release"),
        ({"monitoring": {"runbooksUrl": "docs/runbooks"}}, "/monitoring/runbooksUrl"),
    ],
)
def test_wrong_values_say_where(
    helm: Helm, tmp_path: Path, given: dict[str, Any], named: str
) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(given))
    said = helm("template", "rel", str(CHART), "--values", str(file), fails=True)
    assert f"'{named}'" in said


def test_lint_finds_nothing(any_helm: Helm) -> None:
    assert "0 chart(s) failed" in any_helm("lint", "--strict", str(CHART))
