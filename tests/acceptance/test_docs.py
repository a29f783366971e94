"""What README and docs tell a reader to do is done, page by page, in an empty folder.

The blocks `python`, `console` and `sh` of a page run in order in one shell, whose store is what the
reader would have: `./analect-data`, and the key ring in the user's configuration. Where a page
talks to `127.0.0.1:8080`, a real server of that store listens there (on another port, put in its
place). A `python` block whose first line names a file is one that later ones can import. Lines
below a command are what it must print; `…` stands for anything. A block behind
`<!-- not run: why -->` is left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import asking
from tests.ports import free_port
from tests.valkey import valkey_server

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SERVER = "127.0.0.1:8080"
SECOND = "8090"
SEVERAL = ("8091", "8092", "8093", "8094", "8095", "8096")
QUEUE = "redis://localhost:6379/0"
DATABASE = "postgresql://analect@localhost/analect"
_BLOCK = re.compile(
    r"^(?P<skip><!-- not run: .+ -->\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HERE = re.compile(r"<<'(\w+)'$")
_FILE = re.compile(r"# (\w+\.py)\n")
_LINK = re.compile(r"\[[^\]]*\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the shell, and what it must print (None: anything)."""

    command: str
    prints: str | None = None


def steps_of(page: str) -> list[Step]:
    """Everything to be run, in order."""
    steps: list[Step] = []
    for number, block in enumerate(_BLOCK.finditer(page)):
        if block["skip"]:
            continue
        if block["language"] == "python":
            named = _FILE.match(block["body"])
            name = named[1] if named else f"snippet_{number}.py"
            steps.append(Step(f"cat > {name} <<'END_OF_SNIPPET'\n{block['body']}END_OF_SNIPPET"))
            steps.append(Step(f'"$PYTHON" -W error {name}'))
        elif block["language"] == "console":
            steps.extend(_commands(block["body"]))
        elif block["language"] == "sh":
            steps.append(Step(block["body"].rstrip()))
    return steps


def _commands(body: str) -> Iterator[Step]:
    command: list[str] = []
    prints: list[str] = []
    more, until = False, None
    for line in body.splitlines():
        if line.startswith("$ ") and not more:
            if command:
                yield Step("\n".join(command), "\n".join(prints) or None)
            command, prints = [line.removeprefix("$ ")], []
            opened = _HERE.search(line)
            until = opened[1] if opened else None
        elif more:
            command.append(line.removeprefix("> "))
            until = None if command[-1] == until else until
        else:
            prints.append(line)
            continue
        more = until is not None or command[-1].endswith("\\")
    if command:
        yield Step("\n".join(command), "\n".join(prints) or None)


def script_of(steps: list[Step], out: Path) -> str:
    """A shell script that stops at the first failure and keeps what each step printed."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, step in enumerate(steps):
        lines.append(f"echo {number} > {out / 'step'}")
        lines.append(f"{{\n{step.command}\n}} > {out / str(number)}")
    return "\n".join(lines) + "\n"


@contextmanager
def serving(folder: Path, environment: dict[str, str], port: int) -> Iterator[None]:
    """The store of ``folder``, served until the block ends."""
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            ["analect", "serve", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while not _ready(port):
            assert server.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.05)
        yield
        server.terminate()
        assert server.wait(15) == 0
    finally:
        server.kill()
        server.wait()


def _ready(port: int) -> bool:
    try:
        return asking.get(f"http://127.0.0.1:{port}/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def queue_url() -> Iterator[str]:
    """A real queue's server, empty."""
    with valkey_server() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


def environment_of(folder: Path, page: str, bytecode: Path) -> dict[str, str]:
    """A reader's: nothing set, the programs of this environment on the path."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ANALECT_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    meaning = any(word in page for word in ("semantic", "hybrid", "vectors"))
    return {
        **plain,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{plain['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPYCACHEPREFIX": str(bytecode),
        "XDG_CONFIG_HOME": str(folder / "config"),
        # Loading the embedding model takes a second in each process: only where it is needed.
        **({} if meaning else {"ANALECT_INDEX__VECTORS": "false"}),
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "path",
    [page for page in PAGES if steps_of(page.read_text("utf-8"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_what_the_page_says_works(
    path: Path, tmp_path: Path, bytecode: Path, request: pytest.FixtureRequest
) -> None:
    page = path.read_text("utf-8")
    port = free_port()
    page = page.replace(SERVER, f"127.0.0.1:{port}").replace(SECOND, str(free_port()))
    if DATABASE in page:
        url = request.getfixturevalue("postgres_url").replace("+psycopg", "")
        page = page.replace(DATABASE, url)
    for number in SEVERAL:
        page = page.replace(number, str(free_port()))
    if QUEUE in page:
        page = page.replace(QUEUE, request.getfixturevalue("queue_url"))
    folder, out = tmp_path / "reader", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    environment = environment_of(folder, page, bytecode)
    steps = steps_of(page)
    for program in ("bash", "curl"):
        used = program == "bash" or any(program in step.command for step in steps)
        if used and shutil.which(program) is None:
            pytest.skip(f"the page needs {program}")
    if any(f"127.0.0.1:{port}" in step.command or "analect tail" in step.command for step in steps):
        with serving(folder, environment, port):
            run(steps, folder, out, environment)
    else:
        run(steps, folder, out, environment)


def run(steps: list[Step], folder: Path, out: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-c", script_of(steps, out)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    reached = int((out / "step").read_text())
    assert done.returncode == 0, (
        f"{steps[reached].command}\nended with {done.returncode}:\n"
        f"{(out / str(reached)).read_text()}{done.stderr}"
    )
    for number, step in enumerate(steps):
        if step.prints is not None:
            printed = (out / str(number)).read_text().strip()
            assert like(step.prints).fullmatch(printed), f"{step.command}\nprinted:\n{printed}"


def like(prints: str) -> re.Pattern[str]:
    """A pattern of an output in which `…` stands for anything."""
    return re.compile(".*".join(re.escape(part) for part in prints.strip().split("…")), re.DOTALL)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in _LINK.findall(path.read_text("utf-8")):
        place = (path.parent / target).resolve() if target else path
        assert place.exists(), f"{path.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", place.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{path.name} links to {target}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    linked = {(DOCS / target).resolve() for target, _ in _LINK.findall(index) if target}
    assert {page for page in DOCS.rglob("*.md") if page.name != "README.md"} <= linked
