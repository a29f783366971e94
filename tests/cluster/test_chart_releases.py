"""Releases on a cluster that never saw the chart: installed, upgraded from the one before, removed, by
both Helms; what they brought is checked strictly, and what must stay stays."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.processes import Place as Store
from tests.cluster.helms import BEFORE, CHART, Helm, Manifest, of_kind
from tests.cluster.operators import GROUP
from tests.cluster.plane import Plane, Refused, wait_for
from tests.cluster.test_chart_values import EVERYTHING

KUBECTL = Path(sys.executable).parent / "kubectl"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STORE = f"{GROUP}/namespaces/analect/analysisstores/first"
NEW_FIELD = "allowToPorts"
"""Of the store's network policy: the release before has not got it."""


def environment(plane: Plane) -> dict[str, str]:
    """Of a person whose kubectl finds the cluster, and keeps its cache beside it."""
    path = f"{KUBECTL.parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(plane.folder), "KUBECONFIG": str(plane.kubeconfig)}


def kubectl(plane: Plane, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [KUBECTL, *arguments],
        env=environment(plane),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def where(bare: Plane) -> Iterator[tuple[str, ...]]:
    """How Helm finds the cluster; afterwards nothing of ours is left on it."""
    yield ("--namespace", "analect", "--kubeconfig", str(bare.kubeconfig))
    bare.api.delete(STORE)
    # Where the server did not yet serve a kind that goes, it tries again only after a while that
    # grows with each failure, or at once when the definition is touched.
    wait_for(lambda: not removed(bare), what="the definitions are gone", deadline=100)


def removed(plane: Plane) -> list[str]:
    """Removes our definitions; which of them still stand."""
    names = ours(plane)
    touched = {"metadata": {"annotations": {"touched": str(time.monotonic())}}}
    for name in names:
        plane.api.delete(f"{DEFINITIONS}/{name}")
        with suppress(Refused):  # it went meanwhile
            plane.api.merge(f"{DEFINITIONS}/{name}", touched)
    return names


def ours(plane: Plane) -> list[str]:
    names = [one["metadata"]["name"] for one in plane.api.items(DEFINITIONS)]
    return [name for name in names if name.endswith(".analect.dev")]


def knows(plane: Plane, field: str) -> bool:
    return field in str(plane.api.get(f"{DEFINITIONS}/analysisstores.analect.dev"))


def deployments(plane: Plane) -> list[Manifest]:
    return plane.api.items("/apis/apps/v1/namespaces/analect/deployments")


def test_from_the_release_before_to_this_one_and_away(
    any_helm: Helm, bare: Plane, where: tuple[str, ...]
) -> None:
    first = ("--set", "store.enabled=true", "--wait", "--timeout", "90s")
    any_helm("install", "analect", str(BEFORE), *where, "--create-namespace", *first)
    assert not knows(bare, NEW_FIELD)
    (before,) = deployments(bare)
    made = bare.api.get(STORE)
    assert made is not None
    assert made["spec"]["embedded"]

    any_helm("upgrade", "analect", str(CHART), *where, *first, "--set", "operator.replicas=1")
    assert knows(bare, NEW_FIELD)
    (after,) = deployments(bare)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["replicas"] == 1
    # A hook that is made again would take the store away first.
    kept = bare.api.get(STORE)
    assert kept is not None
    assert kept["metadata"]["uid"] == made["metadata"]["uid"]

    notes = any_helm("get", "notes", "analect", *where)
    assert "wait --for=condition=Ready --timeout=5m analysisstore/first" in notes
    assert "helm test analect" in notes

    any_helm("rollback", "analect", "1", *where, "--wait", "--timeout", "90s")
    (back,) = deployments(bare)
    assert back["spec"]["replicas"] == 2
    any_helm("uninstall", "analect", *where, "--wait")
    assert deployments(bare) == []
    assert len(ours(bare)) == 5
    kept = bare.api.get(STORE)
    assert kept is not None
    assert kept["metadata"]["uid"] == made["metadata"]["uid"]


def test_what_the_notes_say_can_be_done(
    any_helm: Helm, bare: Plane, where: tuple[str, ...]
) -> None:
    """Also: a second release, in another namespace, takes the definitions over."""
    any_helm("install", "analect", str(CHART), *where, "--create-namespace")
    notes = any_helm("get", "notes", "analect", *where)
    command = re.search(
        r"^  kubectl .* apply -f - <<EOF$.*?^  EOF$", notes, re.MULTILINE | re.DOTALL
    )
    assert command is not None
    lines = [line.removeprefix("  ") for line in command[0].splitlines()]
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines)],
        env=environment(bare),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert bare.api.get(STORE) is not None
    any_helm("uninstall", "analect", *where)
    other = ("--namespace", "other", *where[2:])
    any_helm("install", "second", str(CHART), *other, "--create-namespace", "--take-ownership")
    any_helm("uninstall", "second", *other)


