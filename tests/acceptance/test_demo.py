"""``make demo`` as a newcomer runs it, and left running."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo import proof
from demo.dataset import load
from tests import asking

ROOT = Path(__file__).parents[2]
PARTS = ("1. Stored", "2. A thread", "3. Words", "4. Meaning", "5. Relations", "6. Status")


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "110"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_it_shows_everything_and_cleans_up() -> None:
    done = run_demo()
    assert done.returncode == 0, done.stdout + done.stderr
    for part in (*PARTS, "7. Ageing", "8. Backup and drill", "9. Private"):
        assert part in done.stdout
    folder = re.search(r"data is in (\S+)/data", done.stdout)
    assert folder is not None
    assert not Path(folder[1]).exists()


@pytest.fixture
def kept() -> Iterator[dict[str, str]]:
    """A demonstration that was left running: what it says of itself."""
    done = run_demo("--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(re.findall(r"^(.+?):\s{2,}(.+?)\s*$", done.stdout, re.MULTILINE))
    pid = int(said["Stop it with"].removeprefix("kill "))
    try:
        yield said
    finally:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 15
        while _alive(pid):
            assert time.monotonic() < deadline, "the server did not stop"
            time.sleep(0.05)
        shutil.rmtree(Path(said["Its data"]).parent)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    # Where nobody reaps orphans, an ended process stays listed as a zombie.
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_it_leaves_the_server_running_on_request(kept: dict[str, str]) -> None:
    url = kept["Still running"].removesuffix("/docs")
    status = asking.get(f"{url}/v1/status").json()
    assert status["store"]["records"] >= 300
    assert Path(kept["Its data"], "analect.db").is_file()
    assert Path(kept["Its key ring"]).is_dir()


def test_the_data_set_is_what_the_readme_says() -> None:
    dataset = load(datetime(2025, 6, 1, tzinfo=UTC))
    assert dataset == load(datetime(2025, 6, 1, tzinfo=UTC))
    kinds = [record["kind"] for record in dataset.records]
    assert len(kinds) >= 300
    assert kinds.count("incident") >= 30
    assert kinds.count("task") >= 20
    languages = {record.get("dimensions", {}).get("language") for record in dataset.records}
    assert languages >= {"en", "de", "fr", "es", "pt", "it", "zh", "ja", "ar", "ru", "hi"}


@pytest.mark.parametrize(
    "hide",
    [
        lambda value: value.encode(),
        lambda value: value.encode("utf-16-le"),
        lambda value: value.encode().hex().encode(),
        lambda value: base64.b64encode(b"to: " + value.encode() + b"!"),
        lambda value: json.dumps(value).encode(),
    ],
)
def test_the_proof_would_find_it(tmp_path: Path, hide: Callable[[str], bytes]) -> None:
    value = "søren.holm@example.org"
    (tmp_path / "page").write_bytes(b"\0\1before" + hide(value) + b"after\2")
    assert proof.search({"mail": value}, [tmp_path], {}).found
    assert not proof.search({"mail": "someone.else@example.org"}, [tmp_path], {}).found
