"""The embedded vector index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analect.index.filed import FiledIndex
from analect.index.protocols import IndexHit, ItemFailure, VectorDocument
from analect.index.vectors.file import NAME, VectorFile
from analect.model.errors import InvalidQuery
from analect.model.query import RecordFilter

if TYPE_CHECKING:
    from analect.index.protocols import Vector

EXACT_LIMIT = 50_000
"""Up to so many rows a search compares every vector in full (see :mod:`.scan`)."""


class EmbeddedVectorIndex(FiledIndex[VectorFile]):
    """A :class:`~analect.index.protocols.VectorIndex` in a folder. Each process notices what the
    others wrote before its next search.
    """

    def __init__(
        self, folder: Path, *, model: str, dimension: int, exact_limit: int = EXACT_LIMIT
    ) -> None:
        def open_file(stem: Path, create: bool) -> VectorFile:
            return VectorFile(stem, model, dimension, exact_limit, create=create)

        self._dimension = dimension
        super().__init__(folder, NAME, open_file)

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

    def _is_vector(self, vector: Vector) -> bool:
        return np.shape(vector) == (self._dimension,) and bool(np.isfinite(vector).all())


def _of_length_one(rows: Vector) -> Vector:
    """Rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Vector = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled
