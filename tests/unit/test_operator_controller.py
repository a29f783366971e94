"""Who is looked at again when something changes, and what is written then."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from analect_operator.api import Api
from analect_operator.conditions import yes
from analect_operator.controller import Controller
from analect_operator.metrics import Metrics
from analect_operator.reconciling import Memory
from analect_operator.reporting import Reporter
from analect_operator.resources import Ref
from analect_operator.settings import OperatorOptions


@pytest.fixture(autouse=True)
def _credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        "clusters": [{"name": "one", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "one", "user": {"token": "none"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(file))


def _body(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    meta = {"namespace": "a", "name": name, "uid": name, "resourceVersion": "1"}
    times = {"creationTimestamp": "2026-11-22T00:00:00Z"}
    return {"kind": kind, "metadata": meta | times, "spec": spec}


def _secret(name: str, namespace: str = "a") -> dict[str, Any]:
    return {
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name, "uid": name},
        "data": {"key": "dmFsdWU="},
    }


def test_a_secret_is_the_business_of_those_that_use_it() -> None:
    async def scenario() -> list[str]:
        metrics = Metrics()
        api = Api(metrics)
        try:
            controller = Controller(api, OperatorOptions(), metrics, lambda: 0, bytes)
            for name in ("one", "two"):
                controller.world.observe(_body("AnalysisStore", name), gone=False)
                ref = Ref("a", "AnalysisStore", name)
                controller.stores.memories[ref] = Memory(secrets=frozenset({f"{name}-password"}))
            for name in ("one", "two"):
                named = {"storeRef": {"name": "one"}, "subjectSecretRef": {"name": f"of-{name}"}}
                controller.world.observe(_body("Erasure", name, **named), gone=False)
            for item in (_secret("one-password"), _secret("of-two"), _secret("of-one", "b")):
                controller.secrets.observe(item, gone=False)
            await asyncio.sleep(0)
            keys = [await controller.queue.take() for _ in range(controller.queue.size)]
            return [f"{key.kind} {key.name}" for key in keys]
        finally:
            await api.close()

    assert asyncio.run(scenario()) == ["AnalysisStore one", "Erasure two"]


class _Older:
    """An API server whose definitions know no volumes yet."""

    def __init__(self) -> None:
        self.writes = 0

    async def apply_status(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        known = {name: part for name, part in manifest["status"].items() if name != "volumes"}
        return {"metadata": manifest["metadata"], "status": known}

    async def create(self, _manifest: dict[str, Any]) -> dict[str, Any]:
        return {}


def test_what_older_definitions_leave_out_of_a_status_is_not_written_again_and_again() -> None:
    async def scenario() -> list[bool]:
        server, seen = _Older(), _body("AnalysisStore", "one")
        seen |= {"apiVersion": "analect.dev/v1alpha1"}
        seen["metadata"]["generation"] = 1
        reporter = Reporter(
            cast("Api", server), lambda answer: seen.update(status=answer["status"]), "me", int
        )
        wrote = [
            await reporter.report(
                seen, [yes("Ready", "Ready", "well")], {"volumes": {"keys": name}}
            )
            for name in ("pv-1", "pv-1", "pv-2")
        ]
        assert server.writes == 2
        return wrote

    assert asyncio.run(scenario()) == [True, False, True]
