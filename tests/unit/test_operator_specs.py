"""The custom resources: what their schemas promise, before any API server sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from analect_operator.crds import definition, files
from analect_operator.specs.kinds import KINDS, STORE
from analect_operator.specs.quantities import canonical
from analect_operator.specs.schema import structural


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        yield f"{path}.{name}", part
        yield from fields(part, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield f"{path}[]", schema[inner]
            yield from fields(schema[inner], f"{path}[]")


ALL = [
    (f"{kind.kind}{path}", part)
    for kind in KINDS
    for half in ("spec", "status")
    for path, part in fields(structural(getattr(kind, half)), f".{half}")
]


def test_generated_files_are_what_the_specs_say() -> None:
    differ = [path.name for path, text in files().items() if path.read_text("utf-8") != text]
    assert differ == [], "run python -m analect_operator.crds"


def test_every_field_is_described() -> None:
    assert [
        path for path, part in ALL if not path.endswith("[]") and "description" not in part
    ] == []


def test_every_text_list_and_map_is_bounded() -> None:
    def open_ended(part: dict[str, Any]) -> bool:
        kind = part.get("type")
        if kind == "string":
            return "maxLength" not in part and "enum" not in part
        if kind == "array":
            return "maxItems" not in part
        return "additionalProperties" in part and "maxProperties" not in part

    assert [path for path, part in ALL if open_ended(part)] == []


def test_nothing_the_api_server_does_not_know_is_left() -> None:
    strange = {"$ref", "title", "const", "exclusiveMinimum", "propertyNames", "$defs"}
    assert [path for path, part in ALL if strange & set(part)] == []


def test_every_rule_says_what_to_do() -> None:
    rules = [
        rule["message"] for _path, part in ALL for rule in part.get("x-kubernetes-validations", ())
    ]
    assert len(rules) > 20
    assert all(len(message) > 15 for message in rules)


def test_a_default_inside_an_object_is_reached() -> None:
    spec = structural(STORE.spec)["properties"]
    assert spec["ingest"]["default"] == {"resources": {}, "serviceType": "ClusterIP"}
    assert spec["monitoring"]["default"]["thresholds"]["errorRate"] == 0.05
    assert spec["mode"]["default"] == "Active"


def test_scale_and_columns() -> None:
    version = definition(STORE)["spec"]["versions"][0]
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.ingest.replicas"
    assert [column["name"] for column in version["additionalPrinterColumns"]][:2] == [
        "Mode",
        "Ready",
    ]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1536Mi", "1536Mi"),
        ("1.5Gi", "1536Mi"),
        (2, "2"),
        ("2000", "2k"),
        ("250m", "250m"),
        ("0", "0"),
        ("1000Mi", "1000Mi"),
    ],
)
def test_quantities_are_in_the_server_s_form(given: str | int, shown: str) -> None:
    assert canonical(given) == shown
