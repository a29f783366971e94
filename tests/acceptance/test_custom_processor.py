"""The processor of the how-to, installed beside Analect and run by real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-processor.md"
BLOCK = re.compile(r"^```(\w+)\n# (\S+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """The page's files, by the name in their first line."""
    return {name: code for _, name, code in BLOCK.findall(PAGE.read_text("utf-8"))}


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all these programs keep their modules compiled: halves what each takes to start."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def installed(tmp_path: Path, bytecode: Path) -> dict[str, str]:
    """The environment of a program that has the page's package installed."""
    site = tmp_path / "site"
    metadata = site / "analect_questions-1.0.dist-info"
    metadata.mkdir(parents=True)
    page = blocks()
    (site / "questions.py").write_text(page["questions.py"], "utf-8")
    point = page["pyproject.toml"].split('[project.entry-points."analect.processors"]\n')[1]
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: analect-questions\nVersion: 1.0\n"
    )
    name, place = point.strip().replace('"', "").split(" = ")
    (metadata / "entry_points.txt").write_text(f"[analect.processors]\n{name} = {place}\n")
    (tmp_path / "read.py").write_text(page["read.py"], "utf-8")
    (tmp_path / "messages.jsonl").write_text(
        '{"id": "m-1", "source": "test", "occurred_at": "2025-06-01T10:00:00Z",'
        ' "input": "The invoice is wrong. Who can mend it? I am at anna@example.org."}\n'
        '{"id": "m-2", "source": "test", "occurred_at": "2025-06-01T10:01:00Z",'
        ' "input": "Thank you."}\n'
    )
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANALECT_")},
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(bytecode),
        "PYTHONPATH": str(site),
        "ANALECT_HOME": str(tmp_path / "home"),
        "ANALECT_KEYS__RING": str(tmp_path / "ring"),
        "ANALECT_INDEX__VECTORS": "false",
    }


def run(environment: dict[str, str], folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_annotates_what_comes_and_what_was_there(
    installed: dict[str, str], tmp_path: Path
) -> None:
    run(installed, tmp_path, "-m", "analect.cli", "import", "messages.jsonl")
    run(installed, tmp_path, "-m", "analect.cli", "process", "--processor", "questions")
    assert read(installed, tmp_path) == ["asks no None", "asks yes Who can mend it?"]

    listed = json.loads(run(installed, tmp_path, "-m", "analect.cli", "list", "--json"))
    ids = [record["id"] for record in listed["items"]]
    again = ("reprocess", "--processor", "questions", *ids)
    run(installed, tmp_path, "-m", "analect.cli", *again)
    done = run(
        installed,
        tmp_path,
        *("-m", "analect.cli", "process", "--processor", "questions", "--json"),
    )
    assert json.loads(done) == {"processed": 2}
    assert len(read(installed, tmp_path)) == 2

    run(installed, tmp_path, "-m", "analect.cli", "erase", "record", ids[1], "--yes")
    assert read(installed, tmp_path) == ["asks no None"]


def test_one_that_cannot_be_loaded_says_so(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "site" / "questions.py").write_text("class Other: ...\n")
    done = subprocess.run(
        [sys.executable, "-m", "analect.cli", "import", "messages.jsonl"],
        cwd=tmp_path,
        env=installed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4
    assert "questions:QuestionProcessor" in done.stderr
    assert "Traceback" not in done.stderr


def read(environment: dict[str, str], folder: Path) -> list[str]:
    """What the page's program prints."""
    return sorted(run(environment, folder, "read.py").splitlines())
