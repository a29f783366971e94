"""The graph is rebuilt beside itself in the same database, and then switched.

The node ``AnalectGraph`` names the generation that answers and, while one is being built, that
one: whoever writes meanwhile writes to both. The builder says every few seconds that it is alive,
by the server's clock; when it falls silent, what it left is removed by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import TypeVar

import structlog
from neo4j import Transaction

from analect.index.neo4j.server import Again, Neo4jServer
from analect.model.errors import AnalectError, EngineUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

_SILENT_MILLIS = 30_000
_BEAT_SECONDS = 5.0
_DROPPED = 1000
"""Nodes deleted in one transaction."""
_LOOKED_AT = 20
"""Generations before the latest in which something may have been left."""

_STATE = (
    "MATCH (g:AnalectGraph {name: $name}) RETURN g.current AS current, g.newest AS newest, "
    "CASE WHEN g.building_until > timestamp() THEN g.building END AS building"
)
_FIRST = "MERGE (g:AnalectGraph {name: $name}) ON CREATE SET g.current = 1, g.newest = 1"
_BEGIN = (
    "MATCH (g:AnalectGraph {name: $name}) SET g.newest = g.newest + 1 "
    "WITH g WHERE g.building IS NULL OR g.building_until <= timestamp() "
    "SET g.building = g.newest, g.building_until = timestamp() + $silent "
    "RETURN g.building AS number"
)
_BEAT = (
    "MATCH (g:AnalectGraph {name: $name}) WHERE g.building = $number "
    "SET g.building_until = timestamp() + $silent RETURN g.building AS number"
)
_SWITCH = (
    "MATCH (g:AnalectGraph {name: $name}) SET g.newest = g.newest "
    "WITH g WHERE g.building = $number "
    "SET g.current = $number REMOVE g.building, g.building_until RETURN g.current AS number"
)
_GIVE_UP = (
    "MATCH (g:AnalectGraph {name: $name}) WHERE g.building = $number "
    "REMOVE g.building, g.building_until RETURN $number AS number"
)
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

    def __init__(self, server: Neo4jServer, name: str) -> None:
        self._server = server
        self._name = name

    def graph(self, number: int) -> str:
        """What the nodes of a generation carry."""
        return f"{self._name}.{number}"

    def ask(self, work: Callable[[Transaction, str], T]) -> T:
        """``work(transaction, graph)`` on the generation that answers, all of it on the same."""

        def attempt(transaction: Transaction) -> T:
            before = self._state(transaction).current
            try:
                return work(transaction, self.graph(before))
            finally:
                if self._state(transaction).current != before:
                    raise Again("the graph was replaced just now")

        return self._server.read(attempt)

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
    def rebuilding(self) -> Iterator[str]:
        """A fresh generation; leaving without an error switches to it, with one drops it.

        Raises:
            EngineUnavailable: one is being built already, or this one was taken for dead.
        """
        number = self._told(_BEGIN)
        if number is None:
            raise EngineUnavailable("the graph is being rebuilt already", retry_after=5.0)
        stop = Event()
        beating = Thread(target=self._beat, args=(number, stop), name="graph-build", daemon=True)
        beating.start()
        try:
            self.tidy()
            yield self.graph(number)
            self._switch(number)
        except BaseException:
            self._give_up(number)
            raise
        finally:
            stop.set()
            beating.join()
        self.tidy()

    def tidy(self) -> None:
        """Remove what dead builders and late writers left in other generations."""
        state = self._server.read(self._state)
        for number in range(max(1, state.newest - _LOOKED_AT), state.newest + 1):
            if number not in state.numbers:
                self._drop(self.graph(number))

    def _switch(self, number: int) -> None:
        if self._told(_SWITCH, number) is None:
            raise EngineUnavailable(
                "the build of the graph was silent for too long; run `analect rebuild graph` again"
            )

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

    def _beat(self, number: int, stop: Event) -> None:
        while not stop.wait(_BEAT_SECONDS):
            try:
                self._told(_BEAT, number)
            except AnalectError as error:
                log.warning("a build of the graph cannot say that it lives", code=error.code)

    def _give_up(self, number: int) -> None:
        try:
            self._told(_GIVE_UP, number)
            self._drop(self.graph(number))
        except AnalectError as error:  # the next builder tidies up
            log.warning("a failed build of the graph was left behind", code=error.code)

    def _told(self, statement: str, number: int = 0) -> int | None:
        def work(transaction: Transaction) -> int | None:
            transaction.run(_FIRST, name=self._name).consume()
            found = transaction.run(
                statement, name=self._name, number=number, silent=_SILENT_MILLIS
            ).single()
            return None if found is None else int(found["number"])

        return self._server.write(work)


class OneGeneration:
    """One by itself, where :class:`Neo4jGenerations` would choose: the one being filled."""

    def __init__(self, server: Neo4jServer, graph: str) -> None:
        self._server = server
        self._graph = graph

    def ask(self, work: Callable[[Transaction, str], T]) -> T:
        """On the one there is."""
        return self._server.read(lambda transaction: work(transaction, self._graph))

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

    def rebuilding(self) -> AbstractContextManager[str]:
        """It cannot be."""
        raise TypeError("an index that is being built cannot be rebuilt")
