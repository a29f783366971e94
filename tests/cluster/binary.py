"""The binary of the control plane, built once a machine from pinned Go modules."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "controlplane"
_PINS = ("go.mod", "go.sum", "main.go")
_VERSION_PACKAGE = "k8s.io/component-base/version"


def missing() -> str | None:
    """What this machine lacks to build it, or nothing."""
    go = shutil.which("go")
    if go is None and not _binary().is_file():
        return "Go 1.26 or newer, to build a Kubernetes control plane"
    return None


def ensure() -> Path:
    """The binary for exactly these pins; made first (about five minutes) where it is not there."""
    binary = _binary()
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (binary.parent / "kubernetes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.is_file():
            _build(binary)
    return binary


def _binary() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pins = hashlib.sha256(b"\0".join((SOURCES / name).read_bytes() for name in _PINS))
    return cache / "analect-tests" / f"kubernetes-{pins.hexdigest()[:16]}"


def _build(binary: Path) -> None:
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
                cwd=SOURCES,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"go {arguments[0]}: {done.stderr[-2000:]}"
            return done.stdout.strip()

        # Without these the server says it is v0.0.0, which clients fail to parse.
        version = go("list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
        major, minor, _patch = version.removeprefix("v").split(".")
        said = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
        flags = " ".join(f"-X {_VERSION_PACKAGE}.{name}={value}" for name, value in said.items())
        go("build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", f"{scratch}/made", ".")
        partial = binary.with_suffix(".new")
        shutil.copy2(f"{scratch}/made", partial)
        partial.rename(binary)


if __name__ == "__main__":
    print(ensure())  # noqa: T201
