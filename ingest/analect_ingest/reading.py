"""Records, threads, changes, feedback and searches."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from analect.model.errors import InvalidInput
from analect.model.query import SearchRequest
from analect_ingest import present, questions
from analect_ingest.context import Context
from analect_ingest.describe import FILTERS, body_of, items_of, operation, parameters, ref
from analect_ingest.requests import json_object, record_id_in, refuse_others

_RATINGS = ("rating", "score", "label", "comment")


class Reading:
    """The calls that read; each runs in a thread and is timed by its kind."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._service = context.service

    def mount(self, app: FastAPI) -> None:
        """Add the routes."""
        self._mount_records(app)
        self._mount_lists(app)
        self._mount_searches(app)

    def _mount_records(self, app: FastAPI) -> None:
        record_id = parameters(path="id")
        app.get(
            "/v1/records/{id}",
            **operation(
                "Read one record",
                parameters=[*record_id, *parameters("tier")],
                ok=ref("Record"),
                errors=(404,),
            ),
        )(self.record)
        app.get(
            "/v1/records/{id}/feedback",
            **operation(
                "What was said later of a record",
                parameters=record_id,
                ok=items_of("Record"),
                errors=(404,),
            ),
        )(self.feedback_of)
        app.get(
            "/v1/records/{id}/annotations",
            **operation(
                "What processors concluded of a record",
                parameters=record_id,
                ok=items_of("Annotation"),
                errors=(404,),
            ),
        )(self.annotations)
        app.post(
            "/v1/records/{id}/feedback",
            **operation(
                "Rate, score, label or comment a record",
                parameters=record_id,
                body=body_of("Feedback"),
                ok=ref("FeedbackStored"),
                status=201,
                errors=(404, 422),
            ),
        )(self.feedback)

    def _mount_lists(self, app: FastAPI) -> None:
        app.get(
            "/v1/records",
            **operation(
                "List records by any filter, newest first",
                parameters=[*FILTERS, *parameters("order", "tier", "limit", "cursor")],
                ok=items_of("Record"),
            ),
        )(self.list)
        app.get(
            "/v1/threads/{id:path}",
            **operation(
                "Read a conversation in order",
                parameters=[*parameters(path="id"), *parameters("tier", "limit", "cursor")],
                ok=items_of("Record"),
                errors=(404,),
            ),
        )(self.thread)
        app.get(
            "/v1/aggregate",
            **operation(
                "Count and add up hot and warm records, by any fields",
                parameters=[*parameters("by", "tier"), *FILTERS],
                ok=items_of("Figures"),
            ),
        )(self.aggregate)
        app.get(
            "/v1/changes",
            **operation(
                "Read everything once, in the order it was committed",
                parameters=parameters("after", "limit"),
                ok=items_of("Change"),
            ),
        )(self.changes)

    def _mount_searches(self, app: FastAPI) -> None:
        app.get(
            "/v1/search",
            **operation(
                "Find by words, by meaning or by both",
                parameters=[
                    *parameters("q", "mode", "explain", "after", "tier", "limit", "cursor"),
                    *FILTERS,
                ],
                ok=ref("SearchPage"),
                errors=(503,),
            ),
        )(self.search)
        app.post(
            "/v1/search",
            **operation(
                "The same, with the question in the body",
                body=body_of("Search"),
                ok=ref("SearchPage"),
                errors=(503,),
            ),
        )(self.search_by_body)

    async def list(self, request: Request) -> Response:
        """Records that pass every filter."""
        where, page = questions.records_question(request.query_params.multi_items())
        found = await self._read("list", self._service.list, where, page)
        return present.json_response(present.page(found, present.record))

    async def record(self, request: Request) -> Response:
        """One record, its payload opened; a cold one where that tier is asked for."""
        tier = questions.record_question(request.query_params.multi_items())
        found = await self._read("record", self._service.get, record_id_in(request), tier)
        return present.json_response(present.record(found))

    async def thread(self, request: Request) -> Response:
        """The records of a thread, oldest first."""
        page, tier = questions.thread_question(request.query_params.multi_items())
        thread_id = request.path_params["id"]
        found = await self._read("thread", self._service.thread, thread_id, page, tier)
        return present.json_response(present.page(found, present.record))

    async def aggregate(self, request: Request) -> Response:
        """Figures by group, in the order of the groups; all of them."""
        where, by = questions.aggregate_question(request.query_params.multi_items())
        found = await self._read("aggregate", self._service.aggregate, where, by)
        return present.json_response({"items": found, "next": None})

    async def changes(self, request: Request) -> Response:
        """Puts and deletions behind a cursor; `next` is always there."""
        after, limit = questions.changes_question(request.query_params.multi_items())
        found = await self._read("changes", self._service.changes, after, limit)
        return present.json_response(present.page(found, present.change))

    async def feedback_of(self, request: Request) -> Response:
        """The evaluations that point at a record."""
        _no_parameters(request)
        record_id = record_id_in(request)
        await self._read("record", self._service.get, record_id)
        found = await self._read("feedback", self._service.feedback_of, [record_id])
        records = found.get(record_id, [])
        return present.json_response(
            {"items": [present.record(record) for record in records], "next": None}
        )

    async def annotations(self, request: Request) -> Response:
        """By processor and name; free text is opened."""
        _no_parameters(request)
        record_id = record_id_in(request)
        await self._read("record", self._service.get, record_id)
        found = await self._read("annotations", self._service.annotations, [record_id])
        items = [present.annotation(one) for one in found.get(record_id, [])]
        return present.json_response({"items": items, "next": None})

    async def feedback(self, request: Request) -> Response:
        """Stored as a record of kind `evaluation` that points at the one rated."""
        said = await json_object(request)
        refuse_others(said, _RATINGS, ", ".join(_RATINGS))
        _check_feedback(said)
        stored = await self._context.in_thread(
            self._service.feedback, record_id_in(request), **said
        )
        return present.json_response({"id": stored}, 201)

    async def search(self, request: Request) -> Response:
        """The question is pseudonymised like the data, and never logged."""
        question = questions.search_question(request.query_params.multi_items())
        return await self._found(question)

    async def search_by_body(self, request: Request) -> Response:
        """A question in a body stays out of the logs of proxies too."""
        _no_parameters(request)
        pairs = questions.pairs_of(await json_object(request))
        return await self._found(questions.search_question(pairs))

    async def _found(self, question: SearchRequest) -> Response:
        started = perf_counter()
        call = self._context.in_thread if question.after is None else self._context.waiting
        found = await call(self._service.search, question)
        self._context.telemetry.finding.searched(
            question.mode, perf_counter() - started, degraded=found.degraded
        )
        return present.json_response(present.search(found))

    async def _read(self, kind: str, call: Any, *args: Any) -> Any:
        started = perf_counter()
        found = await self._context.in_thread(call, *args)
        self._context.telemetry.finding.read(kind, perf_counter() - started)
        return found


def _no_parameters(request: Request) -> None:
    questions.no_question(request.query_params.multi_items())


def _check_feedback(said: dict[str, Any]) -> None:
    for name, kind, noun in (
        ("rating", int, "a whole number from 1 to 5"),
        ("score", (int, float), "a number"),
        ("label", str, "text"),
        ("comment", str, "text"),
    ):
        value = said.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise InvalidInput(f"{name} must be {noun}", field=name)
