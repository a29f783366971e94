"""A real OpenSearch of one node, on loopback, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.engines.java import java_home
from tests.engines.launching import Launched, as_nobody_special
from tests.engines.maven import CannotBuild, build
from tests.engines.opensearch.older import complete
from tests.ports import free_port

HERE = Path(__file__).parent
VERSION = os.environ.get("ANALECT_TEST_OPENSEARCH", "3.5.0")
"""2.19.1 is known as well; it takes a JDK of 17 to 23."""

_SETTINGS = """\
cluster.name: test
node.name: one
path.data: {data}
path.logs: {folder}/logs
path.repo: ["{folder}/repo"]
network.host: {host}
http.port: {port}
transport.port: {transport}
discovery.type: single-node
bootstrap.memory_lock: false
cluster.routing.allocation.disk.threshold_enabled: false
cluster.max_shards_per_node: 5000
"""
_LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""
_JVM = (
    "-Xshare:auto", "-XX:+UseSerialGC", "-Xss1m", "-XX:MaxDirectMemorySize=256m",
    "-XX:-OmitStackTraceInFastThrow", "-Djava.awt.headless=true", "-Dfile.encoding=UTF-8",
    "-Djna.nosys=true", "-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true",
    "-Dio.netty.recycler.maxCapacityPerThread=0", "-Dio.netty.allocator.numDirectArenas=0",
    "-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disable.jmx=true",
    "-Dlog4j2.formatMsgNoLookups=true", "-Djava.locale.providers=SPI,CLDR",
    "-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1",
    "-Dopensearch.distribution.type=zip", "-Dopensearch.bundled_jdk=false",
)  # fmt: skip
_OLDER = VERSION.startswith("2.")
_GUARD = "-Djava.security.manager=allow"
_NATIVE = (
    "--add-opens=java.base/java.nio=org.apache.arrow.memory.core,ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "--add-modules=jdk.incubator.vector",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where it writes and listens."""

    folder: Path
    host: str
    port: int
    transport: int


def program() -> Path:
    """The home of the program.

    Raises:
        CannotBuild: something is missing on this machine.
    """
    java = _java()
    target = build(HERE / "pom.xml", HERE / "SHA256SUMS", server=VERSION)
    home = target / "opensearch" / f"opensearch-{VERSION}"
    if _OLDER:
        complete(home, java, VERSION)
    return home


def _java() -> Path:
    java = java_home(17, below=24) if _OLDER else java_home(21)
    if java is None:
        raise CannotBuild("a JDK of 17 to 23" if _OLDER else "a JDK of 21 or newer")
    return java


def configured(
    home: Path,
    place: Place,
    *,
    data: str | None = None,
    heap: str = "512m",
    quick_start: bool = True,
) -> list[str]:
    """Write its configuration; the command that starts it, in the folder ``home``."""
    folder = place.folder
    for name in ("data", "repo", "logs", "work", "conf"):
        (folder / name).mkdir(exist_ok=True)
    settings = _SETTINGS.format(
        folder=folder,
        data=data or f"{folder}/data",
        host=place.host,
        port=place.port,
        transport=place.transport,
    )
    (folder / "conf" / "opensearch.yml").write_text(settings)
    (folder / "conf" / "log4j2.properties").write_text(_LOGGING)
    return [
        f"{_java()}/bin/java",
        f"-Xms{heap}",
        f"-Xmx{heap}",
        *_JVM,
        *(("-XX:TieredStopAtLevel=1",) if quick_start else ()),
        *((_GUARD,) if _OLDER else (*_NATIVE, f"-javaagent:{home}/agent/opensearch-agent.jar")),
        f"-Djava.io.tmpdir={folder}/work",
        f"-Djna.tmpdir={folder}/work",
        f"-Dopensearch.path.home={home}",
        f"-Dopensearch.path.conf={folder}/conf",
        *("-cp", f"{home}/lib/*", "org.opensearch.bootstrap.OpenSearch"),
    ]


class OpenSearchServer:
    """Starts at once; :meth:`wait` returns when it answers. Data stay over a restart.

    Args:
        heap: of the JVM.
        quick_start: leave the JVM's second compiler out: half the time to start, half the speed.

    Raises:
        CannotBuild: something is missing on this machine.
    """

    def __init__(self, *, heap: str = "512m", quick_start: bool = True) -> None:
        self._home = program()
        folder = Path(tempfile.mkdtemp(prefix="analect-opensearch-"))
        place = Place(folder, "127.0.0.1", free_port(), free_port())
        self.url = f"http://127.0.0.1:{place.port}"
        self.folder = folder
        made = configured(self._home, place, heap=heap, quick_start=quick_start)
        self._command = [*as_nobody_special(), *made]
        self.start()

    def start(self) -> None:
        """After :meth:`kill` or :meth:`stop`, on the same port and folder."""
        # The agent's path is relative to where the server is started.
        self._launched = Launched(self._command, self.folder / "output", cwd=self._home)

    def wait(self) -> OpenSearchServer:
        """Until every index that is there can be searched."""
        self._launched.wait(self._answers)
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

    def _answers(self) -> bool:
        path = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=2s"
        try:
            with urllib.request.urlopen(path, timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False
