"""The graph is rebuilt beside itself in the same database, and then switched.

The node ``AnalectGraph`` names the generation that answers and, while one is being built, that
one: whoever writes meanwhile writes to both. The builder says every few seconds that it is alive,
by the server's clock, and how far it has come. When it falls silent, the next one goes on from
there, within a day; until then writes go on reaching what it left.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from neo4j import Transaction

from analect.index.neo4j.server import Again, Neo4jServer
from analect.index.progress import Progress
from analect.model.errors import AnalectError, EngineUnavailable, TransientError
from analect.model.ids import RecordId
from analect.telemetry.beating import beating

T = TypeVar("T")

log = structlog.get_logger(__name__)

SILENT_MILLIS = 15_000
"""A builder that has said nothing for so long is gone."""
_KEPT_MILLIS = 24 * 3_600_000
"""For so long somebody may go on with what it left."""
_BEAT_SECONDS = 3.0
_LOOK_SECONDS = 0.5
_DROPPED = 1000
"""Nodes deleted in one transaction."""
_LOOKED_AT = 20
"""Generations before the latest in which something may have been left."""

_STATE = (
    "MATCH (g:AnalectGraph {name: $name}) RETURN g.current AS current, g.newest AS newest, "
    f"CASE WHEN g.building_until + {_KEPT_MILLIS} > timestamp() THEN g.building END AS building"
)
_FIRST = "MERGE (g:AnalectGraph {name: $name}) ON CREATE SET g.current = 1, g.newest = 1"
_BEGIN = (
    # First of all the lock: two that begin at once take turns.
    "MATCH (g:AnalectGraph {name: $name}) SET g.newest = g.newest "
    "WITH g, g.building_until AS until, "
    f"CASE WHEN g.building_until + {_KEPT_MILLIS} > timestamp() THEN g.building END AS left "
    "WHERE until IS NULL OR until <= timestamp() "
    "SET g.newest = g.newest + CASE WHEN left IS NULL THEN 1 ELSE 0 END "
    "SET g.building = coalesce(left, g.newest), g.builder = $builder, "
    "g.reached = CASE WHEN left IS NULL THEN NULL ELSE g.reached END, "
    "g.building_until = timestamp() + $silent "
    "RETURN g.building AS number, g.reached AS reached"
)
_UNTIL = "MATCH (g:AnalectGraph {name: $name}) RETURN g.building_until AS number"
_MINE = "MATCH (g:AnalectGraph {name: $name}) WHERE g.builder = $builder "
_BEAT = _MINE + "SET g.building_until = timestamp() + $silent RETURN g.building AS number"
_REACHED = (
    _MINE + "SET g.building_until = timestamp() + $silent, g.reached = $reached "
    "RETURN g.building AS number"
)
_REST = "REMOVE g.building, g.building_until, g.builder, g.reached RETURN g.current AS number"
_SWITCH = _MINE + f"SET g.current = g.building {_REST}"
_GIVE_UP = _MINE + _REST
_LEAVE = _MINE + "SET g.building_until = timestamp() REMOVE g.builder RETURN g.building AS number"
_DROP = (
    "MATCH (n:{label}) WHERE n.graph = $graph AND n.{key} > '' WITH n LIMIT $limit "
    "DETACH DELETE n RETURN count(*) AS gone"
)
_KEYS = {"Record": "id", "Hub": "type", "Forgotten": "id"}
"""Labels, records before the hubs they hang on, and what follows ``graph`` in their index."""


@dataclass(frozen=True, slots=True)
class State:
    """The generation that answers, the one that is being built, the latest there has been."""

    current: int = 1
    newest: int = 1
    building: int | None = None

    @property
    def numbers(self) -> set[int]:
        """Those that are written to."""
        return {self.current} if self.building is None else {self.current, self.building}


class Neo4jGenerations:
    """Those of the graph called ``name``."""

    def __init__(
        self,
        server: Neo4jServer,
        name: str,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server = server
        self._name = name
        self._pause = pause

    def graph(self, number: int) -> str:
        """What the nodes of a generation carry."""
        return f"{self._name}.{number}"

    def ask(self, work: Callable[[Transaction, str], T]) -> T:
        """``work(transaction, graph)`` on the generation that answers, all of it on the same."""
        return self._server.read(self._on_one(work))

    def answer(self, work: Callable[[Transaction, str], T]) -> T:
        """:meth:`ask` for somebody who waits."""
        return self._server.answer(self._on_one(work))

    def _on_one(self, work: Callable[[Transaction, str], T]) -> Callable[[Transaction], T]:
        def attempt(transaction: Transaction) -> T:
            before = self._state(transaction).current
            try:
                return work(transaction, self.graph(before))
            finally:
                if self._state(transaction).current != before:
                    raise Again("the graph was replaced just now")

        return attempt

    def write(
        self,
        work: Callable[[Transaction, str, bool], object],
        afterwards: Callable[[Transaction, str], object] = lambda _transaction, _graph: None,
    ) -> None:
        """``work(transaction, graph, building)`` on each generation that is written to, then, when
        that is visible to all, ``afterwards(transaction, graph)``. Both must be idempotent.

        A build that begins in between is written to as well.
        """
        written: set[int] = set()

        def attempt(transaction: Transaction) -> set[int]:
            state = self._state(transaction, create=True)
            todo = state.numbers - written
            for number in sorted(todo):
                work(transaction, self.graph(number), number != state.current)
            for number in state.numbers if not todo else ():
                afterwards(transaction, self.graph(number))
            return state.numbers

        while not (found := self._server.write(attempt)) <= written:
            written |= found

    @contextmanager
    def rebuilding(self) -> Iterator[tuple[str, Progress]]:
        """A fresh generation, or the one that a dead builder left, and how far it is. Leaving
        without an error switches to it; an error drops it, unless a retry may help: then the next
        one goes on.

        Raises:
            EngineUnavailable: one is being built already, or this one was taken for dead.
        """
        builder = uuid.uuid4().hex
        number, reached = self._begin(builder)

        def note(record_id: RecordId | None) -> None:
            self._mine(_REACHED, builder, reached=record_id)

        try:
            with beating(lambda: self._told(_BEAT, builder), _BEAT_SECONDS, "graph-rebuild"):
                self.tidy()
                yield self.graph(number), Progress(note, reached)
            self._mine(_SWITCH, builder)
        except BaseException as error:
            self._give_up(builder, number, keep=isinstance(error, TransientError))
            raise
        self.tidy()

    def _begin(self, builder: str) -> tuple[int, RecordId | None]:
        """Begin, or go on when the one that builds stays silent."""

        def work(transaction: Transaction) -> tuple[int, RecordId | None] | None:
            transaction.run(_FIRST, name=self._name).consume()
            found = transaction.run(
                _BEGIN, name=self._name, builder=builder, silent=SILENT_MILLIS
            ).single()
            return None if found is None else (int(found["number"]), found["reached"])

        said = self._told(_UNTIL)
        while (begun := self._server.write(work)) is None:
            if self._told(_UNTIL) != said:
                raise EngineUnavailable("the graph is being rebuilt already", retry_after=5.0)
            self._pause(_LOOK_SECONDS)
        if begun[1] is not None:
            log.info("rebuild goes on", index="graph", reached=begun[1])
        return begun

    def tidy(self) -> None:
        """Remove what dead builders and late writers left in other generations."""
        state = self._server.read(self._state)
        for number in range(max(1, state.newest - _LOOKED_AT), state.newest + 1):
            if number not in state.numbers:
                self._drop(self.graph(number))

    def _drop(self, graph: str) -> None:
        for label, key in _KEYS.items():
            statement = _DROP.format(label=label, key=key)

            def work(transaction: Transaction, statement: str = statement) -> int:
                found = transaction.run(statement, graph=graph, limit=_DROPPED).single(strict=True)
                return int(found["gone"])

            while self._server.write(work):
                pass

    def _state(self, transaction: Transaction, *, create: bool = False) -> State:
        """Who only reads finds nothing in the first generation before anyone has written."""
        row = transaction.run(_STATE, name=self._name).single()
        if row is not None:
            return State(row["current"], row["newest"], row["building"])
        if create:
            transaction.run(_FIRST, name=self._name).consume()
        return State()

    def _give_up(self, builder: str, number: int, *, keep: bool) -> None:
        try:
            mine = self._told(_LEAVE if keep else _GIVE_UP, builder) is not None
            if mine and not keep:
                self._drop(self.graph(number))
        except AnalectError as error:  # the next builder finds it
            log.warning("a failed build of the graph was left behind", code=error.code)

    def _mine(self, statement: str, builder: str, **more: Any) -> None:
        """Raises:
        EngineUnavailable: the build is another one's by now.
        """
        if self._told(statement, builder, **more) is None:
            raise EngineUnavailable(
                "the build of the graph was silent for so long that another one took it over: let "
                "that one end, or run `analect rebuild graph` again"
            )

    def _told(self, statement: str, builder: str = "", **more: Any) -> int | None:
        def work(transaction: Transaction) -> int | None:
            found = transaction.run(
                statement, name=self._name, builder=builder, silent=SILENT_MILLIS, **more
            ).single()
            return None if found is None or found["number"] is None else int(found["number"])

        return self._server.write(work)


class OneGeneration:
    """One by itself, where :class:`Neo4jGenerations` would choose: the one being filled."""

    def __init__(self, server: Neo4jServer, graph: str) -> None:
        self._server = server
        self._graph = graph

    def ask(self, work: Callable[[Transaction, str], T]) -> T:
        """On the one there is."""
        return self._server.read(lambda transaction: work(transaction, self._graph))

    def answer(self, work: Callable[[Transaction, str], T]) -> T:
        """On the one there is, for somebody who waits."""
        return self._server.answer(lambda transaction: work(transaction, self._graph))

    def write(
        self,
        work: Callable[[Transaction, str, bool], object],
        afterwards: Callable[[Transaction, str], object] = lambda _transaction, _graph: None,
    ) -> None:
        """On the one there is."""
        self._server.write(lambda transaction: work(transaction, self._graph, False))
        self._server.write(lambda transaction: afterwards(transaction, self._graph))

    def tidy(self) -> None:
        """There are no others."""

    def rebuilding(self) -> AbstractContextManager[tuple[str, Progress]]:
        """It cannot be."""
        raise TypeError("an index that is being built cannot be rebuilt")
