"""The graph index in a Neo4j server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from neo4j import Transaction

from analect.index.breaker import Breaker
from analect.index.graph import walk
from analect.index.graph.path import shortest_path
from analect.index.neo4j import writing
from analect.index.neo4j.generations import Neo4jGenerations, OneGeneration
from analect.index.neo4j.reading import Neo4jReader
from analect.index.neo4j.server import Neo4jServer
from analect.index.progress import Filled
from analect.index.projection import kept_hash
from analect.index.protocols import GraphRecord, ItemFailure
from analect.model.ids import Clock, RecordId
from analect.model.query import Subgraph
from analect.settings import Graph

T = TypeVar("T")

_BATCH = 500
"""Records of one transaction."""
_PAGE = 5000
_COUNT = (
    "MATCH (r:Record) USING INDEX r:Record(graph, id) WHERE r.graph = $graph AND r.id > '' "
    "RETURN count(r) AS records"
)
_ENTRIES = (
    "MATCH (r:Record) USING INDEX r:Record(graph, id) WHERE r.graph = $graph AND r.id > $after "
    "RETURN r.id AS id, r.content_hash AS hash ORDER BY r.graph, r.id LIMIT $limit"
)


class Neo4jGraphIndex(Filled):
    """A :class:`~analect.index.protocols.GraphIndex` in a Neo4j server, 5.26 or newer. Any number
    of processes may write and ask at once.

    Nothing is asked of the server before the first use. Every method but ``close`` may raise
    ``EngineUnavailable``, or ``ConfigurationError`` when the server is too old.

    Raises:
        ConfigurationError: the settings are wrong.
    """

    def __init__(self, settings: Graph, breaker: Breaker, clock: Clock) -> None:
        self._server = Neo4jServer(settings, breaker)
        self._graphs: Neo4jGenerations | OneGeneration
        self._graphs = Neo4jGenerations(self._server, settings.name)
        self._clock = clock
        self._filling = False

    def upsert(self, records: Sequence[GraphRecord]) -> list[ItemFailure]:
        """Add or replace; none is ever refused."""
        rows = writing.rows_of(records)
        for start in range(0, len(rows), _BATCH):
            self._put(rows[start : start + _BATCH])
        return []

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Forget these records (absent ones are fine), and the nodes only they were related to."""
        for start in range(0, len(ids), _BATCH):
            self._forget(ids[start : start + _BATCH])

    def related(self, record_id: RecordId, depth: int, limit: int) -> Subgraph:
        """Breadth-first from a record, at most ``depth`` hops and ``limit`` nodes.

        Raises:
            NotFound: the record is not in the graph.
        """
        return self._ask(lambda reader: walk.related(reader, record_id, depth, limit))

    def shortest_path(self, source: RecordId, target: RecordId, max_depth: int) -> Subgraph:
        """One shortest path between two records; empty when there is none."""
        return self._ask(lambda reader: shortest_path(reader, source, target, max_depth))

    def session_touched(self, session: str, limit: int) -> Subgraph:
        """A session (in its stored form), its newest records and what they are related to.

        Raises:
            NotFound: there is no such session.
        """
        return self._ask(lambda reader: walk.session_touched(reader, session, limit))

    def causal_chain(self, process_id: str, limit: int) -> Subgraph:
        """A process and its records in order, each tied to its parent and to the next.

        Raises:
            NotFound: there is no such process.
        """
        return self._ask(lambda reader: walk.causal_chain(reader, process_id, limit))

    def top_tags(self, limit: int) -> list[tuple[str, int]]:
        """The tags on the most records, and on how many."""
        return self._ask(lambda reader: reader.top("tag", limit))

    def count(self) -> int:
        """How many records it holds."""

        def work(transaction: Transaction, graph: str) -> int:
            return int(transaction.run(_COUNT, graph=graph).single(strict=True)["records"])

        return self._graphs.ask(work)

    def entries(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of every record in id order."""
        last: str = after or ""

        def page(transaction: Transaction, graph: str) -> list[list[Any]]:
            found = transaction.run(_ENTRIES, graph=graph, after=last, limit=_PAGE)
            return found.values("id", "hash")

        while True:
            rows = self._graphs.ask(page)
            yield from ((RecordId(record_id), kept_hash(digest)) for record_id, digest in rows)
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def purge(self) -> None:
        """Remove what is left of other generations. What was deleted is out of reach of every
        question at once; its bytes stay in the server's files until it uses their place again and
        its transaction logs are pruned, which no client can hasten.
        """
        self._graphs.tidy()

    @contextmanager
    def rebuilding(self) -> Iterator[Self]:
        """A fresh graph that replaces this one, for all processes, when the block ends well; what a
        rebuild that was killed had put in is in it already.

        Raises:
            EngineUnavailable: it is being rebuilt already.
        """
        with self._graphs.rebuilding() as (graph, progress):
            fresh = object.__new__(type(self))
            fresh._server = self._server
            fresh._graphs = OneGeneration(self._server, graph)
            fresh._clock = self._clock
            fresh._filling = True
            fresh._progress = progress
            yield fresh
            now = self._clock()
            self._server.write(lambda transaction: writing.end_build(transaction, graph, now))

    def check(self) -> None:
        """See that the server answers and is new enough, and that its indexes are whole."""
        self._server.check()

    def close(self) -> None:
        """Release connections."""
        if not self._filling:
            self._server.close()

    def _put(self, rows: Sequence[writing.Row]) -> None:
        def put(transaction: Transaction, graph: str, _building: bool) -> None:
            writing.put(transaction, graph, rows, filling=self._filling)

        def settle(transaction: Transaction, graph: str) -> None:
            writing.settle_parents(transaction, graph, rows)

        self._graphs.write(put, settle)

    def _forget(self, ids: Sequence[RecordId]) -> None:
        now = self._clock()

        def forget(transaction: Transaction, graph: str, building: bool) -> None:
            writing.forget(transaction, graph, ids, writing.FOREVER if building else now)

        def tidy(transaction: Transaction, graph: str) -> None:
            writing.forget_deletions(transaction, graph, now)

        self._graphs.write(forget, tidy)

    def _ask(self, work: Callable[[Neo4jReader], T]) -> T:
        return self._graphs.answer(lambda transaction, graph: work(Neo4jReader(transaction, graph)))
