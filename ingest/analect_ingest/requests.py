"""What calls take: small JSON bodies, ids in paths."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import Request

from analect.model.errors import InvalidInput, InvalidQuery, NotFound
from analect.model.ids import RecordId, parse_id
from analect_ingest.admission import Admission
from analect_ingest.bodies import read_body
from analect_ingest.decode import NAMEABLE, decode_value
from analect_ingest.unpack import UnsupportedMedia, unpacker


async def json_object(request: Request) -> dict[str, Any]:
    """The body, an object, admitted and bounded like records are.

    Raises:
        UnsupportedMedia: it is not said to be JSON.
        InvalidQuery: it is not a JSON object.
        TooLarge, Overloaded: as for records.
        Disconnected: nobody is there to hear an answer.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMedia("Content-Type must be application/json", field="Content-Type")
    http = request.app.state.settings.http
    admission: Admission = request.app.state.admission
    unpack = unpacker(request.headers.get("content-encoding"))
    with admission.ticket() as ticket:
        body = await read_body(request.scope, request.receive, ticket, http.max_body_bytes)
        if unpack is not None:
            body = unpack(body, http.max_unpacked_bytes)
        value = decode_value(body)
    if not isinstance(value, dict):
        raise InvalidQuery("the body must be a JSON object", field="body")
    return value


def refuse_others(said: dict[str, Any], known: Collection[str], listed: str) -> None:
    """Refuse a body with a field that is not ``known``.

    Raises:
        InvalidInput: it names the field, where its name is a word, and what is ``listed``.
    """
    for name in said:
        if name not in known:
            field = name if NAMEABLE.match(name) else "(unknown)"
            raise InvalidInput(f"unknown field {field}: there are only {listed} here", field=field)


def record_id_in(request: Request, name: str = "id") -> RecordId:
    """The id in the path; what is no id of ours is nowhere."""
    try:
        return parse_id(request.path_params[name])
    except InvalidInput as error:
        raise NotFound(
            "there is no record with this id: ids are UUIDv7; look for an id of your own with "
            "/v1/records?external_id=",
            field="id",
        ) from error
