"""The embedded graph index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analect.index.filed import FiledIndex
from analect.index.graph import walk
from analect.index.graph.file import GraphFile
from analect.index.graph.parts import entry_of
from analect.index.graph.path import shortest_path
from analect.index.graph.rows import NAME
from analect.index.protocols import GraphRecord, ItemFailure
from analect.model.ids import RecordId
from analect.model.query import Subgraph


class EmbeddedGraphIndex(FiledIndex[GraphFile]):
    """A :class:`~analect.index.protocols.GraphIndex` in a folder."""

    def __init__(self, folder: Path) -> None:
        def open_file(stem: Path, create: bool) -> GraphFile:
            return GraphFile(stem, create=create)

        super().__init__(folder, NAME, open_file)

    def upsert(self, records: Sequence[GraphRecord]) -> list[ItemFailure]:
        """Add or replace; none is ever refused."""
        entries = [entry_of(record.facets) for record in records]
        if entries:
            self._files.write(lambda file, _: file.upsert(entries, filling=self._filling))
        return []

    def related(self, record_id: RecordId, depth: int, limit: int) -> Subgraph:
        """Breadth-first from a record, at most ``depth`` hops and ``limit`` nodes.

        Of a node with very many records the newest are looked at (see
        :data:`analect.index.graph.parts.HUB_TYPES`); ``truncated`` says so.

        Raises:
            NotFound: the record is not in the graph.
        """
        with self._files.present() as file, file.reading() as reader:
            return walk.related(reader, record_id, depth, limit)

    def shortest_path(self, source: RecordId, target: RecordId, max_depth: int) -> Subgraph:
        """One shortest path between two records; empty when there is none."""
        with self._files.present() as file, file.reading() as reader:
            return shortest_path(reader, source, target, max_depth)

    def session_touched(self, session: str, limit: int) -> Subgraph:
        """A session (in its stored form), its newest records and what they are related to.

        Raises:
            NotFound: there is no such session.
        """
        with self._files.present() as file, file.reading() as reader:
            return walk.session_touched(reader, session, limit)

    def causal_chain(self, process_id: str, limit: int) -> Subgraph:
        """A process and its records in order, each tied to its parent and to the next.

        Raises:
            NotFound: there is no such process.
        """
        with self._files.present() as file, file.reading() as reader:
            return walk.causal_chain(reader, process_id, limit)

    def top_tags(self, limit: int) -> list[tuple[str, int]]:
        """The tags on the most records, and on how many."""
        with self._files.present() as file, file.reading() as reader:
            return [(hub.key, hub.uses) for hub in reader.top("tag", limit)]
