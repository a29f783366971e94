"""The programs of these tests that are written in Go, built once a machine from pinned modules."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Program:
    """``name`` is that of the file; ``sources`` a folder of which ``pins`` decide what is built.

    ``module`` gives the version that ``versions`` (a linker's variable each) are set to: the whole,
    its major and its minor part.
    """

    name: str
    sources: Path
    pins: tuple[str, ...]
    package: str
    module: str
    versions: tuple[tuple[str, str], ...]


_COMPONENT = "k8s.io/component-base/version"
_CHARTS = "helm.sh/helm/v3/pkg/chartutil"
CONTROL_PLANE = Program(
    "kubernetes",
    _HERE / "controlplane",
    ("go.mod", "go.sum", "main.go"),
    ".",
    "k8s.io/kubernetes",
    # Without these the server says it is v0.0.0, which clients fail to parse.
    (
        (f"{_COMPONENT}.gitVersion", "whole"),
        (f"{_COMPONENT}.gitMajor", "major"),
        (f"{_COMPONENT}.gitMinor", "minor"),
    ),
)
HELM_3 = Program(
    "helm3",
    _HERE / "helm3",
    ("go.mod", "go.sum"),
    "helm.sh/helm/v3/cmd/helm",
    "k8s.io/client-go",
    # The Kubernetes that `helm template` renders for; client-go's v0.37 is that of 1.37.
    ((f"{_CHARTS}.k8sVersionMajor", "one"), (f"{_CHARTS}.k8sVersionMinor", "minor")),
)


def missing(program: Program = CONTROL_PLANE) -> str | None:
    """What this machine lacks to build it, or nothing."""
    if shutil.which("go") is None and not _binary(program).is_file():
        return "Go 1.26 or newer, to build a Kubernetes control plane"
    return None


def ensure(program: Program = CONTROL_PLANE) -> Path:
    """The binary for exactly these pins; made first (minutes) where it is not there."""
    binary = _binary(program)
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (binary.parent / f"{program.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.is_file():
            _build(program, binary)
    return binary


def _binary(program: Program) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pins = hashlib.sha256(
        b"\0".join((program.sources / name).read_bytes() for name in program.pins)
    )
    return cache / "analect-tests" / f"{program.name}-{pins.hexdigest()[:16]}"


def _build(program: Program, binary: Path) -> None:
    # The compiler's cache (3 GB) and the modules (1 GB) are of no use afterwards.
    with tempfile.TemporaryDirectory(prefix="analect-go-") as scratch:
        env = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOCACHE": f"{scratch}/build",
            "GOMODCACHE": f"{scratch}/mod",
            "GOFLAGS": "-modcacherw -buildvcs=false -mod=readonly",
        }

        def go(*arguments: str) -> str:
            done = subprocess.run(
                ["go", *arguments],
                cwd=program.sources,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"go {arguments[0]}: {done.stderr[-2000:]}"
            return done.stdout.strip()

        version = go("list", "-m", "-f", "{{.Version}}", program.module)
        major, minor, _patch = version.removeprefix("v").split(".")
        said = {"whole": version, "major": major, "minor": minor, "one": "1"}
        flags = " ".join(f"-X {name}={said[part]}" for name, part in program.versions)
        made = f"{scratch}/made"
        go("build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", made, program.package)
        partial = binary.with_suffix(".new")
        shutil.copy2(made, partial)
        partial.rename(binary)


if __name__ == "__main__":
    for _program in (CONTROL_PLANE, HELM_3):
        print(ensure(_program))  # noqa: T201
