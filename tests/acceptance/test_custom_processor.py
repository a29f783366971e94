"""The processor of the how-to, installed beside Analect and run by real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.installing import (
    analect,
    attempt,
    blocks,
    environment,
    install,
    run,
)

PAGE = "add-a-processor.md"


@pytest.fixture
def installed(tmp_path: Path, bytecode: Path) -> dict[str, str]:
    """The environment of a program that has the page's package installed."""
    install(tmp_path / "site", PAGE, "analect.processors", "questions")
    (tmp_path / "read.py").write_text(blocks(PAGE)["read.py"], "utf-8")
    (tmp_path / "messages.jsonl").write_text(
        '{"id": "m-1", "source": "test", "occurred_at": "2025-06-01T10:00:00Z",'
        ' "input": "The invoice is wrong. Who can mend it? I am at anna@example.org."}\n'
        '{"id": "m-2", "source": "test", "occurred_at": "2025-06-01T10:01:00Z",'
        ' "input": "Thank you."}\n'
    )
    return environment(tmp_path, tmp_path / "site", bytecode)


def test_it_annotates_what_comes_and_what_was_there(
    installed: dict[str, str], tmp_path: Path
) -> None:
    analect(installed, tmp_path, "import", "messages.jsonl")
    analect(installed, tmp_path, "process", "--processor", "questions")
    assert read(installed, tmp_path) == ["asks no None", "asks yes Who can mend it?"]

    listed = json.loads(analect(installed, tmp_path, "list", "--json"))
    ids = [record["id"] for record in listed["items"]]
    analect(installed, tmp_path, "reprocess", "--processor", "questions", *ids)
    done = analect(installed, tmp_path, "process", "--processor", "questions", "--json")
    assert json.loads(done) == {"processed": 2}
    assert len(read(installed, tmp_path)) == 2

    analect(installed, tmp_path, "erase", "record", ids[1], "--yes")
    assert read(installed, tmp_path) == ["asks no None"]


def test_one_that_cannot_be_loaded_says_so(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "site" / "questions.py").write_text("class Other: ...\n")
    done = attempt(installed, tmp_path, "-m", "analect.cli", "import", "messages.jsonl")
    assert done.returncode == 4
    assert "questions:QuestionProcessor" in done.stderr
    assert "Traceback" not in done.stderr


def read(environment: dict[str, str], folder: Path) -> list[str]:
    """What the page's program prints."""
    return sorted(run(environment, folder, "read.py").splitlines())
