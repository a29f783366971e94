"""What the indexes have in common whose files :mod:`.generations` keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from analect.index.generations import Fixed, Generations, IndexFile
from analect.index.progress import Filled
from analect.model.ids import RecordId


class RecordsFile(IndexFile, Protocol):
    """The files of one generation of an index of records."""

    def delete(self, ids: Sequence[RecordId], *, building: bool) -> None:
        """Forget these records; ``building``: for good, whatever the build still brings."""
        ...

    def count(self) -> int:
        """How many records it holds."""
        ...

    def entries(self, after: RecordId | None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) in id order."""
        ...

    def copy_from(self, other: Self) -> None:
        """Take every record of ``other`` that is neither here already nor deleted meanwhile."""
        ...

    def finish(self) -> None:
        """The build is over."""
        ...

    def check(self) -> None:
        """Read everything."""
        ...


F = TypeVar("F", bound=RecordsFile)


class FiledIndex(Filled, Generic[F]):
    """An index in a folder. One process may write while others ask.

    Nothing is read before the first use: a damaged file, or one of another model, makes every
    method but ``rebuilding`` and ``close`` raise ``Corrupt`` or ``ConfigurationError``.
    """

    def __init__(self, folder: Path, name: str, open_file: Callable[[Path, bool], F]) -> None:
        self._files: Generations[F] | Fixed[F] = Generations(folder, name, open_file)
        self._filling = False

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Forget these records (absent ones are fine), and what only they were there for."""
        self._files.write(lambda file, building: file.delete(ids, building=building))

    def count(self) -> int:
        """How many records it holds."""
        with self._files.present() as file:
            return file.count()

    def entries(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of every record in id order."""
        with self._files.present() as file:
            yield from file.entries(after)

    def purge(self) -> None:
        """Copy what is left into fresh files and remove the old ones.

        Raises:
            EngineUnavailable: the index is being rebuilt.
        """
        if isinstance(self._files, Fixed):
            return  # nothing but what was put in is in fresh ones
        with self._files.present() as old, self._files.rebuilding() as (fresh, _):
            fresh.copy_from(old)
            fresh.finish()

    @contextmanager
    def rebuilding(self) -> Iterator[Self]:
        """A fresh index that replaces this one, in all processes, when the block ends well; what a
        rebuild that was killed had put in is in it already.

        Raises:
            EngineUnavailable: it is being rebuilt already.
        """
        if isinstance(self._files, Fixed):
            raise TypeError("an index that is being built cannot be rebuilt")
        with self._files.rebuilding(resume=True) as (file, progress):
            fresh = copy(self)
            vars(fresh).update(_files=Fixed(file), _filling=True, _progress=progress)
            yield fresh
            file.finish()

    def check(self) -> None:
        """Read everything.

        Raises:
            Corrupt: something is damaged.
            ConfigurationError: it is of another model.
        """
        with self._files.present() as file:
            file.check()

    def close(self) -> None:
        """Release files."""
        if isinstance(self._files, Generations):
            self._files.close()
