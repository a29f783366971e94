"""The processors that keep the three indexes up with the truth."""

from __future__ import annotations

from collections.abc import Sequence

from analect.index.projection import facets_of, text_of
from analect.index.protocols import GraphRecord, TextDocument, VectorDocument
from analect.model.ids import RecordId
from analect.model.record import Record
from analect.pipeline.processor import Outcome, ProcessorContext


class TextProcessor:
    """Words into the text index."""

    name = "text"
    version = 1

    def __init__(self, context: ProcessorContext) -> None:
        index = context.indexes.text
        if index is None:
            raise ValueError("the text index is switched off")
        self._index = index

    def process(self, records: Sequence[Record]) -> Outcome:
        """Add or replace the records' text."""
        documents = [TextDocument(facets_of(record), text_of(record)) for record in records]
        return Outcome(failures=self._index.upsert(documents))

    def forget(self, ids: Sequence[RecordId]) -> None:
        """Drop their text."""
        self._index.delete(ids)


class VectorProcessor:
    """Meaning into the vector index."""

    name = "vectors"
    version = 1

    def __init__(self, context: ProcessorContext) -> None:
        index, embedder = context.indexes.vectors, context.indexes.embedder
        if index is None or embedder is None:
            raise ValueError("the vector index is switched off")
        self._index = index
        self._embedder = embedder

    def process(self, records: Sequence[Record]) -> Outcome:
        """Embed the records' text and keep the vectors."""
        vectors = self._embedder.embed([text_of(record) for record in records])
        documents = [
            VectorDocument(facets_of(record), vector)
            for record, vector in zip(records, vectors, strict=True)
        ]
        return Outcome(failures=self._index.upsert(documents))

    def forget(self, ids: Sequence[RecordId]) -> None:
        """Drop their vectors."""
        self._index.delete(ids)


class GraphProcessor:
    """Relations into the graph."""

    name = "graph"
    version = 1

    def __init__(self, context: ProcessorContext) -> None:
        index = context.indexes.graph
        if index is None:
            raise ValueError("the graph is switched off")
        self._index = index

    def process(self, records: Sequence[Record]) -> Outcome:
        """Add or replace the records' nodes and edges."""
        return Outcome(
            failures=self._index.upsert([GraphRecord(facets_of(record)) for record in records])
        )

    def forget(self, ids: Sequence[RecordId]) -> None:
        """Drop their nodes and edges, and what only they held together."""
        self._index.delete(ids)
