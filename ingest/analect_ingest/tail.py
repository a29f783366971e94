"""``GET /v1/tail``: changes as they are committed, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog
from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse

from analect.model.errors import AnalectError, Overloaded
from analect.model.query import Change
from analect_ingest import present, questions
from analect_ingest.context import Context
from analect_ingest.describe import event_stream, operation, parameters
from analect_ingest.edge import DEADLINE

log = structlog.get_logger(__name__)

MOST_STREAMS = 64
POLL_SECONDS = 1.0
"""How soon commits of other processes are noticed; those of this one wake a stream at once."""
HEARTBEAT_SECONDS = 15.0
_AT_ONCE = 100
_RETRY_MILLIS = 1000


class Tail:
    """The live feed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._committed = asyncio.Event()
        self._streams = 0
        context.service.on_commit(self._on_commit)

    def mount(self, app: FastAPI) -> None:
        """Add the route."""
        app.get(
            "/v1/tail",
            **operation(
                "Follow changes as they happen (server-sent events)",
                parameters=parameters("after", "Last-Event-ID"),
                ok=event_stream(),
                errors=(429,),
            ),
        )(self.follow)

    async def follow(self, request: Request) -> Response:
        """Each event's id is a cursor: `Last-Event-ID` goes on behind it."""
        after, _ = questions.changes_question(request.query_params.multi_items())
        after = request.headers.get("last-event-id") or after
        if self._streams >= MOST_STREAMS:
            raise Overloaded("too many streams are open; try again later", retry_after=10.0)
        self._loop = asyncio.get_running_loop()
        # The first look is made before the answer begins, so that a wrong cursor is refused.
        if after is None:
            cursor = await self._context.in_thread(self._context.service.changes_head)
        else:
            await self._context.in_thread(self._context.service.changes, after, 1)
            cursor = after
        request.scope[DEADLINE].reschedule(None)
        return StreamingResponse(
            self._events(cursor),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self, cursor: str) -> AsyncIterator[bytes]:
        self._streams += 1
        stopped = self._context.serving.stopped
        silent = 0.0
        try:
            yield f"retry: {_RETRY_MILLIS}\n\n".encode()
            while not stopped.is_set():
                committed = self._committed  # before the look, so that no commit is missed
                try:
                    page = await self._context.in_thread(
                        self._context.service.changes, cursor, _AT_ONCE
                    )
                except AnalectError as error:
                    log.warning("stream ended", code=error.code)
                    return
                for change in page.items:
                    yield _event(change)
                cursor = page.next or cursor
                if page.items:
                    silent = 0.0
                    continue
                await _pause(committed, stopped)
                silent += POLL_SECONDS
                if silent >= HEARTBEAT_SECONDS:
                    silent = 0.0
                    yield b": still here\n\n"
        finally:
            self._streams -= 1

    def _on_commit(self) -> None:
        """In the writer's thread."""
        if self._streams and self._loop is not None:
            with suppress(RuntimeError):  # the loop closed while a commit was on its way
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._committed.set()
        self._committed = asyncio.Event()


async def _pause(*events: asyncio.Event) -> None:
    """Until one of the events, or until it is time to look again."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _event(change: Change) -> bytes:
    data = present.encode(present.change(change))
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        change.cursor.encode(),
        change.operation.encode(),
        data,
    )
