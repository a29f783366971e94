"""Custom resources that the documentation shows are taken by the API server as they stand."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.helms import Manifest
from tests.cluster.operators import Place
from tests.cluster.plane import Plane

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?P<in> *)```yaml\n(?P<body>.*?)^(?P=in)```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"apply -f - <<EOF\n(?P<body>.*?)^ *EOF$", re.MULTILINE | re.DOTALL)


def shown(page: Path) -> Iterator[Manifest]:
    """The custom resources of a page."""
    text = page.read_text("utf-8")
    for found in [*BLOCK.finditer(text), *HEREDOC.finditer(text)]:
        for one in yaml.safe_load_all(textwrap.dedent(found["body"])):
            if isinstance(one, dict) and one.get("apiVersion", "").startswith("analect.dev/"):
                yield one


SHOWN = [
    pytest.param(one, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, one in enumerate(shown(page))
]


@pytest.mark.parametrize("manifest", SHOWN)
def test_what_the_docs_apply_is_taken(plane: Plane, namespace: str, manifest: Manifest) -> None:
    plural = {"RetentionPolicy": "retentionpolicies"}.get(
        manifest["kind"], f"{manifest['kind'].lower()}s"
    )
    path = Place(plane, namespace).path(plural)
    plane.api.call("POST", f"{path}?dryRun=All&fieldValidation=Strict", manifest)


def test_the_docs_show_some() -> None:
    assert len(SHOWN) >= 10
