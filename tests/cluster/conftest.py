"""The control plane of this test session, started when first asked for; a namespace a test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster import binary
from tests.cluster.helms import VERSIONS, Helm
from tests.cluster.plane import Plane
from tests.conftest import requires

VOLUMES = 400
"""More than the tests of a session claim: one that was let go is not taken again."""
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts:rights"]},
        {"level": "None"},
    ],
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """etcd, API server, controller-manager and scheduler, with the CRDs of this tree; pods are faked."""
    if missing := binary.missing():
        requires("kubernetes", missing)
    plane = Plane(binary.ensure(), tmp_path_factory.mktemp("plane"), ROOT / "crds")
    try:
        plane.start()
        plane.start_kwok()
        plane.provide_volumes(VOLUMES)
        yield plane
    finally:
        plane.stop()


class Audited(Plane):
    """One that writes down what service accounts ask of it (``audit.log``)."""

    def launch(self, name: str, *arguments: str) -> None:
        """As it is; the API server with its log."""
        if name == "apiserver":
            policy = self.folder / "audit.yaml"
            policy.write_text(yaml.safe_dump(AUDIT))
            log = f"--audit-log-path={self.folder}/audit.log"
            arguments = (*arguments, f"--audit-policy-file={policy}", log)
        super().launch(name, *arguments)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane that knows the kinds of others that we make objects of (``foreign``), and
    none of ours: those are brought by the chart.
    """
    if missing := binary.missing():
        requires("kubernetes", missing)
    folder = tmp_path_factory.mktemp("bare-plane")
    plane = Audited(binary.ensure(), folder, Path(__file__).parent / "foreign")
    try:
        plane.start()
        plane.start_kwok()
        plane.provide_volumes(20)
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm 4."""
    return Helm.of("helm-4", tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module", params=VERSIONS)
def any_helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Either."""
    return Helm.of(request.param, tmp_path_factory.mktemp("helm"))


@pytest.fixture
def namespace(plane: Plane) -> Iterator[str]:
    """A namespace of the test's own; its deletion is not waited for."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    plane.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    plane.api.delete(f"/api/v1/namespaces/{name}")
