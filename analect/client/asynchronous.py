"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import stamina

from analect.client.calls import Call
from analect.client.events import EventStream
from analect.client.options import Counters, Options, Unaccepted
from analect.client.reading import Reading
from analect.client.transport import (
    PAUSE,
    Delivery,
    answer,
    request_of,
    retry_delay,
    tail_request,
    translating,
)
from analect.client.wire import error_of
from analect.client.writing import Writing, address_of, wall_clock, write_params
from analect.model.errors import Overloaded
from analect.model.ids import Clock, RandomBytes

T = TypeVar("T")


class AsyncClient(Reading[Awaitable[dict[str, Any]], AsyncIterator[dict[str, Any]]]):
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

    async def tail(self, after: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Changes as they happen, until the caller stops; goes on where it was when the server
        ends the stream.
        """
        while True:
            events = EventStream()
            with translating(self._address.url):
                async with self._http.stream(**tail_request(after)) as stream:
                    if not stream.is_success:
                        raise error_of(stream.status_code, stream.headers, await stream.aread())
                    async for chunk in stream.aiter_bytes():
                        for event_id, data in events.feed(chunk):
                            after = event_id or after
                            yield data
            await asyncio.sleep(PAUSE)

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
