"""What text and vectors have in common: one family of indices, read and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, Self

from analect.index.opensearch.building import Build, building
from analect.index.opensearch.engine import Refused
from analect.index.opensearch.family import Family
from analect.index.opensearch.mapping import DELETED
from analect.index.opensearch.purging import PATIENCE_SECONDS, purge
from analect.index.opensearch.querying import hits
from analect.index.opensearch.walking import entries
from analect.index.opensearch.writing import Writer
from analect.index.protocols import IndexHit
from analect.model.errors import EngineUnavailable, InvalidQuery
from analect.model.ids import RecordId

_LIVE = {
    "query": {
        "bool": {
            # What somebody else wrote is no record.
            "filter": [{"exists": {"field": name}} for name in ("id", "content_hash")],
            "must_not": [{"exists": {"field": DELETED}}],
        }
    }
}


class Kept:
    """An index in OpenSearch: the generation that answers, or one that is being filled."""

    def __init__(self, family: Family, purge_seconds: float = PATIENCE_SECONDS) -> None:
        self._family = family
        self._purge_seconds = purge_seconds
        self._build: Build | None = None
        self._writer = Writer(family, filling=None)

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Forget these records (absent ones are fine), also what is under way of them."""
        self._writer.delete(ids)

    def count(self) -> int:
        """How many records it holds, as far as they can be searched."""
        engine = self._family.engine
        with engine.answering():
            self._ready()
            answer = engine.request(
                "POST", f"/{self._place()}/_count", body=_LIVE, ignore_unavailable="true"
            )
        return int(answer["count"])

    def entries(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of every record in id order, in bounded memory."""
        return entries(self._family, None if self._build is None else self._build.generation, after)

    def purge(self) -> None:
        """Leave no byte of what deleted records held in any file; takes up to half a minute. A
        fresh index holds nothing to purge.

        Raises:
            EngineUnavailable: some is left still; purge again.
        """
        if self._build is None:
            self._family.check_server()
            purge(self._family, self._purge_seconds)

    @contextmanager
    def rebuilding(self) -> Iterator[Self]:
        """A fresh index to fill, or one that an interrupted rebuild left half filled.

        Raises:
            Conflict: another process is rebuilding it.
        """
        if self._build is not None:
            raise TypeError("an index that is being built cannot be rebuilt")
        with building(self._family) as build:
            fresh = copy(self)
            writer = Writer(self._family, filling=build.generation)
            vars(fresh).update(_build=build, _writer=writer)
            yield fresh

    def reached(self) -> RecordId | None:
        """Of a fresh index: everything up to this id is in already."""
        return None if self._build is None else self._build.reached()

    def reach(self, record_id: RecordId) -> None:
        """Of a fresh index: everything up to this id is in."""
        if self._build is not None:
            self._build.reach(record_id)

    def drop_month(self, month: str) -> bool:
        """Forget every record of ``YYYY-MM`` at once; not while a fresh index is being filled."""
        return self._family.drop_month(month)

    def check(self) -> None:
        """Whether the server and the index are as they should be, and of this model."""
        self._family.look()
        self._family.align()

    def close(self) -> None:
        """Close the server's connections."""
        self._family.engine.close()

    def _found(self, body: dict[str, Any]) -> list[IndexHit]:
        """Ids and scores, as ordered."""
        engine = self._family.engine
        # Months are compared with each other: words count by how rare they are in all of them.
        search_type = "query_then_fetch" if "knn" in body["query"] else "dfs_query_then_fetch"
        try:
            with engine.answering():
                self._ready()
                answer = engine.request(
                    "POST",
                    f"/{self._place()}/_search",
                    body=body,
                    search_type=search_type,
                    ignore_unavailable="true",
                    allow_partial_search_results="false",
                    cancel_after_time_interval=f"{round(engine.settings.answer_seconds * 1000)}ms",
                    filter_path="hits.hits.sort",
                )
        except Refused as error:
            if error.status == 400:
                raise InvalidQuery("OpenSearch cannot read this question", field="q") from error
            raise EngineUnavailable(str(error)) from error
        return hits(answer)

    def _ready(self) -> None:
        if self._build is None:
            self._family.ready()

    def _place(self) -> str:
        if self._build is None:
            return self._family.alias
        return self._family.pattern(self._build.generation)
