"""The packages that the how-to pages show, installed beside Analect for real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"^```(\w+)\n# (\S+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> dict[str, str]:
    """A page's files, by the name in their first line."""
    return {name: code for _, name, code in BLOCK.findall((HOW_TO / page).read_text("utf-8"))}


def entry_point(page: str, group: str) -> str:
    """The line that the page puts under an entry point group, as ``entry_points.txt`` has it."""
    text = (HOW_TO / page).read_text("utf-8")
    line = text.split(f'[project.entry-points."{group}"]\n')[1].split("\n", 1)[0]
    return line.replace('"', "")


def install(site: Path, page: str, group: str, module: str) -> None:
    """Put a page's module into ``site`` as an installed package that offers its entry point."""
    metadata = site / f"analect_{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{module}.py").write_text(blocks(page)[f"{module}.py"], "utf-8")
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: analect-{module}\nVersion: 1.0\n"
    )
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry_point(page, group)}\n")


def environment(folder: Path, site: Path, bytecode: Path) -> dict[str, str]:
    """That of a program which has what is in ``site`` and keeps its data in ``folder``."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANALECT_")},
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(bytecode),
        "PYTHONPATH": str(site),
        "ANALECT_HOME": str(folder / "home"),
        "ANALECT_KEYS__RING": str(folder / "ring"),
        "ANALECT_INDEX__VECTORS": "false",
    }


def attempt(
    environment: dict[str, str], folder: Path, *command: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(environment: dict[str, str], folder: Path, *command: str) -> str:
    """Run Python with these arguments; what it printed."""
    done = attempt(environment, folder, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def analect(environment: dict[str, str], folder: Path, *arguments: str) -> str:
    """Run the command; what it printed."""
    return run(environment, folder, "-m", "analect.cli", *arguments)
