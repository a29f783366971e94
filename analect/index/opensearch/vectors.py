"""Finding by meaning in OpenSearch, with the k-NN plugin's Lucene engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from analect.index.opensearch.engine import OpenSearch
from analect.index.opensearch.family import Family
from analect.index.opensearch.kept import Kept
from analect.index.opensearch.mapping import VECTOR, facet_values, meta, vector_fields
from analect.index.opensearch.purging import PATIENCE_SECONDS
from analect.index.opensearch.querying import by_meaning
from analect.index.opensearch.writing import Item, item
from analect.index.protocols import IndexHit, ItemFailure, Vector, VectorDocument
from analect.model.errors import InvalidQuery
from analect.model.ids import Clock, RecordId
from analect.model.query import RecordFilter

KIND = "vectors"
_DIGITS = 7
"""As many as single precision has."""


class OpenSearchVectorIndex:
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
        self._kept = Kept(family, purge_seconds)

    def upsert(self, documents: Sequence[VectorDocument]) -> list[ItemFailure]:
        """Add or replace; refused is a vector of another length or with a number that is none."""
        good = [one for one in documents if self._is_vector(one.vector)]
        kept = {id(one) for one in good}
        failures = self._kept.writer.put([_item(one) for one in good])
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
        found = self._kept.search(by_meaning(vector, where, limit))
        # OpenSearch's score of a cosine is (1 + cosine) / 2.
        return [replace(hit, score=round(2.0 * hit.score - 1.0, 6)) for hit in found]

    @contextmanager
    def rebuilding(self) -> Iterator[OpenSearchVectorIndex]:
        """A fresh index to fill, or one that an interrupted rebuild left half filled.

        Raises:
            Conflict: another process is rebuilding it.
        """
        with self._kept.rebuilding() as kept:
            fresh = object.__new__(type(self))
            fresh._dimension = self._dimension
            fresh._kept = kept
            yield fresh

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Forget these records (absent ones are fine), also what is under way of them."""
        self._kept.writer.delete(ids)

    def purge(self) -> None:
        """Leave no byte of what deleted records held in any file; takes up to half a minute.

        Raises:
            EngineUnavailable: some is left still; purge again.
        """
        self._kept.purge()

    def count(self) -> int:
        """How many records it holds."""
        return self._kept.count()

    def entries(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of every record in id order, in bounded memory."""
        return self._kept.entries(after)

    def reached(self) -> RecordId | None:
        """Of a fresh index: everything up to this id is in already."""
        return self._kept.reached()

    def reach(self, record_id: RecordId) -> None:
        """Of a fresh index: everything up to this id is in."""
        self._kept.reach(record_id)

    def drop_month(self, month: str) -> None:
        """Forget every record of ``YYYY-MM`` at once."""
        self._kept.drop_month(month)

    def check(self) -> None:
        """Whether the server and the index are as they should be, and of this model."""
        self._kept.check()

    def close(self) -> None:
        """Close the server's connections."""
        self._kept.close()

    def _is_vector(self, vector: Vector) -> bool:
        return np.shape(vector) == (self._dimension,) and bool(np.isfinite(vector).all())


def _item(one: VectorDocument) -> Item:
    values = facet_values(one.facets)
    if one.vector.any():  # one of zeros is near nothing; its record is held all the same
        values[VECTOR] = np.round(one.vector.astype(np.float64), _DIGITS).tolist()
    return item(one.facets.id, one.facets.received_at, values)
