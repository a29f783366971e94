"""Which file of its folder the text index lives in, and how a rebuilt one takes its place.

``text.current`` names the file in use and is replaced in one step, so every process sees the old
file or the new one. A new file has a new name, because SQLite finds a file's log by its name.
While a rebuild runs, ``text.rebuild`` names the fresh file and is locked by the process that fills
it; a lock dies with its process. What a rebuild that was killed has left is gone on with by the next
one, where a file beside it says how far it was: for a day, and only while the machine has not been
started anew, for the fresh file is filled without waiting for the disk. Until then it is written to.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import structlog

from analect.index.progress import Progress
from analect.model.errors import Conflict, Corrupt, EngineUnavailable
from analect.model.ids import RecordId, is_record_id

log = structlog.get_logger(__name__)

_NAME = re.compile(r"text-(\d+)\.db")
_SUFFIXES = ("", "-wal", "-shm", "-journal", ".reached")
ABANDONED_SECONDS = 24 * 3600.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Folder:
    """Names and switches; knows nothing of what is in the files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pointer = path / "text.current"
        self._marker = path / "text.rebuild"

    def current(self) -> str | None:
        """Name of the file in use; ``None`` before the first.

        Raises:
            Corrupt: the pointer does not name a file of this index.
            EngineUnavailable: the folder cannot be read.
        """
        try:
            name = self._pointer.read_bytes().strip().decode("ascii", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EngineUnavailable("the text index's folder cannot be read") from error
        if not _NAME.fullmatch(name):
            raise Corrupt(
                "the text index's pointer is damaged: make the index again with "
                "`analect rebuild text`"
            )
        return name

    def fresh_name(self) -> str:
        """A name that no file has, nor the missing one that should be in use."""
        taken = [found.name for found in self.path.glob("text-*")]
        try:
            taken.append(self.current() or "")
        except Corrupt:
            log.warning("the pointer of the text index is replaced")
        numbers = [int(match[1]) for name in taken if (match := _NAME.match(name))]
        return f"text-{max(numbers, default=0) + 1}.db"

    def make(self) -> None:
        """See that it is there.

        Raises:
            EngineUnavailable: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineUnavailable("the text index's folder cannot be made") from error

    def switch(self, name: str) -> None:
        """Make ``name`` the file in use, durably.

        Raises:
            EngineUnavailable: the folder cannot be written.
        """
        try:
            draft = self.path / f"text.current.{os.getpid()}"
            with draft.open("w", encoding="ascii") as file:
                file.write(name)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._pointer)
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise EngineUnavailable("the text index's folder cannot be written") from error

    def drop(self, name: str) -> None:
        """Remove a file and what SQLite keeps beside it."""
        for suffix in _SUFFIXES:
            (self.path / f"{name}{suffix}").unlink(missing_ok=True)

    def drop_others(self, name: str) -> None:
        """Remove every index file but ``name``: left by rebuilds that were killed."""
        for found in self.path.glob("text-*.db"):
            if found.name != name:
                self.drop(found.name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to make the first file."""
        with (self.path / "text.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def rebuilding(self) -> Iterator[tuple[Callable[[str], None], str | None]]:
        """Hold the right to rebuild; gives the call that tells every writer which file is filled,
        and the name of the file that one which was killed has left.

        Raises:
            Conflict: another rebuild is under way.
            EngineUnavailable: the folder cannot be made.
        """
        self.make()
        with self._marker.open("a+", encoding="ascii") as file:
            if not _taken(file):
                raise Conflict("the text index is being rebuilt already: wait for it to end")
            file.seek(0)
            left = self._left(file.read())

            def announce(name: str) -> None:
                file.truncate(0)
                file.write(name)
                file.flush()

            try:
                yield announce, left
            finally:
                file.truncate(0)

    def announced(self) -> str | None:
        """The file that is being filled now, or that somebody may go on filling, if any."""
        try:
            with self._marker.open("r", encoding="ascii") as file:
                name = file.read()
                if not name:
                    return None
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return name
                return self._left(name)
        except FileNotFoundError:
            return None

    def give_up(self) -> bool:
        """Drop what a rebuild that was killed has left; false when one is under way."""
        try:
            with self._marker.open("r+", encoding="ascii") as file:
                if not _taken(file):
                    return False
                name = file.read()
                file.truncate(0)
        except FileNotFoundError:
            return True
        if _NAME.fullmatch(name) and not self._in_use(name):
            self.drop(name)
        return True

    def done(self, name: str) -> None:
        """A file that is in use is not being filled any more."""
        self._reached(name).unlink(missing_ok=True)

    def progress(self, name: str) -> Progress:
        """How far a fresh file is, noted beside it."""
        path = self._reached(name)

        def note(record_id: RecordId | None) -> None:
            draft = path.with_name("text.reached")
            try:
                draft.write_text(f"{_BOOT.read_text().strip()} {record_id}")
                draft.replace(path)
            except OSError as error:
                raise EngineUnavailable("the text index's folder cannot be written") from error

        _, place = self._noted(name)
        return Progress(note, place)

    def _left(self, name: str) -> str | None:
        """``name``, if it can be gone on with."""
        if not _NAME.fullmatch(name) or not (self.path / name).exists() or self._in_use(name):
            return None
        boot, _ = self._noted(name)
        try:
            same = boot == _BOOT.read_text().strip()
            written = self._reached(name).stat().st_mtime
        except FileNotFoundError:
            return None
        return name if same and time.time() - written < ABANDONED_SECONDS else None

    def _in_use(self, name: str) -> bool:
        try:
            return name == self.current()
        except Corrupt:
            return False

    def _noted(self, name: str) -> tuple[str, RecordId | None]:
        try:
            boot, _, place = self._reached(name).read_text("ascii", "replace").partition(" ")
        except FileNotFoundError:
            return "", None
        return boot, RecordId(place) if is_record_id(place) else None

    def _reached(self, name: str) -> Path:
        return self.path / f"{name}.reached"


def _taken(file: TextIO) -> bool:
    """Lock the marker. A writer that looks whether a dead rebuild left it may hold it for a moment."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False
