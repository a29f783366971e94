"""Physical backups of Postgres: pgBackRest does them, from here.

It copies the server's files and archives its write-ahead log, so any moment comes back. The server
and the tool are set up by whoever runs Postgres; here it is told what to do. Erasures hold in such
backups as well, for the keys live apart, and a database that is put back learns of them from the
ring when it is opened.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from analect.model.errors import ConfigurationError, Conflict, StoreUnavailable
from analect.model.ids import Micros, to_datetime
from analect.store.engine import open_engine, read_transaction

log = structlog.get_logger(__name__)

_TYPES = {"manual": "full", "daily": "diff", "weekly": "full", "monthly": "full"}
PATIENCE = 3600.0
"""Seconds for a restored server to go through its log."""
_PAUSE = 0.2
_HBA = "local all all trust\n"
_CONFIG = """\
archive_mode = off
hot_standby = off
listen_addresses = ''
unix_socket_permissions = 0700
"""


@dataclass(frozen=True, slots=True)
class PhysicalBackup:
    """One backup of a stanza. ``id`` is pgBackRest's label; ``parent`` what it goes on from."""

    id: str
    kind: str
    parent: str | None
    taken_at: Micros
    finished_at: Micros
    bytes: int
    broken: bool


@dataclass(frozen=True, slots=True)
class PgBackRest:
    """One stanza. ``command`` is the program, ``config`` its file (none: its own default)."""

    stanza: str
    command: str = "pgbackrest"
    config: Path | None = None

    def backup(self, kind: str, *, incremental: bool = False) -> PhysicalBackup:
        """Make one: what changed since the last one, since the last full one (``daily``), or all.

        Raises:
            StoreUnavailable: pgBackRest did not do it; the message has its words.
        """
        type_ = "incr" if incremental else _TYPES[kind]
        self._run("backup", f"--type={type_}")
        return self.list()[-1]

    def list(self) -> list[PhysicalBackup]:
        """Every backup, oldest first.

        Raises:
            ConfigurationError: there is no such stanza.
        """
        found = msgspec.json.decode(self._run("info", "--output=json"))
        (stanza,) = found or [{}]
        if stanza.get("status", {}).get("code") == 1:
            raise ConfigurationError(
                f"pgBackRest has no stanza {self.stanza}: make it with stanza-create", field="dest"
            )
        return [_backup(one) for one in stanza.get("backup", ())]

    def check(self) -> None:
        """Whether archiving works now, and every file of every backup is as it was.

        Raises:
            StoreUnavailable: something is not so; the message has pgBackRest's words.
        """
        self._run("check")
        self._run("verify")

    def restore(self, folder: Path, *, to: Micros | None = None, label: str | None = None) -> None:
        """Lay out the files of a server in an empty folder; when it is started it goes on to the
        moment ``to``, or to the end of its log.

        Raises:
            Conflict: the folder holds something.
            StoreUnavailable: pgBackRest did not do it.
        """
        if folder.is_dir() and any(folder.iterdir()):
            raise Conflict(f"{folder} is not empty: restore into a folder of its own")
        options = [f"--pg1-path={folder}"]
        if label is not None:
            options.append(f"--set={label}")
        if to is not None:
            moment = to_datetime(to).strftime("%Y-%m-%d %H:%M:%S.%f+00")
            options += ["--type=time", f"--target={moment}", "--target-action=promote"]
        self._run("restore", *options)

    def _run(self, what: str, *options: str) -> bytes:
        program = shutil.which(self.command)
        if program is None:
            raise ConfigurationError(
                f"{self.command} is not installed: get the package pgbackrest, or name the program "
                "with backup.pgbackrest",
                field="backup.pgbackrest",
            )
        config = [] if self.config is None else [f"--config={self.config}"]
        words = [program, f"--stanza={self.stanza}", *config, *options, what]
        done = subprocess.run(words, capture_output=True, check=False)  # noqa: S603  (no shell)
        if done.returncode:
            said = _last_error(done.stdout + b"\n" + done.stderr)
            raise StoreUnavailable(f"pgBackRest cannot {what}: {said}")
        log.info("pgBackRest is done", what=what, stanza=self.stanza)
        return done.stdout


@contextmanager
def started(data: Path, pg_ctl: str, user: str, database: str) -> Iterator[str]:
    """A server on restored files, for whoever may enter their folder alone; its address.

    Raises:
        StoreUnavailable: it does not start.
    """
    beside = data.parent
    (beside / "hba.conf").write_text(_HBA)
    (beside / "server.conf").write_text(_CONFIG)
    (beside / "server.log").touch()
    for one in ("hba.conf", "server.conf", "server.log"):
        shutil.chown(beside / one, data.owner(), data.group())
    options = " ".join(
        f"-c {name}={value}"
        for name, value in (
            ("config_file", beside / "server.conf"),
            ("hba_file", beside / "hba.conf"),
            ("unix_socket_directories", beside),
        )
    )
    common = [pg_ctl, "-D", str(data), "-w", "-t", "300"]
    _control([*common, "-l", str(beside / "server.log"), "-o", options, "start"], beside)
    try:
        address = f"postgresql://{user}@/{database}?host={beside}"
        _wait_until_recovered(address)
        yield address
    finally:
        _control([*common, "-m", "fast", "stop"], beside)


def _wait_until_recovered(address: str) -> None:
    """The log is gone through before anybody is let in."""
    deadline = time.monotonic() + PATIENCE
    while True:
        engine = open_engine(address)
        try:
            with read_transaction(engine) as connection:
                connection.exec_driver_sql("SELECT 1")
            return
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        finally:
            engine.dispose()


def _control(words: Sequence[str], beside: Path) -> None:
    try:
        done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise ConfigurationError(
            "pg_ctl is not there: name it with backup.pg_ctl", field="backup.pg_ctl"
        ) from error
    if done.returncode:
        raise StoreUnavailable(f"the restored server did not {words[-1]}: see {beside}/server.log")


def _backup(one: dict[str, Any]) -> PhysicalBackup:
    return PhysicalBackup(
        id=one["label"],
        kind=one["type"],
        parent=one["prior"],
        taken_at=one["timestamp"]["start"] * 1_000_000,
        finished_at=one["timestamp"]["stop"] * 1_000_000,
        bytes=one["info"]["repository"]["delta"],
        broken=bool(one.get("error")),
    )


def _last_error(said: bytes) -> str:
    """The line that says what is wrong."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    wrong = [line for line in lines if "ERROR" in line] or lines or ["it said nothing"]
    return wrong[-1].split("ERROR: ")[-1][:500]
