"""What the OpenSearch 2.19 of Maven lacks: the modules that a distribution comes with."""

from __future__ import annotations

import fcntl
import subprocess
import zipfile
from pathlib import Path

from tests.engines.maven import CannotBuild

HERE = Path(__file__).parent

_MODULES = {
    "analysis-common": "standin.StandIns$Analysis",
    "lang-painless": "standin.StandIns$Painless",
    "reindex": "org.opensearch.index.reindex.ReindexPlugin",
}
"""By name the class of each; the last one is the real one, and Maven has put it into its place."""
_DESCRIPTOR = """\
description={name}
version={version}
name={name}
classname={classname}
java.version=11
opensearch.version={version}
has.native.controller=false
"""


def complete(home: Path, java: Path, version: str) -> None:
    """Add what is not there yet.

    Raises:
        CannotBuild: it does not compile.
    """
    with (home / "completing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        descriptors = [
            home / "modules" / name / "plugin-descriptor.properties" for name in _MODULES
        ]
        if all(one.exists() for one in descriptors):
            return
        classes = _compiled(home, java)
        for (name, classname), descriptor in zip(_MODULES.items(), descriptors, strict=True):
            descriptor.parent.mkdir(exist_ok=True)
            if classname.startswith("standin."):
                _pack(classes, descriptor.parent / "stand-ins.jar")
            said = _DESCRIPTOR.format(name=name, version=version, classname=classname)
            descriptor.write_text(said)


def _compiled(home: Path, java: Path) -> Path:
    classes = home / "stand-ins"
    command = [f"{java}/bin/javac", "--release", "17", "-cp", f"{home}/lib/*", "-d", str(classes)]
    done = subprocess.run(
        [*command, str(HERE / "StandIns.java")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotBuild("a JDK that compiles what OpenSearch 2.19 lacks")
    return classes


def _pack(classes: Path, jar: Path) -> None:
    with zipfile.ZipFile(jar, "w") as packed:
        for one in sorted(classes.rglob("*.class")):
            packed.write(one, one.relative_to(classes).as_posix())
