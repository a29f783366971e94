"""A place that is a folder (a mounted share will do): a file an object."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from analect.model.errors import Conflict, NotFound, StoreUnavailable

_UNFINISHED = ".unfinished"


class FolderPlace:
    """See :class:`analect.lifecycle.places.place.Place`. A file is written aside, synced to disk
    and linked to its name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def address(self) -> str:
        """The folder, absolute."""
        return str(self._folder.resolve())

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Write an object; it appears when the block ends well."""
        path = self._folder / name
        with _translating(path):
            if path.exists():
                raise FileExistsError(path)
            with self._aside(path) as aside:
                with aside.open("wb") as stream:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                os.link(aside, path)
            _sync_folder(path.parent)

    def open(self, name: str) -> BinaryIO:
        """Read an object."""
        path = self._folder / name
        with _translating(path):
            return path.open("rb")

    def read(self, name: str, start: int, length: int) -> bytes:
        """A range of an object."""
        path = self._folder / name
        with _translating(path), path.open("rb") as stream:
            return os.pread(stream.fileno(), length, start)

    def size(self, name: str) -> int | None:
        """Its bytes, or None."""
        path = self._folder / name
        try:
            with _translating(path):
                return path.stat().st_size
        except NotFound:
            return None

    def swap(self, name: str, old: bytes, data: bytes) -> bool:
        """Replace what is there, if it is ``old``; writers of this machine that swap the same
        object at the same moment are told apart by the file's own identity.
        """
        path = self._folder / name
        with _translating(path):
            try:
                seen = path.stat()
                if path.read_bytes() != old:
                    return False
            except FileNotFoundError:
                return False
            with self._aside(path) as aside:
                with aside.open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                if not os.path.samestat(seen, path.stat()):
                    return False
                aside.replace(path)
            _sync_folder(path.parent)
            return True

    def names(self, name: str = "") -> list[str]:
        """What is one level below ``name``."""
        path = self._folder / name
        try:
            with _translating(path):
                found = [one.name for one in path.iterdir()]
        except NotFound:
            return []
        return sorted(one for one in found if not one.endswith(_UNFINISHED))

    def delete(self, name: str) -> None:
        """Remove a file, and the folders that are empty without it."""
        path = self._folder / name
        with _translating(path):
            path.unlink(missing_ok=True)
            with suppress(OSError):  # another object is still there, or another process was first
                for parent in path.relative_to(self._folder).parents:
                    if parent.parts:
                        (self._folder / parent).rmdir()

    def tidy(self, older_than: float) -> int:
        """Remove what writers that broke off have left, last changed before ``older_than`` (seconds
        since the epoch); how many files.
        """
        gone = 0
        with _translating(self._folder):
            for path in self._folder.rglob(f"*{_UNFINISHED}"):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < older_than:
                        path.unlink()
                        gone += 1
        return gone

    @contextmanager
    def _aside(self, path: Path) -> Iterator[Path]:
        """A name of nobody else's beside ``path``, gone at the end."""
        self._make(path.parent)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_UNFINISHED}")
        try:
            yield aside
        finally:
            aside.unlink(missing_ok=True)

    @staticmethod
    def _make(folder: Path) -> None:
        """Make a folder that lasts."""
        if not folder.is_dir():
            FolderPlace._make(folder.parent)
            try:
                folder.mkdir(exist_ok=True, mode=0o700)
            except FileExistsError as error:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
            _sync_folder(folder.parent)


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise Conflict(f"{path} is there already") from error
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise StoreUnavailable(
            f"cannot use {path}: {error.strerror or type(error).__name__}", disk_full=full
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
