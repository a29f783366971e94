"""Where backups go: named objects that appear whole, once, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from analect.model.errors import Conflict, Corrupt, StoreUnavailable

_UNFINISHED = ".unfinished"


class Place(Protocol):
    """Objects by name (``/`` between the parts); an object is never changed."""

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write an object in the block; it appears under its name when the block ends well.

        Raises:
            Conflict: the name is taken.
            StoreUnavailable: the place cannot be written (``disk_full`` says whether it is full).
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """Read an object.

        Raises:
            Corrupt: it is not there.
        """
        ...

    def names(self, name: str) -> list[str]:
        """The last parts of the names one level below ``name``, in order."""
        ...


class FolderPlace:
    """A folder, a file an object, written aside, synced to disk and linked to its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Write an object; it appears when the block ends well."""
        path = self._folder / name
        aside = path.with_name(path.name + _UNFINISHED)
        with _translating(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with aside.open("wb") as stream:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                os.link(aside, path)
            finally:
                aside.unlink(missing_ok=True)
            _sync_folder(path.parent)

    def open(self, name: str) -> BinaryIO:
        """Read an object."""
        path = self._folder / name
        try:
            return path.open("rb")
        except FileNotFoundError as error:
            raise Corrupt(f"the backup lacks its object {path}") from error
        except OSError as error:
            raise _away(path, error) from error

    def names(self, name: str) -> list[str]:
        """What is one level below ``name``."""
        path = self._folder / name
        try:
            found = [one.name for one in path.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _away(path, error) from error
        return sorted(one for one in found if not one.endswith(_UNFINISHED))


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise Conflict(f"{path} is there already") from error
    except OSError as error:
        raise _away(path, error) from error


def _away(path: Path, error: OSError) -> StoreUnavailable:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return StoreUnavailable(
        f"cannot use {path}: {error.strerror or type(error).__name__}", disk_full=full
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
