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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import asking
from tests.acceptance.processes import wait_for
from tests.valkey import valkey_server

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
NOT_THE_BUILDS = {"VIRTUAL_ENV", "PYTHONPYCACHEPREFIX"}
"""Variables: it compiles into the image what runs in it."""
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
        **{name: value for name, value in os.environ.items() if name not in NOT_THE_BUILDS},
        "UV_PROJECT_ENVIRONMENT": str(made),
        "UV_COMPILE_BYTECODE": "1",  # as the build does
    }
    try:
        for step in steps("uv"):
            words = [word.replace("/opt/analect", str(made)) for word in shlex.split(step)]
            subprocess.run([uv, *words[1:]], cwd=source, env=env, check=True, capture_output=True)
        yield made
    finally:
        shutil.rmtree(folder)


def test_the_base_is_pinned_by_its_digest() -> None:
    """Both stages begin from the same one; the tag beside it says which it is."""
    assert re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]
    (base,) = re.findall(r"^ARG BASE=(.*)$", CONTAINERFILE, re.MULTILINE)
    assert re.fullmatch(r"[a-z./]+/python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)


def test_the_commands_are_there_and_nothing_of_the_tests(image: Path) -> None:
    assert {"analect", "analect-operator"} <= {path.name for path in (image / "bin").iterdir()}
    assert not list((image / "lib").glob("python*/site-packages/pytest"))
    listed = json.loads((image / "sbom.cdx.json").read_text())["components"]
    assert {"kopf", "sqlalchemy", "opensearch-py"} <= {one["name"] for one in listed}


@dataclass(frozen=True, slots=True)
class Nobody:
    """A user without rights, who may write below ``folder`` alone."""

    image: Path
    folder: Path

    def start(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """A program of the image."""
        env = {
            "PATH": f"{self.image / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "ANALECT_HOME": str(self.folder / "home"),
            "ANALECT_KEYS__RING": str(self.folder / "ring"),
            "ANALECT_INDEX__VECTORS": "false",
            "TMPDIR": str(self.folder),
            **variables,
        }
        words = ["unshare", "--mount", "--map-root-user", "bash", "-ec", MOUNTS, "bash"]
        return subprocess.Popen(
            [*words, str(self.folder), *command], env=env, stdout=subprocess.PIPE, text=True
        )

    @contextmanager
    def listening(self, *words: str, **variables: str) -> Iterator[httpx.Client]:
        """A process that answers HTTP and is ready; it ends well when it is told to."""
        command = ("analect", *words, "--port", "0", "--json")
        process = self.start(*command, ANALECT_HTTP__HOST="127.0.0.1", **variables)
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            with asking.client(url, timeout=30) as client:
                wait_for(lambda: client.get("/readyz").status_code == httpx.codes.OK)
                inside = Path(f"/proc/{process.pid}/uid_map").read_text().split()
                assert inside[0] == "10001"
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(20)
            process.stdout.close()
        assert ended == 0


@pytest.fixture
def nobody(image: Path, tmp_path: Path) -> Nobody:
    allowed = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False
    )
    if allowed.returncode != 0:
        pytest.skip("needs mount namespaces of its own, which this machine forbids")
    return Nobody(image, tmp_path)


def test_nothing_but_the_folder_can_be_written(nobody: Nobody) -> None:
    """Or the tests below would prove nothing."""
    tries = 'touch "$0/in"; touch "$0/../out" 2>/dev/null || touch /tmp/out 2>/dev/null || id -u'
    process = nobody.start("bash", "-c", tries, str(nobody.folder))
    said, _ = process.communicate(timeout=20)
    assert said == "10001\n"
    assert (nobody.folder / "in").exists()


def test_a_server_stores_and_finds(nobody: Nobody) -> None:
    with nobody.listening("serve") as client:
        answer = client.post("/v1/records?wait=indexed", json={"input": "in a container"})
        assert answer.json()["accepted"] == 1
        assert client.get("/v1/search", params={"q": "container"}).json()["items"]


JOBS = """
analect migrate --json
echo '{"input": "in a container"}' | analect import - --format jsonl --json
analect backup create "$0/backups" --kind weekly --i-have-the-recovery-key --json
analect drill "$0/backups" --json
analect backup prune "$0/backups" --keep-daily 7 --json
analect archive --json
analect retention run --json
analect restore "$0/backups" --dry-run --json
"""


def test_what_runs_by_the_clock(nobody: Nobody) -> None:
    process = nobody.start("bash", "-ec", JOBS, str(nobody.folder))
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert len(said.splitlines()) >= len(JOBS.split("\n")) - 2


def test_the_processes_of_a_cluster(nobody: Nobody, postgres_url: str) -> None:
    # Postgres' socket is in its folder, which belongs to a user that is nobody's neighbour.
    Path(postgres_url.partition("host=")[2]).chmod(0o711)
    with valkey_server() as valkey, ExitStack() as stack:
        servers = {
            "ANALECT_DATABASE_URL": postgres_url,
            "ANALECT_QUEUE__URL": f"redis://127.0.0.1:{valkey.port}/0",
        }
        roles = (("serve", "--role", "ingest"), ("dispatch",), ("work", "text"))
        ingest, *_others = [
            stack.enter_context(nobody.listening(*words, **servers)) for words in roles
        ]
        assert ingest.post("/v1/records", json={"input": "in a container"}).is_success

        def done() -> bool:
            return bool(ingest.get("/v1/status").json()["indexes"]["text"]["records"])

        wait_for(done)
