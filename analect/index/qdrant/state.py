"""Which collections there are: a generation each, one that answers, perhaps one being built.

The collection ``<prefix>-state`` holds one point that names them, and ``<prefix>-forgotten`` what
was deleted and when. Qdrant has no transactions: what is written is looked at again afterwards, so
that of a writer and a deleter, or a writer and a builder, the later one always sees the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from qdrant_client import QdrantClient, models

from analect.index.qdrant.server import QdrantServer
from analect.model.errors import ConfigurationError, EngineUnavailable
from analect.model.ids import Clock, Micros, RecordId

VECTOR = "meaning"
SILENT: Micros = 15 * 1_000_000
"""A builder that has said nothing for so long is gone."""
LEFT: Micros = 86_400 * 1_000_000
"""For so long somebody may go on with what it left, and writes go on reaching that."""
KEPT: Micros = 86_400 * 1_000_000
"""How long it is known that a record was deleted: longer than any writer is under way."""

_LOOK_SECONDS = 0.5
_POINT = str(uuid5(NAMESPACE_URL, "analect.dev/state"))
_KEYWORDS = ("labels",)
_NUMBERS = ("occurred_at",)


@dataclass(frozen=True, slots=True)
class State:
    """``model`` and ``dimension`` are those of the generation that answers. ``building`` is filled
    by ``builder``, who raises ``beat`` now and then and has put in everything up to ``reached``,
    with vectors of ``building_model``.
    """

    model: str
    dimension: int
    current: int = 1
    newest: int = 1
    building: int | None = None
    building_until: Micros = 0
    building_model: str = ""
    builder: str = ""
    beat: int = 0
    reached: RecordId | None = None

    def left(self, now: Micros) -> int | None:
        """The generation that is being built, or that somebody may go on building."""
        return self.building if self.building_until + LEFT >= now else None


class States:
    """Reads and changes what the point says."""

    def __init__(self, server: QdrantServer, clock: Clock, model: str, dimension: int) -> None:
        self._server = server
        self._clock = clock
        self._model = model
        self._dimension = dimension
        self._known: set[str] = set()
        self._building = Lock()

    def collection(self, number: int) -> str:
        """The name of a generation."""
        return f"{self._server.prefix}-vectors-{number}"

    def read(self, *, any_model: bool = False) -> State:
        """What the point says; made with the first generation when it is not there.

        Raises:
            ConfigurationError: the vectors are another model's.
        """
        with self._server.asking() as client:
            state = self._find(client)
            if state is None:
                state = State(self._model, self._dimension)
                self.make(client, state.current)
                self._save(client, state)
        ours = (self._model, self._dimension)
        if (state.model, state.dimension) != ours and not any_model:
            raise ConfigurationError(
                f"the vector index is of the model {state.model} with {state.dimension} numbers, "
                f"and embeddings.model is {self._model} with {self._dimension}: run "
                "`analect rebuild vectors`",
                field="embeddings.model",
            )
        return state

    def numbers(self) -> list[int]:
        """Generations to write to.

        Raises:
            EngineUnavailable: one is being built with another model, and must not lack anything.
        """
        state, now = self.read(), self._clock()
        left = state.left(now)
        if left is not None and state.building_model != self._named:
            if state.building_until >= now:
                raise EngineUnavailable(
                    "the vector index is being rebuilt with another model", retry_after=5.0
                )
            left = None  # nobody builds it any more
        return [state.current] if left is None else [state.current, left]

    def begin(self, builder: str, pause: Callable[[float], None]) -> State:
        """A fresh generation to fill, or the one that a dead builder left.

        Raises:
            EngineUnavailable: one is being built already.
        """
        seen = self.read(any_model=True)
        waited: Micros = 0
        while seen.building_until >= self._clock() and waited < SILENT:
            pause(_LOOK_SECONDS)
            waited += int(_LOOK_SECONDS * 1_000_000)
            if self.read(any_model=True) != seen:
                raise EngineUnavailable(
                    "the vector index is being rebuilt already", retry_after=5.0
                )
        left = seen.left(self._clock())
        mine = replace(seen, building_until=self._clock() + SILENT, builder=builder)
        if left is None or seen.building_model != self._named:
            fresh = seen.newest + 1
            mine = replace(mine, newest=fresh, building=fresh, reached=None)
            mine = replace(mine, building_model=self._named)
        with self._server.asking() as client:
            self.make(client, mine.building or 0)
            self._save(client, mine)
        self._drop_others()
        return mine

    def alive(self, builder: str, reached: RecordId | None = None) -> None:
        """``builder`` is, and perhaps has come further.

        Raises:
            EngineUnavailable: it was taken for dead, and another has begun.
        """
        with self._building:
            state = self._of(builder)
            state = replace(state, building_until=self._clock() + SILENT, beat=state.beat + 1)
            if reached is not None:
                state = replace(state, reached=reached)
            with self._server.asking() as client:
                self._save(client, state)

    def switch(self, builder: str) -> None:
        """What ``builder`` filled answers from now on."""
        state = self._of(builder)
        done = State(self._model, self._dimension, state.building or 0, state.newest)
        with self._server.asking() as client:
            self._save(client, done)
        self._drop_others()

    def give_up(self, builder: str, *, keep: bool) -> None:
        """Leave what ``builder`` filled to the next one, or drop it."""
        state = self._of(builder)
        left = replace(state, building_until=self._clock() - 1, builder="")
        if not keep:
            left = replace(left, building=None, building_until=0, reached=None)
        with self._server.asking() as client:
            self._save(client, left)
        self._drop_others()

    def _of(self, builder: str) -> State:
        state = self.read(any_model=True)
        if state.building is None or state.builder != builder:
            raise EngineUnavailable(
                "the build of the vector index was silent for so long that another one took it "
                "over: let that one end, or run `analect rebuild vectors` again"
            )
        return state

    @property
    def _named(self) -> str:
        return f"{self._model} {self._dimension}"

    def forget(self, ids: Sequence[RecordId], now: Micros) -> None:
        """Note that these records are deleted, and no more what was deleted long ago."""
        name = self._forgotten()
        points = [
            models.PointStruct(id=record_id, vector={}, payload={"at": now}) for record_id in ids
        ]
        long_ago = models.FieldCondition(key="at", range=models.Range(lt=now - KEPT))
        with self._server.asking() as client:
            client.upsert(name, points, wait=True)
            client.delete(
                name, models.FilterSelector(filter=models.Filter(must=[long_ago])), wait=True
            )

    def forgotten(self, ids: Sequence[RecordId]) -> dict[RecordId, Micros]:
        """Those of ``ids`` that were deleted, and when."""
        with self._server.asking() as client:
            found = client.retrieve(self._forgotten(), list(ids), with_payload=True)
        return {RecordId(str(point.id)): (point.payload or {}).get("at", 0) for point in found}

    def make(self, client: QdrantClient, number: int) -> None:
        """An empty collection for a generation."""
        name = self.collection(number)
        if client.collection_exists(name):
            return
        size = self._dimension
        vectors = models.VectorParams(size=size, distance=models.Distance.COSINE)
        client.create_collection(name, vectors_config={VECTOR: vectors})
        for field in _KEYWORDS:
            client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)
        for field in _NUMBERS:
            client.create_payload_index(name, field, models.PayloadSchemaType.INTEGER)

    def _find(self, client: QdrantClient) -> State | None:
        found = client.retrieve(self._bare(client, "state"), [_POINT], with_payload=True)
        payload: dict[str, Any] | None = found[0].payload if found else None
        return None if payload is None else State(**payload)

    def _save(self, client: QdrantClient, state: State) -> None:
        point = models.PointStruct(id=_POINT, vector={}, payload=asdict(state))
        client.upsert(self._bare(client, "state"), [point], wait=True)

    def _forgotten(self) -> str:
        with self._server.asking() as client:
            return self._bare(client, "forgotten")

    def _bare(self, client: QdrantClient, kind: str) -> str:
        """The name of a collection without vectors, made when it is not there."""
        name = f"{self._server.prefix}-{kind}"
        if name not in self._known:
            if not client.collection_exists(name):
                client.create_collection(name, vectors_config={})
            self._known.add(name)
        return name

    def _drop_others(self) -> None:
        state = self.read(any_model=True)
        kept = {self.collection(one) for one in (state.current, state.left(self._clock())) if one}
        prefix = f"{self._server.prefix}-vectors-"
        with self._server.asking() as client:
            for each in client.get_collections().collections:
                if each.name.startswith(prefix) and each.name not in kept:
                    client.delete_collection(each.name)
