"""Documents: versions, with ETag and If-Match."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from analect.model.errors import Conflict, InvalidInput, InvalidQuery, NotFound
from analect.model.flat import parse_time
from analect.model.query import Document
from analect_ingest import present, questions
from analect_ingest.context import Context
from analect_ingest.describe import body_of, items_of, operation, parameters, ref
from analect_ingest.problems import PreconditionFailed
from analect_ingest.requests import json_object, refuse_others

_PATH = "/v1/documents/{kind}/{id:path}"
_TAG = re.compile(r'(?:W/)?"?(\d{1,10})"?\Z', re.ASCII)
_FIELDS = frozenset({"body", "owner", "status", "expires_at"})
_GIVEN_BACK = frozenset({"kind", "id", "version", "created_at", "updated_at"})
"""What a document that was read has besides: sent back, it is of no consequence."""


class Documents:
    """The calls on documents."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._service = context.service

    def mount(self, app: FastAPI) -> None:
        """Add the routes."""
        place = [*parameters(path="kind"), *parameters(path="id")]
        version = parameters("version")
        app.get(
            "/v1/documents/{kind}",
            **operation(
                "List documents of a kind, newest first",
                parameters=[
                    *parameters(path="kind"),
                    *parameters("owner", "document_status", "limit", "cursor"),
                ],
                ok=items_of("Document"),
            ),
        )(self.list)
        app.get(
            _PATH,
            **operation(
                "Read a document, the latest version unless another is asked for",
                parameters=[*place, *version],
                ok=ref("Document"),
                errors=(404, 410),
            ),
        )(self.read)
        app.put(
            _PATH,
            **operation(
                "Save a new version",
                parameters=[*place, *version, *parameters("If-Match", "If-None-Match")],
                body=body_of("DocumentSaved"),
                ok=ref("Document"),
                errors=(409, 412, 422),
            ),
        )(self.save)
        app.delete(
            _PATH,
            **operation(
                "Forget a document and all its versions",
                parameters=[*place, *version, *parameters("If-Match")],
                ok=None,
                status=204,
                errors=(404, 409, 412),
            ),
        )(self.forget)

    async def list(self, request: Request) -> Response:
        """One page."""
        owner, status, page = questions.documents_question(request.query_params.multi_items())
        found = await self._context.in_thread(
            self._service.list_documents,
            _kind(request),
            owner=owner,
            status=status,
            page=page,
        )
        return present.json_response(present.page(found, present.document))

    async def read(self, request: Request) -> Response:
        """Its version is the ETag."""
        version = questions.version_question(request.query_params.multi_items())
        found: Document = await self._context.in_thread(
            self._service.get_document, *_place(request), version
        )
        tag = _etag(found)
        if version is None and request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return present.json_response(present.document(found), headers={"ETag": tag})

    async def save(self, request: Request) -> Response:
        """`If-Match` or `version` refuses to overwrite what the caller has not seen."""
        expected = _expected(request)
        said = await json_object(request)
        if request.headers.get("if-match") == "*":
            expected = (await self._present(request)).version
        refuse_others(said, _FIELDS | _GIVEN_BACK, "body, owner, status and expires_at")
        if "body" not in said:
            raise InvalidInput("body is missing: the document itself goes there", field="body")
        expires_at = said.get("expires_at")
        try:
            saved: Document = await self._context.in_thread(
                self._service.put_document,
                *_place(request),
                said["body"],
                owner=_text(said, "owner"),
                status=_text(said, "status"),
                expires_at=None
                if expires_at is None
                else parse_time(expires_at, field="expires_at"),
                expected_version=expected,
            )
        except Conflict as error:
            raise _conflict(request, error) from error
        status = 201 if saved.version == 1 else 200
        return present.json_response(present.document(saved), status, {"ETag": _etag(saved)})

    async def _present(self, request: Request) -> Document:
        try:
            return await self._context.in_thread(self._service.get_document, *_place(request))
        except NotFound as error:
            raise PreconditionFailed(
                "If-Match asks for a document that exists, and this one does not", field="If-Match"
            ) from error

    async def forget(self, request: Request) -> Response:
        """With `If-Match` or `version`, only what the caller has seen."""
        expected = _expected(request)
        try:
            await self._context.in_thread(self._service.delete_document, *_place(request), expected)
        except Conflict as error:
            raise _conflict(request, error) from error
        return Response(status_code=204)


def _place(request: Request) -> tuple[str, str]:
    return _kind(request), request.path_params["id"]


def _kind(request: Request) -> str:
    kind: str = request.path_params["kind"]
    if "\0" in kind:
        raise InvalidInput("kind holds a NUL: remove it", field="kind")
    return kind


def _etag(found: Document) -> str:
    return f'"{found.version}"'


def _expected(request: Request) -> int | None:
    """The version the caller has seen: ``If-Match``, ``If-None-Match: *`` (none: 0), or
    ``?version=``.
    """
    version = questions.version_question(request.query_params.multi_items())
    unless = request.headers.get("if-none-match")
    if unless is not None:
        if unless != "*":
            raise InvalidQuery("If-None-Match must be * here", field="If-None-Match")
        return 0
    tag = request.headers.get("if-match")
    if tag is None or tag == "*":
        return version
    match = _TAG.match(tag)
    if match is None:
        raise InvalidQuery('If-Match must be one ETag, like "3"', field="If-Match")
    return int(match[1])


def _text(said: dict[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{name} must be text", field=name)
    if value is not None and "\0" in value:
        raise InvalidInput(f"{name} holds a NUL: remove it", field=name)
    return value


def _conflict(request: Request, error: Conflict) -> Conflict:
    """Another answer for who used the headers than for who used the parameter, whose name it says."""
    for header in ("If-Match", "If-None-Match"):
        if header in request.headers:
            return PreconditionFailed(str(error), field=header)
    return Conflict(str(error), field="version")
