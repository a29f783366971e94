"""What is generated from the specs: ``python -m analect_operator.crds [--check]``.

The CRDs, here and in the chart, their reference, the rules for Prometheus, the dashboards.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from analect_operator.build.alerts import groups, operator_alerts, store_alerts
from analect_operator.dashboards import DASHBOARDS, rendered
from analect_operator.specs.base import GROUP, VERSION
from analect_operator.specs.kinds import KINDS, CustomKind
from analect_operator.specs.schedules import Thresholds
from analect_operator.specs.schema import structural

_ROOT = Path(__file__).parents[2]
_CHART = _ROOT / "charts" / "analect" / "files"
_PLAIN = """# For a Prometheus without its operator: all alerts, with the thresholds that a store has when none
# are given. Generated; copy it and change the copy.
"""
_HEADING = """# Custom resources

Generated from the operator's own types by `python -m analect_operator.crds`; do not edit. `kubectl explain analysisstore.spec` says the same. All kinds are of the group `analect.dev/v1alpha1`, namespaced, in the category `analect` (`kubectl get analect`).
"""


def definition(kind: CustomKind) -> dict[str, Any]:
    """The CustomResourceDefinition of ``kind``."""
    spec = structural(kind.spec)
    status = structural(kind.status, defaults=False)
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": kind.about,
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": spec,
                    "status": status,
                },
            }
        },
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": column.name, "type": column.type, "jsonPath": column.path}
            | ({"priority": column.priority} if column.priority else {})
            for column in kind.columns
        ],
    }
    if kind.scale:
        version["subresources"]["scale"] = {
            "specReplicasPath": ".spec.ingest.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["analect"],
            },
            "versions": [version],
        },
    }


def files() -> dict[Path, str]:
    """Every generated file and what belongs into it."""
    made = {}
    for kind in KINDS:
        text = yaml.safe_dump(definition(kind), sort_keys=False, width=100)
        made[_ROOT / "crds" / f"{kind.plural}.yaml"] = text
        made[_CHART / "crds" / f"{kind.plural}.yaml"] = text
    limits = Thresholds()
    operators = groups("analect-operator", operator_alerts())
    made[_CHART / "rules.yaml"] = _rules(operators)
    stores = groups("analect-store", store_alerts(limits))
    made[_CHART / "prometheus.rules.yaml"] = _PLAIN + _rules([*stores, *operators])
    for dashboard in DASHBOARDS:
        made[_CHART / "dashboards" / f"{dashboard.name}.json"] = rendered(dashboard)
    made[_ROOT / "docs" / "reference" / "custom-resources.md"] = reference()
    return made


def _rules(groups_: list[dict[str, Any]]) -> str:
    return yaml.safe_dump({"groups": groups_}, sort_keys=False, width=100)


def reference() -> str:
    """The page with every field of every kind."""
    parts = [_HEADING]
    for kind in KINDS:
        parts.append(f"\n## {kind.kind}\n\n{kind.about} Short name: `{kind.short}`.\n")
        for part in ("spec", "status"):
            rows = list(_rows(part, structural(getattr(kind, part), defaults=part == "spec")))
            parts.append("\n| field | type | default | what |\n|---|---|---|---|\n")
            parts.extend(rows)
            parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def _rows(path: str, schema: dict[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        shown = "required" if name in required else _default(part)
        about = part.get("description", "").replace("|", "\\|").replace("\n", " ")
        yield f"| `{here}` | {_type(part)} | {shown} | {about} |\n"
        inner = part["items"] if part.get("type") == "array" else part
        yield from _rows(here + ("[]" if inner is not part else ""), inner)


def _default(part: dict[str, Any]) -> str:
    default = part.get("default")
    if default is None or isinstance(default, (dict, list)):
        return ""
    return f"`{json.dumps(default)}`"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "x-kubernetes-int-or-string" in schema:
        return "quantity"
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    return str(schema["type"])


def main() -> None:
    """Write them, or with ``--check`` say which differ."""
    made = files()
    if sys.argv[1:] == ["--check"]:
        differ = [
            path for path, text in made.items() if not path.is_file() or path.read_text() != text
        ]
        if differ:
            names = ", ".join(str(path.relative_to(_ROOT)) for path in differ)
            sys.exit(f"{names}: not what the specs say; run python -m analect_operator.crds")
        return
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
