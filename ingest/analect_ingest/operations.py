"""Health, readiness, status, metrics and the page that describes the calls."""

from __future__ import annotations

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse, Response

from analect_ingest import present
from analect_ingest.context import Context
from analect_ingest.describe import Schema, operation
from analect_ingest.docs_page import docs_page
from analect_ingest.problems import problem

_ANY: Schema = {"type": "object"}


class Operations:
    """The calls for those who run it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def mount(self, app: FastAPI) -> None:
        """Add the routes."""
        app.get("/v1/status", **operation("Counts, backlog, sizes, versions", ok=_ANY))(self.status)
        app.get("/healthz", **operation("Whether the process is alive", ok=_ANY))(self.alive)
        app.get("/readyz", **operation("Whether it can take records now", ok=_ANY))(self.ready)
        app.get(
            "/metrics",
            **operation(
                "Metrics for Prometheus", ok={"type": "string", "x-media-type": "text/plain"}
            ),
        )(self.metrics)
        app.get("/docs", include_in_schema=False)(self.docs)

    async def status(self) -> Response:
        """What ``analect status`` shows."""
        return present.json_response(await self._context.in_thread(self._context.service.status))

    async def alive(self) -> Response:
        """The event loop turns, so this is answered."""
        return present.json_response({"status": "ok"})

    async def ready(self) -> Response:
        """200, or 503 with the reasons; it comes back by itself."""
        health = await self._context.serving.health()
        if health.ready:
            return present.json_response({"ready": True, "reasons": []})
        return problem(
            503,
            "not_ready",
            "; ".join(health.reasons) or "not ready",
            headers={"Retry-After": "1"},
            ready=False,
            reasons=health.reasons,
        )

    async def metrics(self) -> Response:
        """The registry, in the text format."""
        text = await self._context.in_thread(generate_latest, self._context.telemetry.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def docs(self, request: Request) -> Response:
        """Every call on one page, without anything from elsewhere."""
        page = docs_page(request.app.openapi())
        return HTMLResponse(
            page,
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )
