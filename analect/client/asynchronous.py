"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import stamina

from analect.client import calls
from analect.client.calls import Call, Moment
from analect.client.options import Counters, Options, Unaccepted
from analect.client.sync import (
    PAGE,
    T,
    Writing,
    address_of,
    request_of,
    wall_clock,
    write_params,
)
from analect.client.transport import Delivery, answer, retry_delay, translating
from analect.model.errors import Overloaded
from analect.model.ids import Clock, RandomBytes


class AsyncClient:
    """As :class:`~analect.client.sync.Client`, for an event loop.

    Records are queued at once and sent by the same background thread; only a full queue makes
    :meth:`record` wait. Use it in an ``async with`` block.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        attempts: int = 4,
        options: Options = Options(),  # noqa: B008  (frozen)
        defaults: Mapping[str, Any] | None = None,
        spool: str | Path | None = None,
        on_rejected: Callable[[Unaccepted], None] | None = None,
        clock: Clock = wall_clock,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._address = address_of(url, api_key, timeout)
        self._attempts = attempts
        self._blocks = options.when_full == "block"
        self._http = httpx.AsyncClient(**self._address.options())
        self._writing = Writing(
            self._address,
            options,
            defaults=defaults or {},
            spool=spool,
            on_rejected=on_rejected,
            clock=clock,
            random_bytes=random_bytes,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- writing ---------------------------------------------------------------------------

    async def record(self, **fields: Any) -> str:
        """Queue a record by the fields of the contract; returns the id it was given."""
        try:
            return self._writing.queue(fields, block=False)
        except Overloaded:
            if not self._blocks:
                raise
        return await asyncio.to_thread(self._writing.queue, fields, block=True)

    async def log(self, input: Any, output: Any = None, **fields: Any) -> str:
        """Queue an interaction: what was asked and what was answered."""
        return await self.record(input=input, output=output, **fields)

    async def send(
        self,
        records: Sequence[Mapping[str, Any]],
        *,
        wait_indexed: float | None = None,
        omit_payload: bool = False,
        dedupe: bool = False,
    ) -> Delivery:
        """Store records now and say what became of each; transient errors are retried."""
        entries = self._writing.entries(records)
        params = write_params(wait_indexed, omit_payload=omit_payload, dedupe=dedupe)
        return await self._retried(
            lambda: asyncio.to_thread(self._writing.poster.send, entries, params)
        )

    async def flush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  (the thread's, as in Client)
        """Send what is queued; false when ``timeout`` seconds were not enough."""
        return await asyncio.to_thread(self._writing.outgoing.flush, timeout)

    async def close(self, timeout: float | None = None) -> int:  # noqa: ASYNC109  (as flush)
        """Send what is queued and stop; how many records are left unsent (0 is good)."""
        left = await asyncio.to_thread(self._writing.close, timeout)
        await self._http.aclose()
        return left

    @property
    def counters(self) -> Counters:
        """What became of the queued records so far."""
        return self._writing.outgoing.counters

    async def feedback(self, record_id: str, **said: Any) -> dict[str, Any]:
        """Say later what a record was worth: ``rating``, ``score``, ``label`` or ``comment``."""
        return await self._call(calls.feedback(record_id, said))

    # -- reading ---------------------------------------------------------------------------

    async def get(self, record_id: str) -> dict[str, Any]:
        """One record."""
        return await self._call(calls.get(record_id))

    def list(
        self,
        *,
        tags: Sequence[str] = (),
        dimensions: Mapping[str, str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        page_size: int = PAGE,
        **where: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """Every record that passes, newest first, a page at a time as they are asked for."""
        where_ = calls.filters(where, tags=tags, dimensions=dimensions, since=since, until=until)
        return self._pages(calls.listing(where_, page_size))

    def thread(self, thread_id: str, *, page_size: int = PAGE) -> AsyncIterator[dict[str, Any]]:
        """A conversation in order."""
        return self._pages(calls.thread(thread_id, page_size))

    async def search(
        self,
        query: str,
        *,
        tags: Sequence[str] = (),
        dimensions: Mapping[str, str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        options: Mapping[str, Any] | None = None,
        **where: Any,
    ) -> dict[str, Any]:
        """One page of hits; ``options`` are ``mode``, ``limit``, ``cursor``, ``explain`` and
        ``after``.
        """
        where_ = calls.filters(where, tags=tags, dimensions=dimensions, since=since, until=until)
        return await self._call(calls.search(query, where_, options or {}))

    async def related(self, record_id: str, *, depth: int = 1, limit: int = 100) -> dict[str, Any]:
        """What a record is related to: ``nodes`` and ``edges``."""
        return await self._call(calls.related(record_id, depth, limit))

    async def changes(self, after: str | None = None, *, limit: int = PAGE) -> dict[str, Any]:
        """A page of everything once, in commit order; ``next`` says where to go on."""
        return await self._call(calls.changes(after, limit))

    async def status(self) -> dict[str, Any]:
        """What an operator wants to see."""
        return await self._call(calls.status())

    # -- documents -------------------------------------------------------------------------

    async def put_document(
        self,
        kind: str,
        document_id: str,
        body: Any,
        *,
        expected_version: int | None = None,
        **said: Any,
    ) -> dict[str, Any]:
        """Save a new version; ``owner``, ``status`` and ``expires_at`` may be said."""
        return await self._call(calls.put_document(kind, document_id, body, said, expected_version))

    async def get_document(
        self, kind: str, document_id: str, version: int | None = None
    ) -> dict[str, Any]:
        """The latest version, or the one asked for."""
        return await self._call(calls.get_document(kind, document_id, version))

    def list_documents(
        self,
        kind: str,
        *,
        owner: str | None = None,
        status: str | None = None,
        page_size: int = PAGE,
    ) -> AsyncIterator[dict[str, Any]]:
        """Documents of a kind, newest change first."""
        return self._pages(calls.list_documents(kind, owner, status, page_size))

    async def delete_document(
        self, kind: str, document_id: str, expected_version: int | None = None
    ) -> None:
        """Forget a document and every version of it."""
        await self._call(calls.delete_document(kind, document_id, expected_version))

    # -- inside ----------------------------------------------------------------------------

    async def _call(self, call: Call) -> dict[str, Any]:
        async def once() -> dict[str, Any]:
            with translating(self._address.url):
                response = await self._http.request(**request_of(call))
            return answer(response)

        return await (self._retried(once) if call.repeatable else once())

    async def _retried(self, once: Callable[[], Awaitable[T]]) -> T:
        async for attempt in stamina.retry_context(on=retry_delay, attempts=self._attempts):
            with attempt:
                return await once()
        raise AssertionError  # the last attempt returns or raises

    async def _pages(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        while True:
            page = await self._call(call)
            for item in page["items"]:
                yield item
            if page.get("next") is None:
                return
            call = call.at(page["next"])
