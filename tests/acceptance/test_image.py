"""What can be proved of the image without building it: its install steps work in an empty
environment, and its processes run as nobody on a file system that is read-only but for the home."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.processes import wait_for

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
MOUNTS = """
mount --bind "$1" "$1"
mount -o remount,bind,ro /
exec unshare --map-user=10001 --map-group=10001 -- "${@:2}"
"""


def steps(first: str) -> list[str]:
    """The commands of the build that begin so."""
    return re.findall(rf"^RUN ({first} .*)$", CONTAINERFILE, re.MULTILINE)


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """What the build makes of a copy of the sources, in a folder that goes away."""
    uv = shutil.which("uv") or str(ROOT / ".tools" / "uv" / "bin" / "uv")
    folder = Path(tempfile.mkdtemp(prefix="analect-image-"))
    source, made = folder / "source", folder / "made"
    source.mkdir()
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    for name in " ".join(copied).split():
        path = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=ignored)
        else:
            shutil.copy2(path, source / name)
    env = {
        **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
        "UV_PROJECT_ENVIRONMENT": str(made),
    }
    try:
        for step in steps("uv"):
            words = [word.replace("/opt/analect", str(made)) for word in shlex.split(step)]
            subprocess.run([uv, *words[1:]], cwd=source, env=env, check=True, capture_output=True)
        yield made
    finally:
        shutil.rmtree(folder)


def test_the_commands_are_there_and_nothing_of_the_tests(image: Path) -> None:
    assert {"analect", "analect-operator"} <= {path.name for path in (image / "bin").iterdir()}
    assert not list((image / "lib").glob("python*/site-packages/pytest"))
    listed = json.loads((image / "sbom.cdx.json").read_text())["components"]
    assert {"kopf", "sqlalchemy", "opensearch-py"} <= {one["name"] for one in listed}


def test_it_serves_as_nobody_where_only_the_home_can_be_written(
    image: Path, tmp_path: Path
) -> None:
    allowed = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False
    )
    if allowed.returncode != 0:
        pytest.skip("needs mount namespaces of its own, which this machine forbids")
    env = {
        "PATH": f"{image / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        "ANALECT_HOME": str(tmp_path / "home"),
        "ANALECT_KEYS__RING": str(tmp_path / "ring"),
        "TMPDIR": str(tmp_path),
    }
    run = ["unshare", "--mount", "--map-root-user", "bash", "-ec", MOUNTS, "bash", str(tmp_path)]
    process = subprocess.Popen(
        [*run, "analect", "serve", "--port", "0", "--json"],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with httpx.Client(base_url=url, timeout=30) as client:
            wait_for(lambda: client.get("/readyz").status_code == httpx.codes.OK)
            answer = client.post("/v1/records?wait=indexed", json={"input": "in a container"})
            assert answer.json()["accepted"] == 1
            assert client.get("/v1/search", params={"q": "container"}).json()["items"]
        inside = Path(f"/proc/{process.pid}/uid_map").read_text().split()
        assert inside[0] == "10001"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stdout.close()
