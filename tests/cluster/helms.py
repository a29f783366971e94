"""Helm, the two that are in use, as programs of these tests."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import binary
from tests.conftest import requires

CHART = Path(__file__).parents[2] / "charts" / "analect"
BEFORE = Path(__file__).parent / "chart-before.tgz"
"""The chart as it was before hooks left stores alone; upgrades begin with it."""
VERSIONS = ("helm-3", "helm-4")
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Helm:
    """One of them, with a home folder of its own."""

    command: tuple[str, ...]
    home: Path

    @classmethod
    def of(cls, version: str, home: Path) -> Helm:
        """Built when first asked for."""
        program = binary.HELM_3 if version == "helm-3" else binary.CONTROL_PLANE
        if missing := binary.missing(program):
            requires("kubernetes", missing)
        words = () if version == "helm-3" else ("helm",)
        return cls((str(binary.ensure(program)), *words), home)

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        """What it prints; where it is to fail, what it says of that."""
        done = subprocess.run(
            [*self.command, *arguments],
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def rendered(self, *arguments: str) -> list[Manifest]:
        """The manifests of a release `rel` in the namespace `demo`."""
        text = self("template", "rel", str(CHART), "--namespace", "demo", *arguments)
        return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [one for one in manifests if one["kind"] == kind]
