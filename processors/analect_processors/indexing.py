"""The processors that keep the three indexes up with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from analect.index.catalog import Indexes
from analect.model.ids import Micros, RecordId
from analect.model.record import Record
from analect.pipeline.processor import Outcome, ProcessorContext


class IndexProcessor:
    """Keeps the index that is called as the processor is."""

    name: ClassVar[str]
    version: ClassVar[int] = 1

    def __init__(self, context: ProcessorContext) -> None:
        self._indexes: Indexes = context.indexes
        self._index = context.indexes.named(self.name)
        self.lanes = int(getattr(self._index, "lanes", 1))

    def process(self, records: Sequence[Record]) -> Outcome:
        """Add or replace the records."""
        with self._indexes.health.watching(self.name):
            return Outcome(failures=self._indexes.fill(self.name, self._index, records))

    def restore(self, records: Sequence[Record], now: Micros) -> Outcome:
        """The same with records that were forgotten and stand: they come later than that."""
        with self._indexes.health.watching(self.name):
            failures = self._indexes.fill(self.name, self._index, records, seen_at=now)
            return Outcome(failures=failures)

    def forget(self, ids: Sequence[RecordId]) -> None:
        """Drop them."""
        with self._indexes.health.watching(self.name):
            self._index.delete(ids)


class TextProcessor(IndexProcessor):
    """Words into the text index."""

    name = "text"


class VectorProcessor(IndexProcessor):
    """Meaning into the vector index."""

    name = "vectors"


class GraphProcessor(IndexProcessor):
    """Relations into the graph."""

    name = "graph"
