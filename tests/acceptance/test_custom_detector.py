"""The detector of the how-to, installed beside Analect: what it finds is never stored."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.acceptance.installing import analect, attempt, environment, install

PAGE = "add-a-detector.md"
MESSAGES = (
    '{"id": "m-1", "source": "test", "occurred_at": "2025-06-01T10:00:00Z",'
    ' "input": "badge b-73519 does not open the door", "tags": ["B-73519"]}\n'
    '{"id": "m-2", "source": "test", "occurred_at": "2025-06-01T10:01:00Z",'
    ' "output": {"holder": "B-73519", "mail": "anna@example.org"}}\n'
)
TOKEN = re.compile(r"<badge:[0-9a-f]{16}>")


@pytest.fixture
def installed(tmp_path: Path, bytecode: Path) -> dict[str, str]:
    """The environment of a program that has the page's package installed."""
    install(tmp_path / "site", PAGE, "analect.detectors", "badges")
    (tmp_path / "messages.jsonl").write_text(MESSAGES)
    return environment(tmp_path, tmp_path / "site", bytecode)


def test_what_it_finds_is_a_token_in_what_is_stored(
    installed: dict[str, str], tmp_path: Path
) -> None:
    analect(installed, tmp_path, "import", "messages.jsonl")
    analect(installed, tmp_path, "process")
    second, first = json.loads(analect(installed, tmp_path, "list", "--json"))["items"]
    (token,) = first["tags"]
    assert TOKEN.fullmatch(token)
    assert first["input"] == f"badge {token} does not open the door"
    assert second["output"]["holder"] == token
    assert second["output"]["mail"].startswith("<email:")

    # A question is pseudonymised the same way.
    asked = json.loads(analect(installed, tmp_path, "list", "--tag", "b-73519", "--json"))
    assert [record["id"] for record in asked["items"]] == [first["id"]]
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or b"73519" not in file.read_bytes(), file


def test_one_that_fails_refuses_the_record(installed: dict[str, str], tmp_path: Path) -> None:
    module = tmp_path / "site" / "badges.py"
    module.write_text(
        module.read_text().replace("for match in", "raise KeyError(text)\n        for match in")
    )
    done = attempt(installed, tmp_path, "-m", "analect.cli", "import", "messages.jsonl", "--json")
    assert done.returncode != 0
    assert "detection" in done.stdout + done.stderr
    assert "73519" not in done.stdout + done.stderr
    assert json.loads(analect(installed, tmp_path, "list", "--json"))["items"] == []


def test_one_that_cannot_be_loaded_says_so(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "site" / "badges.py").write_text("class Other: ...\n")
    done = attempt(installed, tmp_path, "-m", "analect.cli", "import", "messages.jsonl")
    assert done.returncode == 4
    assert "badges:BadgeDetector" in done.stderr
    assert "Traceback" not in done.stderr