def test_the_api_server_knows_every_field(helm: Helm, bare: Plane, tmp_path: Path) -> None:
    """With every switch on; the first store is checked where its kind is known."""
    more: dict[str, Any] = {
        "scope": {"namespaces": ["default", "kube-public"]},
        "operator": {"priorityClassName": "system-cluster-critical", "nodeSelector": {"a": "b"}},
        "serviceAccount": {"annotations": {"a": "b"}},
        "image": {"pullSecrets": [{"name": "registry"}]},
        "monitoring": {"labels": {"release": "prometheus"}},
    }
    for number, values in enumerate(({}, more)):
        file = tmp_path / f"values-{number}.yaml"
        file.write_text(yaml.safe_dump(values))
        made = helm.rendered(*EVERYTHING, "--values", str(file))
        for one in made:
            # The namespace of the release is made by Helm, and is not there in a dry run.
            if one["metadata"].get("namespace") == "demo":
                one["metadata"]["namespace"] = "default"
        mine = of_kind(made, "AnalysisStore")
        assert len(mine) == 1
        text = yaml.safe_dump_all(one for one in made if one not in mine)
        strictly = ("--server-side", "--dry-run=server", "--validate=strict")
        said = kubectl(bare, "apply", *strictly, "-f", "-", stdin=text)
        assert len(said.splitlines()) == len(made) - len(mine)


def test_a_first_store_is_what_its_kind_allows(helm: Helm, plane: Plane, namespace: str) -> None:
    (store,) = of_kind(helm.rendered(*EVERYTHING), "AnalysisStore")
    store["metadata"]["namespace"] = namespace
    path = f"{GROUP}/namespaces/{namespace}/analysisstores?dryRun=All&fieldValidation=Strict"
    assert plane.api.call("POST", path, store)["spec"]["embedded"]


def test_the_test_of_a_release_finds_a_record(helm: Helm, tmp_path: Path) -> None:
    """The very command of the pod, with its script, against a real server."""
    found = helm.rendered()
    (pod,) = of_kind(found, "Pod")
    (config,) = [one for one in of_kind(found, "ConfigMap") if "find_a_record.py" in one["data"]]
    (container,) = pod["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    folder = tmp_path / "mounted"
    folder.mkdir()
    for name, text in config["data"].items():
        (folder / name).write_text(text)
    program, *words = [
        word.replace(mount["mountPath"], str(folder)) for word in container["command"]
    ]
    assert program == "python"
    key = "a-key-of-the-test"
    hashed = "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    store = Store(tmp_path / "store", {"ANALECT_API_KEYS": hashed})
    with store.server() as server:
        given = {"WRITE_URL": server.url, "READ_URL": server.url, "ANALECT_API_KEY": key}
        assert {one["name"] for one in container["env"]} == set(given)
        done = subprocess.run(
            [sys.executable, *words],
            env={"PATH": "/usr/bin:/bin", **given},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "was stored and found" in done.stdout
