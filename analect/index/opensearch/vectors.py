"""Finding by meaning in OpenSearch, with the k-NN plugin's Lucene engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analect.index.opensearch.engine import OpenSearch
from analect.index.opensearch.family import Family
from analect.index.opensearch.kept import Kept
from analect.index.opensearch.mapping import VECTOR, facet_values, meta, vector_fields
from analect.index.opensearch.purging import PATIENCE_SECONDS
from analect.index.opensearch.querying import by_meaning
from analect.index.opensearch.writing import Item, item
from analect.index.protocols import IndexHit, ItemFailure, VectorDocument
from analect.model.errors import InvalidQuery
from analect.model.ids import Clock
from analect.model.query import RecordFilter

if TYPE_CHECKING:
    from analect.index.protocols import Vector

KIND = "vectors"
_DIGITS = 7
"""As many as single precision has."""


class OpenSearchVectorIndex(Kept):
    """Implements :class:`~analect.index.protocols.VectorIndex`, for any number of processes.

    The nearest are found by walking a graph (HNSW): nearly always the very nearest.
    """

    def __init__(
        self,
        engine: OpenSearch,
        clock: Clock,
        *,
        model: str,
        dimension: int,
        purge_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._dimension = dimension
        described = meta(model=model, dimension=dimension)
        family = Family(engine, KIND, vector_fields(dimension), described, clock)
        super().__init__(family, purge_seconds)

    def upsert(self, documents: Sequence[VectorDocument]) -> list[ItemFailure]:
        """Add or replace; refused is a vector of another length or with a number that is none."""
        good = [one for one in documents if self._is_vector(one.vector)]
        kept = {id(one) for one in good}
        failures = self._writer.put([_item(one) for one in good])
        return [
            ItemFailure(one.facets.id, "invalid_vector", transient=False)
            for one in documents
            if id(one) not in kept
        ] + failures

    def search(self, vector: Vector, where: RecordFilter, limit: int) -> list[IndexHit]:
        """Nearest by cosine, best first by (score descending, id descending).

        Raises:
            InvalidQuery: the vector is of another length than the index, or the filter is wrong.
        """
        if not self._is_vector(vector):
            raise InvalidQuery(
                f"a vector of {self._dimension} finite numbers is needed", field="vector"
            )
        if limit < 1 or not vector.any():
            return []
        found = self._found(by_meaning(vector, where, limit))
        # OpenSearch's score of a cosine is (1 + cosine) / 2.
        return [replace(hit, score=round(2.0 * hit.score - 1.0, 6)) for hit in found]

    def _is_vector(self, vector: Vector) -> bool:
        return np.shape(vector) == (self._dimension,) and bool(np.isfinite(vector).all())


def _item(one: VectorDocument) -> Item:
    values = facet_values(one.facets)
    if one.vector.any():  # one of zeros is near nothing; its record is held all the same
        values[VECTOR] = np.round(one.vector.astype(np.float64), _DIGITS).tolist()
    return item(one.facets.id, one.facets.received_at, values)
