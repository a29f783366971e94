"""What pgBackRest takes for the same rows: Debian's, with the Postgres it belongs to.

It copies files of a server, so indexes are in its backups, and a restore is a copy back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
USER = "postgres"


@dataclass(frozen=True, slots=True)
class Stanza:
    """A server of Debian's that archives, and what backs it up."""

    folder: Path
    url: str

    def full(self) -> tuple[float, int]:
        """Seconds of a full backup, and the bytes of its repository."""
        return self._timed("backup", "--type=full"), _size(self.folder / "repo" / "backup")

    def restore(self) -> float:
        """Seconds to lay the files of the server out again."""
        other = self.folder / "again"
        other.mkdir(mode=0o700)
        shutil.chown(other, USER, USER)
        return self._timed("restore", f"--pg1-path={other}")

    def _timed(self, command: str, *words: str) -> float:
        began = time.perf_counter()
        _become("pgbackrest", f"--config={self.folder}/conf", "--stanza=main", *words, command)
        return time.perf_counter() - began


def missing() -> bool:
    """Whether the tool, its server, or the right to be its user is not there."""
    return shutil.which("pgbackrest") is None or not SERVERS or os.geteuid() != 0


@contextmanager
def stanza() -> Iterator[Stanza]:
    """A fresh server in a folder of its own; it is reached through a socket there."""
    with tempfile.TemporaryDirectory(prefix="analect-bench-") as name:
        folder = Path(name)
        shutil.chown(folder, USER, USER)
        data, conf = folder / "data", folder / "conf"
        conf.write_text(_configuration(folder, data))
        _become(f"{SERVERS[0]}/initdb", "-A", "trust", "-D", str(data))
        push = f"pgbackrest --config={conf} --stanza=main archive-push %p"
        options = (
            f"-c listen_addresses= -c unix_socket_directories={folder} -c wal_level=replica"
            f" -c archive_mode=on -c 'archive_command={push}'"
        )
        control = (f"{SERVERS[0]}/pg_ctl", "-D", str(data), "-w")
        _become(*control, "-l", f"{folder}/log.txt", "-o", options, "start")
        try:
            _become("pgbackrest", f"--config={conf}", "--stanza=main", "stanza-create")
            _become("createdb", "-h", str(folder), "bench")
            yield Stanza(folder, f"postgresql://{USER}@/bench?host={folder}")
        finally:
            _become(*control, "-m", "immediate", "stop")


def _configuration(folder: Path, data: Path) -> str:
    """One process, encryption and the quickest zstd, as of the other rows of the table."""
    return (
        f"[global]\nrepo1-path={folder}/repo\nrepo1-retention-full=1\nstart-fast=y\n"
        "repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=of-a-benchmark\n"
        "compress-type=zst\ncompress-level=1\nprocess-max=1\n"
        f"lock-path={folder}/lock\nlog-path={folder}/log\nspool-path={folder}/spool\n"
        "log-level-file=off\n"
        f"[main]\npg1-path={data}\npg1-socket-path={folder}\n"
    )


def _become(*words: str) -> None:
    subprocess.run(
        ["runuser", "-u", USER, "--", *words],
        check=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
