"""Questions along relations."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from analect_ingest import present, questions
from analect_ingest.context import Context
from analect_ingest.describe import items_of, operation, parameters, ref
from analect_ingest.requests import record_id_in


class Relating:
    """The calls that ask the graph."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._service = context.service

    def mount(self, app: FastAPI) -> None:
        """Add the routes."""
        one = parameters(path="id")
        for path, summary, asked, answer in (
            ("/v1/related/{id}", "Walk along relations from a record", ("depth", "limit"),
             self.related),
            ("/v1/sessions/{id:path}/related", "See what a session touched", ("limit",),
             self.session),
            ("/v1/processes/{id:path}/chain", "Follow a process from record to record",
             ("limit",), self.process),
        ):  # fmt: skip
            app.get(
                path,
                **operation(
                    summary,
                    parameters=[*one, *parameters(*asked)],
                    ok=ref("Subgraph"),
                    errors=(404, 503),
                ),
            )(answer)
        app.get(
            "/v1/related/{id}/to/{target}",
            **operation(
                "Find a shortest way from a record to another",
                parameters=[*one, *parameters(path="target"), *parameters("steps")],
                ok=ref("Subgraph"),
                errors=(404, 503),
            ),
        )(self.path)
        app.get(
            "/v1/tags",
            **operation(
                "List the tags on the most records",
                parameters=parameters("limit"),
                ok=items_of("TagCount"),
                errors=(503,),
            ),
        )(self.tags)

    async def related(self, request: Request) -> Response:
        """Nodes and edges around a record."""
        depth, limit = questions.related_question(request.query_params.multi_items())
        return await self._subgraph(self._service.related, record_id_in(request), depth, limit)

    async def path(self, request: Request) -> Response:
        """The nodes of the way, each at its distance; none when there is no way."""
        steps = questions.path_question(request.query_params.multi_items())
        ends = (record_id_in(request), record_id_in(request, "target"))
        return await self._subgraph(self._service.path_between, *ends, steps)

    async def session(self, request: Request) -> Response:
        """A session, its newest records, and what these are related to."""
        limit = questions.limit_question(request.query_params.multi_items(), 100)
        return await self._subgraph(self._service.session_related, request.path_params["id"], limit)

    async def process(self, request: Request) -> Response:
        """A process and its records from the first on."""
        limit = questions.limit_question(request.query_params.multi_items(), 100)
        return await self._subgraph(self._service.process_chain, request.path_params["id"], limit)

    async def tags(self, request: Request) -> Response:
        """Most records first."""
        limit = questions.limit_question(request.query_params.multi_items(), 50)
        found = await self._read(self._service.top_tags, limit)
        items = [{"tag": tag, "records": records} for tag, records in found]
        return present.json_response({"items": items, "next": None})

    async def _subgraph(self, call: Any, *args: Any) -> Response:
        return present.json_response(present.subgraph(await self._read(call, *args)))

    async def _read(self, call: Any, *args: Any) -> Any:
        started = perf_counter()
        found = await self._context.in_thread(call, *args)
        self._context.telemetry.finding.read("related", perf_counter() - started)
        return found
