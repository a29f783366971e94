"""Servers from Maven: a pom is built once, into a cache outside the tree, and checked."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUILD_SECONDS = 540


class CannotBuild(Exception):
    """What is missing, in a few words."""


def build(pom: Path, sums: Path, **properties: str) -> Path:
    """The folder ``target`` that ``mvn package`` makes of a pom.

    Args:
        pom: copied into the cache, under a name that changes when the pom or a property does.
        sums: lines of ``sha256sum`` for files of the local repository; each that the build could
            fetch and that is there must be as it says, and at least one must be.
        properties: given to Maven with ``-D``.

    Raises:
        CannotBuild: there is no Maven, it failed, or a file is not the one it should be.
    """
    given = sorted(properties.items())
    key = hashlib.sha256(pom.read_bytes() + sums.read_bytes() + repr(given).encode()).hexdigest()
    folder = _cache() / f"{pom.parent.name}-{key[:16]}"
    ready = folder / "ready"
    with _locked(_cache() / "building.lock"):
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            shutil.copy(pom, folder / "pom.xml")
            _package(folder, [f"-D{name}={value}" for name, value in given])
            _check(sums, _repository())
            ready.touch()
    return folder / "target"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "analect-tests"


def _repository() -> Path:
    return _cache() / "maven"


def _package(folder: Path, options: list[str]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise CannotBuild("Maven (mvn)")
    command = [maven, "-B", "-q", f"-Dmaven.repo.local={_repository()}", *options, "package"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuild("Maven to be done in time") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise CannotBuild(f"what Maven fetches ({said[0] if said else 'it failed'})")


def _check(sums: Path, repository: Path) -> None:
    checked = 0
    for line in sums.read_text("utf-8").splitlines():
        expected, name = line.split()
        path = repository / name
        if not path.exists():
            continue  # of another version than the one that was built
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            path.unlink()
            raise CannotBuild(f"{path.name} with the SHA-256 that {sums.name} says")
        checked += 1
    if not checked:
        raise CannotBuild(f"a file that {sums.name} knows")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
