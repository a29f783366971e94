"""The control plane of this test session, started when first asked for; a namespace a test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import binary
from tests.cluster.plane import Plane
from tests.conftest import requires

VOLUMES = 80
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


@pytest.fixture
def namespace(plane: Plane) -> Iterator[str]:
    """A namespace of the test's own; its deletion is not waited for."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    plane.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    plane.api.delete(f"/api/v1/namespaces/{name}")
