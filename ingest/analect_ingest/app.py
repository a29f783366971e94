"""The application: routes, errors, and the layer around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from analect.access.api_keys import ApiKeys
from analect.model.errors import AnalectError
from analect.model.ids import RandomBytes
from analect.service import AnalysisService
from analect.settings import Settings
from analect_ingest.admission import Admission
from analect_ingest.bodies import Disconnected
from analect_ingest.context import Context
from analect_ingest.describe import (
    Schema,
    components,
    described_operation,
    parameters,
    ref,
)
from analect_ingest.documents import Documents
from analect_ingest.edge import Edge
from analect_ingest.operations import Operations
from analect_ingest.problems import problem, problem_of, unexpected
from analect_ingest.reading import Reading
from analect_ingest.records import LINES, RecordsEndpoint
from analect_ingest.relating import Relating
from analect_ingest.roles import Role
from analect_ingest.serving import Serving
from analect_ingest.tail import Tail
from analect_ingest.unpack import UnsupportedMedia

WORKERS = 2
"""Threads that take bodies apart, pseudonymise and seal."""
_RECORDS = "/v1/records"
_OPEN = ("/healthz", "/readyz")


def create_app(
    service: AnalysisService,
    settings: Settings,
    *,
    serving: Serving | None = None,
    role: Role = Role.ALL,
    random_bytes: RandomBytes = os.urandom,
) -> FastAPI:
    """The HTTP face of ``service``.

    Args:
        service: open, and closed by who opened it.
        settings: of the same store.
        serving: what stops the server; one is made when nobody else needs it.
        role: what it answers.
        random_bytes: where request ids come from.

    Raises:
        ConfigurationError: the API keys are wrong, or missing where they are needed.
    """
    keys = ApiKeys.from_settings(settings)
    telemetry = service.telemetry
    if serving is None:
        serving = Serving(service.health, telemetry.http, grace=settings.http.shutdown_seconds / 2)
    context = Context(service, settings, telemetry, serving)
    app = Api(
        title="Analect",
        version=version("analect"),
        description="Keeps what language-model programs say and conclude.",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.serving = serving
    app.state.admission = Admission(settings.http.max_inflight_bytes, telemetry.http.inflight)
    app.state.workers = ThreadPoolExecutor(WORKERS, "analect-intake")
    endpoint = RecordsEndpoint(context, app.state.admission, app.state.workers)
    records = Route(_RECORDS, endpoint, methods=["POST"])
    app.router.routes.append(records)
    for part in (Reading, Relating, Tail, Documents, Operations):
        part(context).mount(app)
    _handle_errors(app)
    _describe(app, with_keys=bool(keys))
    app.edge = Edge(
        app.within,
        direct={("POST", _RECORDS): records},
        keys=keys,
        serving=serving,
        metrics=telemetry.http,
        deadline=settings.http.deadline_seconds,
        open_metrics=settings.http.open_metrics,
        random_bytes=random_bytes,
        role=role,
    )
    return app


class Api(FastAPI):
    """The application, with the edge around all of the framework's own layers."""

    edge: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, through the edge."""
        await (self.edge or self.within)(scope, receive, send)

    async def within(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request that passed the edge."""
        await super().__call__(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.serving.begin()
    yield
    app.state.workers.shutdown(wait=True, cancel_futures=True)


def _handle_errors(app: FastAPI) -> None:
    async def analect_error(_request: Request, error: Exception) -> Response:
        if isinstance(error, UnsupportedMedia):
            return problem(415, error.code, str(error), field=error.field)
        assert isinstance(error, AnalectError)  # noqa: S101  (registered for it)
        return problem_of(error)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  (registered for it)
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": ", ".join(_methods_at(app, request.scope))}
        codes = {404: "not_found", 405: "method_not_allowed"}
        details = {
            404: "there is nothing at this path; /docs lists the calls",
            405: "this path has other methods; /docs lists the calls",
        }
        return problem(
            error.status_code,
            codes.get(error.status_code, "refused"),
            details.get(error.status_code, "the request was refused"),
            headers=headers,
        )

    async def gone(_request: Request, _error: Exception) -> Response:
        return problem(400, "disconnected", "the body ended too early", field="body")

    async def fault(_request: Request, _error: Exception) -> Response:
        return unexpected()

    app.add_exception_handler(AnalectError, analect_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Disconnected, gone)
    app.add_exception_handler(Exception, fault)


def _methods_at(app: FastAPI, scope: Scope) -> list[str]:
    """Those of every route of a path: the framework names those of the first."""
    found: set[str] = set()
    for route in app.router.routes:
        if route.matches(scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


def _describe(app: FastAPI, *, with_keys: bool) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            paths = document["paths"]
            paths[_RECORDS] = {"post": _records_operation(), **paths.get(_RECORDS, {})}
            document["components"] = components(with_keys=with_keys)
            if with_keys:
                document["security"] = [{"key": []}]
                for path in _OPEN:
                    paths[path]["get"]["security"] = []
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's manual has it


def _records_operation() -> Schema:
    one_or_many: Schema = {
        "oneOf": [ref("NewRecord"), {"type": "array", "items": ref("NewRecord")}]
    }
    lines = {"schema": {"type": "string", "description": "One record a line."}}
    return described_operation(
        "Store one record, an array of them, or one a line",
        parameters=parameters("wait", "timeout", "omit", "dedupe"),
        body={
            "required": True,
            "content": {
                "application/json": {"schema": one_or_many},
                **dict.fromkeys(sorted(LINES)[-1:], lines),
            },
        },
        ok=ref("Ingested"),
    )
