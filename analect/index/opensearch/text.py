"""Finding by words in OpenSearch."""

from __future__ import annotations

from collections.abc import Sequence

from analect.index.opensearch.engine import OpenSearch
from analect.index.opensearch.family import Family
from analect.index.opensearch.kept import Kept
from analect.index.opensearch.mapping import BODY, facet_values, meta, text_fields
from analect.index.opensearch.purging import PATIENCE_SECONDS
from analect.index.opensearch.querying import by_words
from analect.index.opensearch.writing import item
from analect.index.protocols import IndexHit, ItemFailure, TextDocument
from analect.index.text.expression import parse
from analect.index.text.highlight import snippets as highlighted
from analect.index.text.tokens import searchable
from analect.model.ids import Clock, RecordId
from analect.model.query import RecordFilter

KIND = "text"


class OpenSearchTextIndex(Kept):
    """Implements :class:`~analect.index.protocols.TextIndex`, for any number of processes.

    What is written is found after ``search.refresh_seconds``. Ranking is BM25 over all months.
    Nothing is asked of the server before the first use.

    Args:
        engine: the server.
        clock: now, in microseconds.
        purge_seconds: how long :meth:`purge` may take until deleted records can be merged away.
    """

    lanes = 2
    """Batches that pay at once: documents are made of one while the server is busy with another."""

    def __init__(
        self, engine: OpenSearch, clock: Clock, *, purge_seconds: float = PATIENCE_SECONDS
    ) -> None:
        super().__init__(Family(engine, KIND, text_fields(), meta(), clock), purge_seconds)

    def upsert(self, documents: Sequence[TextDocument]) -> list[ItemFailure]:
        """Add or replace; returns what was refused, item by item."""
        return self._writer.put(
            [
                item(
                    one.facets.id,
                    one.facets.received_at,
                    {**facet_values(one.facets), BODY: searchable(one.text)},
                )
                for one in documents
            ]
        )

    def search(
        self, query: str, where: RecordFilter, limit: int, after: tuple[float, RecordId] | None
    ) -> list[IndexHit]:
        """Best first by (score descending, id descending), strictly behind ``after``.

        Raises:
            InvalidQuery: nothing to look for, or a filter by an unknown number.
        """
        return self._found(by_words(parse(query), where, limit, after))

    def highlight(self, query: str, text: str, snippets: int = 3) -> tuple[str, ...]:
        """HTML-escaped snippets of ``text`` with matches in ``<em>``."""
        return highlighted(parse(query), text, snippets)
