"""The vector index in a Qdrant server."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from qdrant_client import models

from analect.index.facets import labels, wanted_labels
from analect.index.progress import Filled, Progress
from analect.index.projection import kept_hash
from analect.index.protocols import IndexHit, ItemFailure, VectorDocument
from analect.index.qdrant.server import QdrantServer
from analect.index.qdrant.state import VECTOR, States
from analect.model.errors import AnalectError, InvalidQuery, TransientError
from analect.model.ids import Clock, Micros, RecordId, is_record_id
from analect.model.query import RecordFilter
from analect.model.record import NUMBER_FIELDS
from analect.telemetry.beating import beating

if TYPE_CHECKING:
    from analect.index.protocols import Vector

_BATCH = 256
_BEAT_SECONDS = 3.0
_PAGE = 1000
_TIES = 32
"""Of records as good as the last one asked for, how many more are put in order of id at first."""
_MOST = 10_000
_DIGITS = 6


class QdrantVectorIndex(Filled):
    """A :class:`~analect.index.protocols.VectorIndex` in a Qdrant server, for any number of
    processes.

    The nearest are found by walking a graph (HNSW): nearly always the very nearest.
    """

    def __init__(
        self,
        server: QdrantServer,
        clock: Clock,
        *,
        model: str,
        dimension: int,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server = server
        self._clock = clock
        self._dimension = dimension
        self._states = States(server, clock, model, dimension)
        self._pause = pause
        self._filling: int | None = None

    def upsert(self, documents: Sequence[VectorDocument]) -> list[ItemFailure]:
        """Add or replace; refused is a vector of another length or with a number that is none."""
        good = {one.facets.id: one for one in documents if self._is_vector(one.vector)}
        kept = list(good.values())
        for start in range(0, len(kept), _BATCH):
            self._put(kept[start : start + _BATCH])
        return [
            ItemFailure(one.facets.id, "invalid_vector", transient=False)
            for one in documents
            if not self._is_vector(one.vector)
        ]

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Forget these records (absent ones are fine), also what is under way of them."""
        for start in range(0, len(ids), _BATCH):
            part = list(ids[start : start + _BATCH])
            # First of all it is noted: who writes one of them now finds it when it is done.
            self._states.forget(part, self._clock())
            for number in self._numbers():
                self._drop(number, part)

    def search(self, vector: Vector, where: RecordFilter, limit: int) -> list[IndexHit]:
        """Nearest by cosine, best first by (score descending, id descending).

        Raises:
            InvalidQuery: the vector is of another length than the index, or the filter is wrong.
        """
        if not self._is_vector(vector):
            raise InvalidQuery(
                f"a vector of {self._dimension} finite numbers is needed", field="vector"
            )
        asked = _filter(where)
        name = self._present()
        if limit < 1 or not vector.any():
            return []
        wanted = limit + _TIES
        while True:
            hits = self._nearest(name, vector, asked, wanted)
            # Until one is worse than the last that is wanted, others may be as good as that.
            if len(hits) < wanted or hits[-1].score < hits[limit - 1].score or wanted >= _MOST:
                hits.sort(key=lambda hit: (hit.score, hit.id), reverse=True)
                return hits[:limit]
            wanted = min(4 * wanted, _MOST)

    def count(self) -> int:
        """How many records it holds."""
        name = self._present()
        with self._server.asking() as client:
            return client.count(name, exact=True).count

    def entries(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of every record in id order, in bounded memory."""
        offset: Any = after
        while True:
            name = self._present()
            with self._server.asking() as client:
                points, following = client.scroll(
                    name, limit=_PAGE, offset=offset, with_payload=["content_hash"]
                )
            for point in points:
                record_id = RecordId(str(point.id))
                if record_id != after and is_record_id(record_id):  # by hand any id may be written
                    yield record_id, kept_hash((point.payload or {}).get("content_hash"))
            if following is None:
                return
            offset = following

    def purge(self) -> None:
        """What was deleted is found no more; its bytes go when Qdrant next optimizes the segments
        that held it, which no client can hasten.
        """

    @contextmanager
    def rebuilding(self) -> Iterator[Self]:
        """A fresh index that replaces this one, for all processes, when the block ends well; what a
        rebuild that was killed had put in is in it already.

        Raises:
            EngineUnavailable: it is being rebuilt already, or another one took this one over.
        """
        if self._filling is not None:
            raise TypeError("an index that is being built cannot be rebuilt")
        builder = uuid.uuid4().hex
        state = self._states.begin(builder, self._pause)
        fresh = object.__new__(type(self))
        fresh._server = self._server
        fresh._clock = self._clock
        fresh._pause = self._pause
        fresh._dimension = self._dimension
        fresh._states = self._states
        fresh._filling = state.building
        fresh._progress = Progress(
            lambda reached: self._states.alive(builder, reached), state.reached
        )
        try:
            with beating(lambda: self._states.alive(builder), _BEAT_SECONDS, "vectors-rebuild"):
                yield fresh
            self._states.switch(builder)
        except BaseException as error:
            with suppress(AnalectError):  # it counts as abandoned after a while
                self._states.give_up(builder, keep=isinstance(error, TransientError))
            raise

    def check(self) -> None:
        """See that the server answers and that the index is of this model."""
        name = self._present()
        with self._server.asking() as client:
            client.get_collection(name)

    def close(self) -> None:
        """Close the connections."""
        if self._filling is None:
            self._server.close()

    def _put(self, documents: Sequence[VectorDocument]) -> None:
        ids = [one.facets.id for one in documents]
        written: set[int] = set()
        # A build that begins in between is written to as well.
        while todo := set(self._numbers()) - written:
            for number in sorted(todo):
                self._write(number, documents)
            written |= todo
        gone = self._states.forgotten(ids)
        late = [
            one.facets.id
            for one in documents
            if gone.get(one.facets.id, -1) >= one.facets.received_at
        ]
        if late:
            for number in written:
                self._drop(number, late)

    def _write(self, number: int, documents: Sequence[VectorDocument]) -> None:
        name = self._states.collection(number)
        with self._server.asking() as client:
            found = client.retrieve(
                name, [one.facets.id for one in documents], with_payload=["received_at"]
            )
            there = {str(point.id): _received_at(point.payload) for point in found}
            points = [
                _point(one)
                for one in documents
                if there.get(one.facets.id, 0) <= one.facets.received_at
            ]
            if points:
                client.upsert(name, points, wait=True)

    def _drop(self, number: int, ids: Sequence[RecordId]) -> None:
        with self._server.asking() as client:
            points = models.PointIdsList(points=list(ids))
            client.delete(self._states.collection(number), points, wait=True)

    def _nearest(
        self, name: str, vector: Vector, asked: models.Filter | None, wanted: int
    ) -> list[IndexHit]:
        with self._server.asking() as client:
            found = client.query_points(
                name,
                query=vector.astype(np.float64).tolist(),
                using=VECTOR,
                query_filter=asked,
                limit=wanted,
                with_payload=False,
            )
        hits = [IndexHit(RecordId(str(one.id)), round(one.score, _DIGITS)) for one in found.points]
        return [hit for hit in hits if is_record_id(hit.id)]

    def _numbers(self) -> list[int]:
        if self._filling is not None:
            return [self._filling]
        return self._states.numbers()

    def _present(self) -> str:
        number = self._filling if self._filling is not None else self._states.read().current
        return self._states.collection(number)

    def _is_vector(self, vector: Vector) -> bool:
        return np.shape(vector) == (self._dimension,) and bool(np.isfinite(vector).all())


def _received_at(payload: dict[str, Any] | None) -> Micros:
    """Zero where somebody else wrote it: what is put there comes later."""
    said = (payload or {}).get("received_at")
    return said if isinstance(said, int) else 0


def _point(one: VectorDocument) -> models.PointStruct:
    facets = one.facets
    payload = {
        "labels": labels(facets).split(),
        "numbers": facets.numbers,
        "occurred_at": facets.occurred_at,
        "received_at": facets.received_at,
        "content_hash": facets.content_hash.hex(),
    }
    # One of zeros is near nothing; its record is held all the same.
    vector: Any = {VECTOR: one.vector.astype(np.float64).tolist()} if one.vector.any() else {}
    return models.PointStruct(id=facets.id, vector=vector, payload=payload)


def _filter(where: RecordFilter) -> models.Filter | None:
    """Everything that is compared for equality is a label, as in the built-in indexes.

    Raises:
        InvalidQuery: a number's name is not one of ``NUMBER_FIELDS``.
    """
    parts: list[Any] = [
        models.FieldCondition(key="labels", match=models.MatchValue(value=label))
        for label in wanted_labels(where)
    ]
    for name, bounds in where.numbers.items():
        if name not in NUMBER_FIELDS:
            raise InvalidQuery(f"{name} is not a number that can be filtered by", field=name)
        between = models.Range(gte=bounds.minimum, lte=bounds.maximum)
        if bounds.minimum is None and bounds.maximum is None:
            between = models.Range(gte=-1e308)
        parts.append(models.FieldCondition(key=f"numbers.{name}", range=between))
    if where.since is not None or where.until is not None:
        times = models.Range(gte=where.since, lt=where.until)
        parts.append(models.FieldCondition(key="occurred_at", range=times))
    return models.Filter(must=parts) if parts else None
