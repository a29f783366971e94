"""Which file of its folder the text index lives in, and how a rebuilt one takes its place.

``text.current`` names the file in use and is replaced in one step, so every process sees the old
file or the new one. A new file has a new name, because SQLite finds a file's log by its name.
While a rebuild runs, ``text.rebuild`` names the fresh file and is locked by the process that fills
it; a lock dies with its process, so a rebuild that was killed misleads nobody.
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

from analect.model.errors import Conflict, Corrupt, EngineUnavailable

log = structlog.get_logger(__name__)

_NAME = re.compile(r"text-(\d+)\.db")
_SUFFIXES = ("", "-wal", "-shm", "-journal")


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
    def rebuilding(self) -> Iterator[Callable[[str], None]]:
        """Hold the right to rebuild; gives the call that tells every writer which file is filled.

        Raises:
            Conflict: another rebuild is under way.
            EngineUnavailable: the folder cannot be made.
        """
        self.make()
        with self._marker.open("a+", encoding="ascii") as file:
            if not _taken(file):
                raise Conflict("the text index is being rebuilt already: wait for it to end")
            file.truncate(0)

            def announce(name: str) -> None:
                file.write(name)
                file.flush()

            try:
                yield announce
            finally:
                file.truncate(0)

    def announced(self) -> str | None:
        """The file that is being filled now, if any."""
        try:
            with self._marker.open("r", encoding="ascii") as file:
                name = file.read()
                if not name:
                    return None
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return name
                return None  # nobody holds it: that rebuild is dead
        except FileNotFoundError:
            return None


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
