"""A real Neo4j Community server, on loopback, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.engines.java import java_home
from tests.engines.launching import Launched
from tests.engines.maven import CannotBuild, build
from tests.ports import free_port

HERE = Path(__file__).parent
VERSION = os.environ.get("ANALECT_TEST_NEO4J", "5.26.30")
"""2026.08.1 is known as well; it takes a JDK of 21 or newer."""
PASSWORD = "correct-horse"

_SETTINGS = """\
server.directories.neo4j_home={folder}
server.bolt.enabled=true
server.bolt.listen_address={host}:{port}
server.bolt.advertised_address={host}:{port}
server.bolt.tls_level={tls}
server.bolt.thread_pool_keep_alive=1s
server.http.enabled=false
server.https.enabled=false
server.memory.pagecache.size=64m
server.memory.heap.initial_size={heap}
server.memory.heap.max_size={heap}
dbms.security.auth_enabled=true
dbms.security.auth_lock_time=0s
dbms.usage_report.enabled=false
db.tx_log.rotation.retention_policy=1 files
db.tx_log.preallocate=false
internal.server.bolt.thread_pool_shutdown_wait_time=0s
internal.server.bolt.connection_shutdown_wait_time=0s
{more}
"""
_JVM = (
    "-Xshare:auto", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=256m",
    "-XX:-OmitStackTraceInFastThrow", "-Dlog4j2.disable.jmx=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
)  # fmt: skip


def program(version: str = VERSION) -> Path:
    """The folder with its program.

    Raises:
        CannotBuild: something is missing on this machine.
    """
    _java(version)
    return build(HERE / "pom.xml", HERE / "SHA256SUMS", server=version)


def configured(
    target: Path,
    folder: Path,
    host: str,
    port: int,
    version: str = VERSION,
    *,
    heap: str = "384m",
    quick_start: bool = True,
    tls: str = "DISABLED",
    settings: str = "",
) -> list[str]:
    """Write its configuration; the command that starts it."""
    for name in ("data", "logs", "work"):
        (folder / name).mkdir(exist_ok=True)
    configuration = folder / "neo4j.conf"
    configuration.write_text(
        _SETTINGS.format(folder=folder, host=host, port=port, heap=heap, tls=tls, more=settings)
    )
    return [
        f"{_java(version)}/bin/java",
        f"-Xms{heap}",
        f"-Xmx{heap}",
        *_JVM,
        *(("-XX:TieredStopAtLevel=1",) if quick_start else ()),
        f"-Djava.io.tmpdir={folder}/work",
        *("-cp", f"{target}/lib/*", str(HERE / "Neo4jMain.java")),
        *(str(folder), str(configuration)),
    ]


def _java(version: str) -> Path:
    least = 17 if version.startswith("5.") else 21
    # It is made for 17 and 21, and has been seen to run on 25.
    java = java_home(least, below=22) or java_home(least)
    if java is None:
        raise CannotBuild(f"a JDK of {least} or newer")
    return java


class Neo4jServer:
    """Starts at once; :meth:`wait` returns when it answers. Data stay over a restart.

    Args:
        version: 5.26, or 2026.x (which needs a JDK of 21 or newer).
        quick_start: leave the JVM's second compiler out: half the time to start, half the speed.
        settings: more lines of ``neo4j.conf``.

    Raises:
        CannotBuild: something is missing on this machine.
    """

    def __init__(
        self,
        version: str = VERSION,
        *,
        heap: str = "384m",
        quick_start: bool = True,
        tls: str = "DISABLED",
        settings: str = "",
    ):
        target = program(version)
        self.port = free_port()
        self.url = f"bolt://127.0.0.1:{self.port}"
        self.password = PASSWORD
        self.folder = Path(tempfile.mkdtemp(prefix="analect-neo4j-"))
        more = {"heap": heap, "quick_start": quick_start, "tls": tls, "settings": settings}
        where = (self.folder, "127.0.0.1", self.port, version)
        self._command = configured(target, *where, **more)
        self.start()

    def start(self) -> None:
        """After :meth:`kill` or :meth:`stop`, on the same port and folder."""
        (self.folder / "ready").unlink(missing_ok=True)
        self._launched = Launched(
            self._command, self.folder / "output", environment={"NEO4J_PASSWORD": PASSWORD}
        )

    def wait(self) -> Neo4jServer:
        """Until it takes connections and knows the password."""
        self._launched.wait((self.folder / "ready").exists)
        return self

    def kill(self) -> None:
        """SIGKILL."""
        self._launched.kill()

    def stop(self) -> None:
        """SIGTERM."""
        self._launched.stop()

    def freeze(self) -> None:
        """SIGSTOP."""
        self._launched.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self._launched.thaw()

    def close(self) -> None:
        """End it and remove its folder."""
        self._launched.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
