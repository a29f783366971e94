"""The calls of both clients: they differ in how a call is carried out, not in what is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from analect.client import calls
from analect.client.calls import Call, Moment

PAGE = 200

One = TypeVar("One")
Many = TypeVar("Many")


class Reading(ABC, Generic[One, Many]):
    """Everything but the writing of records. ``One`` is an answer, a JSON object, or what is
    awaited for it; ``Many`` a walk over the items of a list, page after page.
    """

    @abstractmethod
    def _call(self, call: Call) -> One:
        """Carry it out."""

    @abstractmethod
    def _pages(self, call: Call) -> Many:
        """Walk through what it lists."""

    def get(self, record_id: str, *, tier: str | None = None) -> One:
        """One record, hot or warm, or of the ``tier`` that is named."""
        return self._call(calls.get(record_id, tier))

    def list(
        self,
        *,
        tags: Sequence[str] = (),
        dimensions: Mapping[str, str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        page_size: int = PAGE,
        **where: Any,
    ) -> Many:
        """Every record that passes, newest first, a page at a time as they are asked for."""
        where_ = calls.filters(where, tags=tags, dimensions=dimensions, since=since, until=until)
        return self._pages(calls.listing(where_, page_size))

    def list_page(self, *, limit: int = PAGE, cursor: str | None = None, **where: Any) -> One:
        """One page: ``{"items": […], "next": …}``; the filters of :meth:`list`."""
        said = {name: where.pop(name, None) for name in ("tags", "dimensions", "since", "until")}
        call = calls.listing(calls.filters(where, **{**said, "tags": said["tags"] or ()}), limit)
        return self._call(call if cursor is None else call.at(cursor))

    def aggregate(
        self,
        by: Sequence[str] = (),
        *,
        tags: Sequence[str] = (),
        dimensions: Mapping[str, str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        **where: Any,
    ) -> One:
        """Figures of the hot and warm records that pass, by fields, ``hour``, ``day``, ``month``
        and ``dim.NAME``: ``{"items": [{"group", "records", …}], "next": null}``.
        """
        where_ = calls.filters(where, tags=tags, dimensions=dimensions, since=since, until=until)
        return self._call(calls.aggregate(by, where_))

    def thread(self, thread_id: str, *, page_size: int = PAGE) -> Many:
        """A conversation in order."""
        return self._pages(calls.thread(thread_id, page_size))

    def search(
        self,
        query: str,
        *,
        mode: str = "text",
        tags: Sequence[str] = (),
        dimensions: Mapping[str, str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = 20,
        cursor: str | None = None,
        explain: bool | None = None,
        after: str | None = None,
        **where: Any,
    ) -> One:
        """One page of hits: ``{"items": [{"record", "score", "highlights"}], "next": …}``."""
        where_ = calls.filters(where, tags=tags, dimensions=dimensions, since=since, until=until)
        options = {
            "mode": mode,
            "limit": limit,
            "cursor": cursor,
            "explain": explain,
            "after": after,
        }
        return self._call(calls.search(query, where_, options))

    def related(self, record_id: str, *, depth: int = 1, limit: int = 100) -> One:
        """What a record is related to: ``nodes`` and ``edges``."""
        return self._call(calls.related(record_id, depth, limit))

    def changes(self, after: str | None = None, *, limit: int = PAGE) -> One:
        """A page of everything once, in commit order; ``next`` says where to go on."""
        return self._call(calls.changes(after, limit))

    def status(self) -> One:
        """What an operator wants to see."""
        return self._call(calls.status())

    def feedback(
        self,
        record_id: str,
        *,
        rating: int | None = None,
        score: float | None = None,
        label: str | None = None,
        comment: str | None = None,
    ) -> One:
        """Say later what a record was worth."""
        said = {"rating": rating, "score": score, "label": label, "comment": comment}
        return self._call(calls.feedback(record_id, said))

    def put_document(
        self,
        kind: str,
        document_id: str,
        body: Any,
        *,
        owner: str | None = None,
        status: str | None = None,
        expires_at: Moment | None = None,
        expected_version: int | None = None,
    ) -> One:
        """Save a new version; ``expected_version`` 0: it must not exist yet."""
        said = {"owner": owner, "status": status, "expires_at": expires_at}
        return self._call(calls.put_document(kind, document_id, body, said, expected_version))

    def get_document(self, kind: str, document_id: str, version: int | None = None) -> One:
        """The latest version, or the one asked for."""
        return self._call(calls.get_document(kind, document_id, version))

    def list_documents(
        self,
        kind: str,
        *,
        owner: str | None = None,
        status: str | None = None,
        page_size: int = PAGE,
    ) -> Many:
        """Documents of a kind, newest change first."""
        return self._pages(calls.list_documents(kind, owner, status, page_size))

    def delete_document(
        self, kind: str, document_id: str, expected_version: int | None = None
    ) -> One:
        """Forget a document and every version of it; the answer says nothing more."""
        return self._call(calls.delete_document(kind, document_id, expected_version))
