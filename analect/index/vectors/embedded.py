"""The embedded vector index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np

from analect.index.generations import Fixed, Generations
from analect.index.protocols import IndexHit, ItemFailure, Vector, VectorDocument
from analect.index.vectors.file import NAME, VectorFile
from analect.model.errors import InvalidQuery
from analect.model.ids import RecordId
from analect.model.query import RecordFilter

EXACT_LIMIT = 100_000
"""Up to so many rows a search compares every vector in full (see :mod:`.scan`)."""


class EmbeddedVectorIndex:
    """A :class:`~analect.index.protocols.VectorIndex` in a folder. One process may write while
    others search; each notices what the others wrote before its next search.

    Nothing is read before the first use: a damaged file, or one of another model, makes every
    method but ``rebuilding`` and ``close`` raise ``Corrupt`` or ``ConfigurationError``.
    """

    def __init__(
        self, folder: Path, *, model: str, dimension: int, exact_limit: int = EXACT_LIMIT
    ) -> None:
        def open_file(stem: Path, create: bool) -> VectorFile:
            return VectorFile(stem, model, dimension, exact_limit, create=create)

        self._dimension = dimension
        self._files: Generations[VectorFile] | Fixed[VectorFile] = Generations(
            folder, NAME, open_file
        )
        self._filling = False

    def upsert(self, documents: Sequence[VectorDocument]) -> list[ItemFailure]:
        """Add or replace; refused is a vector of another length or with a number that is none."""
        good = [document for document in documents if self._is_vector(document.vector)]
        if good:
            vectors = _of_length_one(np.array([document.vector for document in good], np.float32))
            self._files.write(lambda file, _: file.upsert(good, vectors, filling=self._filling))
        kept = {id(document) for document in good}
        return [
            ItemFailure(document.facets.id, "invalid_vector", transient=False)
            for document in documents
            if id(document) not in kept
        ]

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Forget these records (absent ones are fine)."""
        self._files.write(lambda file, building: file.delete(ids, building=building))

    def search(self, vector: Vector, where: RecordFilter, limit: int) -> list[IndexHit]:
        """Nearest by cosine, best first by (score descending, id descending).

        Raises:
            InvalidQuery: the vector is of another length than the index, or the filter is wrong.
        """
        if not self._is_vector(vector):
            raise InvalidQuery(
                f"a vector of {self._dimension} finite numbers is needed", field="vector"
            )
        asked = _of_length_one(np.asarray(vector, np.float32).reshape(1, -1))[0]
        with self._files.present() as file:
            if limit < 1 or not asked.any():
                return []
            return file.search(asked, where, limit)

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
            return  # nothing but what was put in is in a fresh one
        with self._files.present() as old, self._files.rebuilding() as fresh:
            fresh.copy_from(old)
            fresh.finish()

    @contextmanager
    def rebuilding(self) -> Iterator[Self]:
        """A fresh index that replaces this one, in all processes, when the block ends well.

        Raises:
            EngineUnavailable: it is being rebuilt already.
        """
        if isinstance(self._files, Fixed):
            raise TypeError("an index that is being built cannot be rebuilt")
        with self._files.rebuilding() as file:
            fresh = object.__new__(type(self))
            fresh._dimension = self._dimension
            fresh._files = Fixed(file)
            fresh._filling = True
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

    def _is_vector(self, vector: Vector) -> bool:
        return np.shape(vector) == (self._dimension,) and bool(np.isfinite(vector).all())


def _of_length_one(rows: Vector) -> Vector:
    """Rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Vector = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled
