"""The key ring: a few hundred small objects, each wrapped, kept apart from the data.

What is deleted from a ring is gone for good: that is how data is erased. So a ring must not be
snapshotted or versioned, and :class:`FolderKeyRing` overwrites what it deletes or replaces.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from analect.model.errors import KeyUnavailable, StoreUnavailable

_LOCK = ".lock"
_UNFINISHED = ".unfinished"
_TOGETHER = 64
"""Files open at once."""


class KeyRing(Protocol):
    """Named objects with an atomic put-if-absent. Safe for several processes."""

    @property
    def place(self) -> str:
        """Where the ring is, for people."""
        ...

    def put(self, name: str, data: bytes) -> bool:
        """Store durably unless the name is taken (then False)."""
        ...

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """As :meth:`put` of each, all together."""
        ...

    def replace(self, name: str, old: bytes, data: bytes) -> bool:
        """Store durably in place of ``old``, all or nothing, and destroy the old bytes; False, and
        nothing done, when something else or nothing is there.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """The object, or None.

        Raises:
            KeyUnavailable: the ring cannot be read.
        """
        ...

    def names(self) -> list[str]:
        """Every name, in order."""
        ...

    def delete(self, name: str) -> None:
        """Destroy the object and every trace the ring keeps of it; absent is fine."""
        ...


class FolderKeyRing:
    """A ring in a folder that only its owner may enter, a file an object.

    Writers of all processes queue for one file lock. A file appears under its name only when it
    is complete and on disk. Deleting overwrites first, which is what a file system can do; on
    media that remap blocks the key-encryption key is what protects the remains.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._folder)

    def put(self, name: str, data: bytes) -> bool:
        """Store unless the name is taken (then False)."""
        path = self._folder / name
        with _translating(self._folder), self._writing():
            if path.exists():
                return False
            self._write({path: data})
            return True

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Store those whose names are free."""
        with _translating(self._folder), self._writing():
            files = {self._folder / name: data for name, data in objects.items()}
            absent = [path for path in files if not path.exists()]
            for start in range(0, len(absent), _TOGETHER):
                self._write({path: files[path] for path in absent[start : start + _TOGETHER]})

    def replace(self, name: str, old: bytes, data: bytes) -> bool:
        """Store in place of ``old``; False when that is not what is there."""
        path = self._folder / name
        with _translating(self._folder), self._writing():
            try:
                present = path.open("r+b")
            except FileNotFoundError:
                return False
            with present:
                if present.read() != old:
                    return False
                self._write({path: data})
                _overwrite(present.fileno())
            return True

    def read(self, name: str) -> bytes | None:
        """The object, or None when it, or the whole ring, is not there."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeyUnavailable(
                f"{name} in the key ring {self._folder} cannot be read: {error.strerror}"
            ) from error

    def names(self) -> list[str]:
        """Every name, in order."""
        try:
            found = [entry.name for entry in os.scandir(self._folder) if entry.is_file()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise KeyUnavailable(
                f"the key ring {self._folder} cannot be read: {error.strerror}"
            ) from error
        return sorted(name for name in found if not name.startswith("."))

    def delete(self, name: str) -> None:
        """Overwrite, then unlink."""
        with _translating(self._folder), self._writing():
            self._destroy(self._folder / name)
            _sync_folder(self._folder)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone among all processes; what a crashed one left half-written is destroyed."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for entry in list(os.scandir(self._folder)):
                if entry.name.endswith(_UNFINISHED):
                    self._destroy(Path(entry.path))
            yield
        finally:
            os.close(lock)

    def _write(self, files: Mapping[Path, bytes]) -> None:
        """All of them are written before the first is waited for: one wait of the disk is then
        nearly enough for all.
        """
        with ExitStack() as stack:
            opened = []
            for path, data in files.items():
                handle = os.open(_unfinished(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                file = stack.enter_context(os.fdopen(handle, "wb"))
                file.write(data)
                file.flush()
                opened.append(file)
            for file in opened:
                os.fsync(file.fileno())
        for path in files:
            _unfinished(path).replace(path)
        _sync_folder(self._folder)

    @staticmethod
    def _destroy(path: Path) -> None:
        try:
            with path.open("r+b") as file:
                _overwrite(file.fileno())
        except FileNotFoundError:
            return
        path.unlink()


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}{_UNFINISHED}")


def _overwrite(handle: int) -> None:
    os.pwrite(handle, bytes(os.fstat(handle).st_size), 0)
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translating(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise StoreUnavailable(
            f"the key ring {folder} cannot be written: {error.strerror}", disk_full=full
        ) from error
