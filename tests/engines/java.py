"""Which Java this machine has."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path


def java_home(at_least: int, below: int = 1000) -> Path | None:
    """The home of the newest Java in ``[at_least, below)``; ``None`` when there is none."""
    found = {version: home for home in _homes() if (version := _version(home)) is not None}
    fitting = [version for version in found if at_least <= version < below]
    return found[max(fitting)] if fitting else None


def _homes() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    yield from sorted(Path("/usr/lib/jvm").glob("*"))
    command = shutil.which("java")
    if command is not None:
        yield Path(command).resolve().parents[1]


def _version(home: Path) -> int | None:
    release = home / "release"
    if not release.is_file() or not (home / "bin" / "java").exists():
        return None
    match = re.search(r'JAVA_VERSION="(\d+)', release.read_text("utf-8"))
    return int(match[1]) if match else None
