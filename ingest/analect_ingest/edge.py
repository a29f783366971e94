"""The outermost layer: request id, key, deadline, access log, metrics, and no stack traces out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import Any

import structlog
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from analect.access.api_keys import ApiKeys
from analect.model.ids import RandomBytes
from analect.telemetry.http import HttpMetrics
from analect_ingest.problems import problem, unexpected
from analect_ingest.roles import Role
from analect_ingest.serving import STOPPING, Serving

log = structlog.get_logger(__name__)

DEADLINE = "analect.deadline"
"""Where a request's scope keeps its :class:`asyncio.Timeout`, for streams that lift it."""
PROBES = frozenset({"/healthz", "/readyz"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(
    rb"(?:[0-9a-f]{20,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\Z", re.IGNORECASE
)
"""Ids that callers may bring: UUIDs and long hexadecimal ones, which no number of a person, a card
or an account looks like, so that nothing of the kind reaches a log this way."""
_GONE = 499
"""What the log says of callers that did not wait."""


@dataclass(slots=True)
class _Exchange:
    """One request as far as it has come."""

    id: str
    status: int = 0


class Edge:
    """Wraps the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: ApiKeys,
        serving: Serving,
        metrics: HttpMetrics,
        deadline: float,
        open_metrics: bool,
        direct: Mapping[tuple[str, str], BaseRoute],
        random_bytes: RandomBytes,
        role: Role = Role.ALL,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """``direct``: routes by method and path that are plain ASGI and skip the framework's own
        layers, of which a request passes a dozen.
        """
        self._app = app
        self._keys = keys
        self._serving = serving
        self._metrics = metrics
        self._deadline = deadline
        self._open = PROBES | {"/metrics"} if open_metrics else PROBES
        self._direct = direct
        self._role = role
        self._ids = _request_ids(random_bytes)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock()
        headers = dict(scope["headers"])
        exchange = _Exchange(self._request_id(headers.get(b"x-request-id")))
        id_header = (b"x-request-id", exchange.id.encode())

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), id_header]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=exchange.id)
        try:
            await self._guarded(scope, receive, answer, exchange, _credential(headers))
        finally:
            self._note(scope, exchange, self._clock() - started)
            structlog.contextvars.unbind_contextvars("request_id")

    async def _guarded(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        exchange: _Exchange,
        credential: str | None,
    ) -> None:
        if scope["path"] not in self._open:
            if not self._keys.allow(credential):
                self._metrics.refused("unauthenticated")
                refusal = problem(
                    401,
                    "unauthenticated",
                    "send an API key: `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
            if self._serving.stopping:
                self._metrics.refused("stopping")
                refusal = problem(
                    503, "stopping", STOPPING, headers={"Retry-After": "1", "Connection": "close"}
                )
                await refusal(scope, receive, send)
                return
        if not self._role.serves(scope["method"], scope["path"]):
            self._metrics.refused("wrong_role")
            refusal = problem(
                421,
                "wrong_role",
                f"this server has the role {self._role}: send this call to one that has the other "
                "role, or all",
            )
            await refusal(scope, receive, send)
            return
        await self._timed(scope, receive, send, exchange)

    async def _timed(self, scope: Scope, receive: Receive, send: Send, exchange: _Exchange) -> None:
        try:
            async with asyncio.timeout(self._deadline) as timeout:
                scope[DEADLINE] = timeout
                route = self._direct.get((scope["method"], scope["path"]))
                if route is not None:
                    scope["route"] = route
                with self._serving.under_way(timeout):
                    await (route.handle if route else self._app)(scope, receive, send)
        except TimeoutError:
            self._metrics.refused("deadline_exceeded")
            late = problem(
                503,
                "deadline_exceeded",
                "the time for this request ran out: ask again. What a write sent may be stored: "
                "send it again with the same ids",
                headers={"Retry-After": "1"},
            )
            if not exchange.status:
                await late(scope, receive, send)
        except Exception:
            log.exception("request failed unexpectedly")
            if not exchange.status:
                await unexpected()(scope, receive, send)

    def _request_id(self, given: bytes | None) -> str:
        if given is not None and _REQUEST_ID.match(given):
            return given.decode()
        return next(self._ids)

    def _note(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        route = _template(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        status = exchange.status or _GONE
        self._metrics.request(method, route, status, seconds)
        if scope["path"] not in PROBES:
            log.info(
                "request", method=method, route=route, status=status, ms=round(seconds * 1e3, 2)
            )


def _request_ids(random_bytes: RandomBytes) -> Iterator[str]:
    """A random half that tells processes apart, and a counter: asking the system for random
    bytes lets go of the interpreter's lock, a request each is too often.
    """
    process = random_bytes(4).hex()
    return (f"{process}{number & 0xFFFFFFFF:08x}" for number in count())


def _template(scope: Scope) -> str:
    """The route's template: a path may hold a person's id, a template holds none."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "none"


def _credential(headers: Mapping[bytes, bytes]) -> str | None:
    """The ``Authorization`` header, or an ``X-API-Key`` in its form."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        return authorization.decode("latin-1")
    key = headers.get(b"x-api-key")
    return None if key is None else f"Bearer {key.decode('latin-1')}"
