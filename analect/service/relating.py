"""Questions along relations: around a record, between two, through a session or a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from analect.index.catalog import Indexes
from analect.index.protocols import GraphIndex
from analect.model.errors import InvalidQuery
from analect.model.ids import parse_id
from analect.model.query import MAX_LIMIT, Subgraph

MAX_DEPTH = 5
MAX_STEPS = 20


class Relations:
    """Asks the graph; sessions and processes are given in their stored form.

    Raises (from every method):
        InvalidQuery: a bound is out of range, or the graph is switched off.
        EngineUnavailable: the graph is away, or damaged and being made again.
    """

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    def related(self, record_id: str, depth: int, limit: int) -> Subgraph:
        """What a record is related to, at most ``depth`` hops away.

        Raises:
            NotFound: there is no such record in the graph.
        """
        _within("depth", depth, MAX_DEPTH)
        with self._asking(limit) as graph:
            return graph.related(parse_id(record_id), depth, limit)

    def path(self, source: str, target: str, steps: int) -> Subgraph:
        """One shortest way from a record to another; empty when there is none of so few steps."""
        _within("steps", steps, MAX_STEPS)
        with self._asking() as graph:
            return graph.shortest_path(parse_id(source), parse_id(target), steps)

    def session(self, session: str, limit: int) -> Subgraph:
        """A session, its newest records and what they are related to.

        Raises:
            NotFound: there is no such session in the graph.
        """
        with self._asking(limit) as graph:
            return graph.session_touched(session, limit)

    def process(self, process_id: str, limit: int) -> Subgraph:
        """A process and its records in order, each tied to its parent and to the next.

        Raises:
            NotFound: there is no such process in the graph.
        """
        with self._asking(limit) as graph:
            return graph.causal_chain(process_id, limit)

    def tags(self, limit: int) -> list[tuple[str, int]]:
        """The tags on the most records, and on how many."""
        with self._asking(limit) as graph:
            return graph.top_tags(limit)

    @contextmanager
    def _asking(self, limit: int = 1) -> Iterator[GraphIndex]:
        _within("limit", limit, MAX_LIMIT)
        graph = self._indexes.graph
        if graph is None:
            raise InvalidQuery("the graph is switched off (setting index.graph)", field="index")
        with self._indexes.health.watching("graph"):
            yield graph


def _within(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InvalidQuery(f"{name} must be between 1 and {most}", field=name)
