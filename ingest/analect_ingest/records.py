"""``POST /v1/records``: the hot path.

A plain ASGI endpoint: the body goes from the socket to drafts without a framework's models in
between. Taking it apart, pseudonymising and sealing run in a thread of their own, so the event
loop keeps accepting; the answer waits for the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from analect.model.errors import AnalectError, InvalidQuery
from analect.model.ids import RecordId
from analect.model.record import Draft, IngestResult, Rejection
from analect_ingest.admission import Admission
from analect_ingest.bodies import Disconnected, read_body
from analect_ingest.context import Context
from analect_ingest.decode import Decoded, Limits, decode_json, decode_lines
from analect_ingest.gather import AS_IT_COMES, Gatherer, Options
from analect_ingest.present import ingested, json_response, named, rejections
from analect_ingest.problems import problem, problem_of
from analect_ingest.unpack import UnsupportedMedia, unpacker

T = TypeVar("T")

LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
SMALL_BYTES = 16 * 1024
"""Bodies up to this size are submitted together with others."""
JSON = frozenset({"application/json", "text/json"})
_INDEXED_WAIT = 10.0
_SPARE_SECONDS = 1.0
"""Time kept back from a wait, so that the answer is out before the deadline."""


@dataclass(frozen=True, slots=True)
class _Options:
    """``wait``: seconds to wait for the indexes, or not at all."""

    wait: float | None = None
    store: Options = AS_IT_COMES


class RecordsEndpoint:
    """Takes records. One a server."""

    def __init__(self, context: Context, admission: Admission, workers: ThreadPoolExecutor) -> None:
        self._context = context
        self._admission = admission
        self._workers = workers
        http = context.settings.http
        self._limits = Limits(http.max_item_bytes, http.max_batch_items)
        self._most = http.max_body_bytes
        self._most_unpacked = http.max_unpacked_bytes
        company = context.service.company
        self._small = Gatherer(self._submit, workers, company)
        self._large = Gatherer(self._submit, workers, company, together=1)
        self._longest_wait = max(0.0, http.deadline_seconds - _SPARE_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            response = await self._answer(scope, receive)
        except Disconnected:
            self._context.telemetry.http.refused("disconnected")
            return
        except UnsupportedMedia as error:
            self._context.telemetry.http.refused(error.code)
            response = problem(415, error.code, str(error), field=error.field)
        except AnalectError as error:
            self._context.telemetry.http.refused(error.code)
            response = problem_of(error)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        options = _options(scope["query_string"].decode("latin-1"))
        headers = Headers(scope=scope)
        decode = _decoder(headers.get("content-type"))
        unpack = unpacker(headers.get("content-encoding"))
        with self._admission.ticket() as ticket:
            body = await read_body(scope, receive, ticket, self._most)
            if unpack is not None:
                body = await self._run(unpack, body, self._most_unpacked)
                ticket.hold(len(body))
            self._context.telemetry.http.body(len(body))
            gatherer = self._small if len(body) <= SMALL_BYTES else self._large
            decoded, result = await gatherer.store(
                partial(self._take_apart, decode, body), options.store
            )
        indexed = None
        if options.wait is not None:
            ids = [id_ for id_ in result.ids if id_ is not None]
            wait = min(options.wait, self._longest_wait)
            indexed = await self._context.waiting(self._context.service.wait_indexed, ids, wait)
        return _response(_whole(decoded, result), indexed)

    def _take_apart(self, decode: Callable[[bytes, Limits], Decoded], body: bytes) -> Decoded:
        """In a worker thread."""
        decoded = decode(body, self._limits)
        self._context.telemetry.ingest.rejected([one.code for one in decoded.rejected])
        return decoded

    def _submit(self, drafts: list[Draft], options: Options) -> Future[IngestResult]:
        return self._context.service.submit(
            drafts, omit_payload=options.omit, dedupe=options.dedupe
        )

    async def _run(self, call: Callable[..., T], *args: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, copy_context().run, call, *args)


def _options(query: str) -> _Options:
    wait: float | None = None
    timeout = _INDEXED_WAIT
    omit = dedupe = False
    seen: set[str] = set()
    for name, value in parse_qsl(query, keep_blank_values=True) if query else ():
        match name, value:
            case _ if name in seen:
                raise InvalidQuery(f"{name} is given twice", field=name)
            case "wait", "indexed":
                wait = 0.0
            case "timeout", _:
                timeout = _seconds(value)
            case "omit", "payload":
                omit = True
            case "dedupe", "content":
                dedupe = True
            case (("wait" | "omit" | "dedupe"), _):
                choice = {"wait": "indexed", "omit": "payload", "dedupe": "content"}[name]
                raise InvalidQuery(f"{name} must be {choice}, or left out", field=name)
            case _:
                raise InvalidQuery(
                    "there are only the parameters wait, timeout, omit and dedupe here",
                    field="(unknown)",
                )
        seen.add(name)
    return _Options(None if wait is None else timeout, Options(omit, dedupe))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise InvalidQuery("timeout must be a number of seconds from 0 to 3600", field="timeout")
    return seconds


def _decoder(content_type: str | None) -> Callable[[bytes, Limits], Decoded]:
    media, _, parameters = (content_type or "").partition(";")
    media = media.strip().lower()
    charset = parameters.strip().lower()
    if charset.startswith("charset=") and charset[8:].strip('"') not in {"utf-8", "utf8"}:
        raise UnsupportedMedia("the charset must be utf-8", field="Content-Type")
    if media in JSON:
        return decode_json
    if media in LINES:
        return decode_lines
    raise UnsupportedMedia(
        "Content-Type must be application/json or application/x-ndjson", field="Content-Type"
    )


def _whole(decoded: Decoded, result: IngestResult) -> IngestResult:
    """The result by the places of the body, what did not become a draft included."""
    if not decoded.rejected:
        return result
    ids: list[RecordId | None] = [None] * decoded.count
    for place, id_ in zip(decoded.places, result.ids, strict=True):
        ids[place] = id_
    later = [
        Rejection(decoded.places[one.index], one.id, one.code, one.message, one.field)
        for one in result.rejected
    ]
    rejected = sorted((*decoded.rejected, *later), key=lambda one: one.index)
    return IngestResult(result.accepted, result.duplicates, tuple(rejected), tuple(ids))


def _response(result: IngestResult, indexed: bool | None) -> Response:
    if not result.rejected or result.accepted or result.duplicates:
        return json_response(ingested(result, indexed=indexed))
    codes = {one.code for one in result.rejected}
    first = result.rejected[0]
    status = 413 if codes == {"too_large"} else 422
    return problem(
        status,
        first.code if len(codes) == 1 else "rejected",
        f"nothing was stored; the first reason: {named(first)}",
        field=first.field,
        accepted=0,
        duplicates=0,
        rejected=rejections(result.rejected),
        ids=result.ids,
    )
