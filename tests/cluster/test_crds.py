"""The API server takes the CRDs, fills in defaults, and refuses nonsense in words that help."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.plane import Plane, Refused

GROUP = "/apis/analect.dev/v1alpha1"
EXTERNAL = {
    "database": {"external": {"url": "postgresql://db:5432/a"}},
    "queue": {"external": {"url": "redis://valkey:6379/0"}},
}
RULE = {"name": "all", "hotDays": 30, "warmDays": 365}


def store(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "analect.dev/v1alpha1",
        "kind": "AnalysisStore",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.fixture
def stores(namespace: str) -> str:
    return f"{GROUP}/namespaces/{namespace}/analysisstores"


def refusal(plane: Plane, path: str, body: dict[str, Any]) -> str:
    with pytest.raises(Refused) as refused:
        plane.api.call("POST", path, body)
    assert refused.value.code == 422
    return refused.value.body


def test_defaults_reach_every_level(plane: Plane, stores: str) -> None:
    made = plane.api.call("POST", stores, store("demo", {"embedded": {}}))
    assert made["spec"]["embedded"]["storage"]["size"] == "10Gi"
    assert made["spec"]["mode"] == "Active"
    assert made["spec"]["monitoring"]["thresholds"]["avgResponseTimeSeconds"] == 5
    assert made["spec"]["deletionPolicy"] == "Retain"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "give embedded (one pod, no servers) or database"),
        ({"embedded": {}, **EXTERNAL}, "give embedded (one pod, no servers) or database"),
        ({"database": EXTERNAL["database"]}, "beside a database give a queue"),
        (
            {**EXTERNAL, "database": {"managed": {}, "external": {"url": "postgresql://x/y"}}},
            "give exactly one of external, managed",
        ),
        ({**EXTERNAL, "backup": {}}, "backups need a place"),
        (
            {**EXTERNAL, "ingest": {"replicas": 2, "autoscaling": {}}},
            "give replicas or autoscaling, not both",
        ),
        (
            {**EXTERNAL, "query": {"autoscaling": {"min": 5, "max": 2}}},
            "min must not be larger than max",
        ),
        (
            {"embedded": {}, "backup": {"volume": {}, "drill": "sometimes"}},
            "spec.backup.drill",
        ),
        (
            {**EXTERNAL, "database": {"external": {"url": "postgresql://me:secret@db/a"}}},
            "leave user and password out",
        ),
        (
            {**EXTERNAL, "database": {"external": {"url": "mysql://db/a"}}},
            "external.url must begin with one of postgresql://, postgres://",
        ),
        (
            {**EXTERNAL, "search": {"external": {"url": "redis://search:9200"}}},
            "external.url must begin with one of https://, http://",
        ),
        (
            {**EXTERNAL, "processors": [{"name": "text"}, {"name": "text"}]},
            "Duplicate value",
        ),
    ],
)
def test_nonsense_is_refused(plane: Plane, stores: str, spec: dict[str, Any], says: str) -> None:
    assert says in refusal(plane, stores, store("bad", spec))


def test_what_data_stands_on_does_not_change(plane: Plane, stores: str) -> None:
    plane.api.call("POST", stores, store("fixed", EXTERNAL))

    def change(spec: dict[str, Any]) -> str:
        with pytest.raises(Refused) as refused:
            plane.api.merge(f"{stores}/fixed", {"spec": spec})
        return refused.value.body

    assert "cannot change between embedded" in change(
        {"embedded": {}, "database": None, "queue": None}
    )
    assert "cannot be exchanged" in change({"queue": {"managed": {}, "external": None}})


def test_a_volume_grows_and_never_shrinks(plane: Plane, stores: str) -> None:
    plane.api.call("POST", stores, store("vol", {"embedded": {"storage": {"size": "2Gi"}}}))
    plane.api.merge(f"{stores}/vol", {"spec": {"embedded": {"storage": {"size": "3Gi"}}}})
    with pytest.raises(Refused, match="cannot shrink"):
        plane.api.merge(f"{stores}/vol", {"spec": {"embedded": {"storage": {"size": "1Gi"}}}})


def test_scale_subresource(plane: Plane, stores: str) -> None:
    plane.api.call("POST", stores, store("scaled", EXTERNAL))
    plane.api.merge(f"{stores}/scaled/scale", {"spec": {"replicas": 4}})
    body = plane.api.get(f"{stores}/scaled")
    assert body is not None
    assert body["spec"]["ingest"]["replicas"] == 4


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"name": "r", "hotDays": 30, "warmDays": 30}, "hotDays must be smaller than warmDays"),
        ({"name": "r", "warmDays": 9, "coldDays": 8}, "warmDays must be smaller than coldDays"),
        ({"name": "r", "hotDays": 9, "coldDays": 8}, "hotDays must be smaller than coldDays"),
        ({"name": "r"}, "give at least one of hotDays"),
    ],
)
def test_retention_in_the_wrong_order(
    plane: Plane, namespace: str, rule: dict[str, Any], says: str
) -> None:
    body = {
        "apiVersion": "analect.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": "p"},
        "spec": {"storeRef": {"name": "demo"}, "rules": [rule]},
    }
    assert says in refusal(plane, f"{GROUP}/namespaces/{namespace}/retentionpolicies", body)


def test_an_erasure_names_one_thing_and_never_changes(plane: Plane, namespace: str) -> None:
    path = f"{GROUP}/namespaces/{namespace}/erasures"
    body = {
        "apiVersion": "analect.dev/v1alpha1",
        "kind": "Erasure",
        "metadata": {"name": "e"},
        "spec": {"storeRef": {"name": "demo"}},
    }
    assert "give exactly one of subjectSecretRef" in refusal(plane, path, body)
    body["spec"]["sessionId"] = "s-1"
    plane.api.call("POST", path, body)
    with pytest.raises(Refused, match="make a new one"):
        plane.api.merge(f"{path}/e", {"spec": {"sessionId": "s-2"}})


def test_explain_has_words_for_every_field(plane: Plane) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/analysisstores.analect.dev"
    found = plane.api.get(path)
    assert found is not None
    assert found["spec"]["names"]["shortNames"] == ["as"]
    assert found["spec"]["names"]["categories"] == ["analect"]
