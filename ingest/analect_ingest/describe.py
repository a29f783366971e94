"""The pieces of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from analect.model.ids import EARLIEST
from analect.model.query import DEFAULT_LIMIT, MAX_LIMIT, TIERS
from analect.model.record import MAX_SHORT, NUMBER_FIELDS, TEXT_FIELDS
from analect_ingest.questions import MODES, SHORT_NAMES

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "maxLength": MAX_SHORT}
_TIME: Schema = {
    "type": "string",
    "format": "date-time",
    "description": "RFC 3339 with a zone.",
}
_CURSOR: Schema = {"type": "string", "description": "`next` of the page before."}
_LIMIT: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_LIMIT,
    "default": DEFAULT_LIMIT,
}
_UUID: Schema = {"type": "string", "format": "uuid"}

_QUERY: dict[str, Schema] = {
    "by": {
        "type": "string",
        "maxLength": 4096,
        "description": "Names between commas: fields, `hour`, `day`, `month` (UTC), `dim.NAME`.",
    },
    "after": {"type": "string", "description": "Where to go on: a cursor, or a record's id."},
    "cursor": _CURSOR,
    "dedupe": {"enum": ["content"]},
    "depth": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
    "document_status": _TEXT,
    "explain": {"type": "boolean", "default": False},
    "limit": _LIMIT,
    "mode": {"enum": list(MODES), "default": MODES[0]},
    "omit": {"enum": ["payload"]},
    "order": {"enum": ["desc", "asc"], "default": "desc"},
    "owner": _TEXT,
    "q": {
        "type": "string",
        "minLength": 1,
        "maxLength": 4096,
        "description": 'Words that must all match; `"a phrase"`, `prefix*`, `-without`, `a OR b`.',
    },
    "steps": {"type": "integer", "minimum": 1, "maximum": 20, "default": 6},
    "tier": {
        "enum": list(TIERS),
        "description": "Hot and warm records together when not given; a list of `cold` ones needs `from` and "
        "`to`.",
    },
    "timeout": {"type": "number", "minimum": 0, "maximum": 3600, "default": 10},
    "version": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "wait": {"enum": ["indexed"]},
}
_HEADERS = frozenset({"If-Match", "If-None-Match", "Last-Event-ID"})
_REQUIRED = frozenset({"q"})
_RENAMED = {"document_status": "status"}


def parameters(*names: str, path: str | None = None) -> list[Schema]:
    """Parameters by name: of the query, or headers where they are that; or one of the path."""
    if path is not None:
        return [{"name": path, "in": "path", "required": True, "schema": {"type": "string"}}]
    return [
        {"name": name, "in": "header", "schema": {"type": "string"}}
        if name in _HEADERS
        else {
            "name": _RENAMED.get(name, name),
            "in": "query",
            "required": name in _REQUIRED,
            "schema": _QUERY[name],
        }
        for name in names
    ]


def _filters() -> list[Schema]:
    shown = [next((s for s, long in SHORT_NAMES.items() if long == n), n) for n in TEXT_FIELDS]
    texts = [(name, _TEXT) for name in ("kind", "external_id", *shown)]
    numbers = [
        (prefix + name, {"type": "number"})
        for name in NUMBER_FIELDS
        for prefix in ("", "min_", "max_")
    ]
    plain = [
        *texts,
        ("tag", {"type": "array", "items": _TEXT}),
        ("success", {"type": "boolean"}),
        ("from", _TIME),
        ("to", _TIME),
        *numbers,
    ]
    described = [{"name": name, "in": "query", "schema": schema} for name, schema in plain]
    dimension = {
        "name": "dim.NAME",
        "in": "query",
        "description": "A dimension by its name, for example `dim.language=de`.",
        "schema": _TEXT,
    }
    return [*described, dimension]


FILTERS = _filters()


def ref(name: str) -> Schema:
    """A schema by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def items_of(name: str) -> Schema:
    """A list: ``items`` and ``next``."""
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": ref(name)},
            "next": {"type": ["string", "null"], "description": "Cursor of the next page."},
        },
    }


def event_stream() -> Schema:
    """Marks an answer that is a stream of events."""
    return {"type": "string", "x-media-type": "text/event-stream"}


def body_of(name: str) -> Schema:
    """A JSON body."""
    return {"required": True, "content": {"application/json": {"schema": ref(name)}}}


def operation(
    summary: str,
    *,
    parameters: Sequence[Schema] = (),
    body: Schema | None = None,
    ok: Schema | None,
    status: int = 200,
    errors: Sequence[int] = (),
) -> dict[str, Any]:
    """Keyword arguments of a FastAPI route whose parameters it does not read itself."""
    described = described_operation(
        summary, parameters=parameters, body=body, ok=ok, status=status, errors=errors
    )
    return {
        "summary": summary,
        "response_model": None,
        "response_class": Response,
        "status_code": status,
        "openapi_extra": described,
    }


def described_operation(
    summary: str,
    *,
    parameters: Sequence[Schema] = (),
    body: Schema | None = None,
    ok: Schema | None,
    status: int = 200,
    errors: Sequence[int] = (),
) -> Schema:
    """One operation of the document."""
    media = "application/json" if ok is None else ok.get("x-media-type", "application/json")
    good: Schema = {"description": summary}
    if ok is not None:
        shown = {key: value for key, value in ok.items() if key != "x-media-type"}
        good["content"] = {media: {"schema": shown}}
    codes = {400, 401, 422, 503, *errors} | ({413, 415, 429} if body else set())
    described: Schema = {
        "summary": summary,
        "responses": {
            str(status): good,
            **{str(code): {"$ref": "#/components/responses/Problem"} for code in sorted(codes)},
        },
    }
    if parameters:
        described["parameters"] = list(parameters)
    if body is not None:
        described["requestBody"] = body
    return described


def components(*, with_keys: bool) -> Schema:
    """Schemas and the one response that all errors share."""
    found: Schema = {
        "schemas": _schemas(),
        "responses": {
            "Problem": {
                "description": "A problem (RFC 9457); `code` is for programs.",
                "content": {"application/problem+json": {"schema": ref("Problem")}},
            }
        },
    }
    if with_keys:
        found["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return found


def _schemas() -> dict[str, Schema]:
    return {**_of_records(), **_of_searches(), **_of_judgements(), **_of_documents(), **_PROBLEM}


def _of_records() -> dict[str, Schema]:
    said = _record_fields()
    record = {
        **said,
        "id": _UUID,
        "received_at": _TIME,
        "payload_state": {"enum": ["open", "omitted", "erased", "sealed"]},
        "tier": {"type": "string"},
    }
    required = ["id", "kind", "occurred_at", "received_at"]
    return {
        "NewRecord": {"type": "object", "properties": said, "additionalProperties": False},
        "Record": {"type": "object", "required": required, "properties": record},
        "Ingested": _object(
            accepted={"type": "integer"},
            duplicates={"type": "integer"},
            rejected={"type": "array", "items": ref("Rejection")},
            ids={"type": "array", "items": {"type": ["string", "null"]}},
        ),
        "Rejection": _object(
            index={"type": "integer"},
            id={"type": ["string", "null"]},
            error={"type": "string"},
            code={"type": "string"},
            field={"type": ["string", "null"]},
        ),
        "Change": {
            "type": "object",
            "required": ["cursor", "operation", "id"],
            "properties": {
                "cursor": {"type": "string"},
                "operation": {"enum": ["put", "delete"]},
                "id": _UUID,
                "record": ref("Record"),
            },
        },
    }


def _of_searches() -> dict[str, Schema]:
    hit = {
        "record": ref("Record"),
        "score": {"type": "number"},
        "highlights": {"type": "array", "items": {"type": "string"}},
        "explanation": {"type": "object", "additionalProperties": {"type": "number"}},
    }
    return {
        "SearchPage": {
            "type": "object",
            "required": ["items", "next", "degraded"],
            "properties": {
                "items": {"type": "array", "items": {"type": "object", "properties": hit}},
                "next": {"type": ["string", "null"]},
                "degraded": {"type": "boolean"},
                "reason": {"type": "string"},
            },
        },
        "Search": _search(),
        "Subgraph": _object(
            nodes={"type": "array", "items": {"type": "object"}},
            edges={"type": "array", "items": {"type": "object"}},
            truncated={"type": "boolean"},
        ),
        "Figures": _figures(),
        "TagCount": _object(tag=_TEXT, records={"type": "integer"}),
    }


def _figures() -> Schema:
    count: Schema = {"type": "integer", "minimum": 0}
    mean: Schema = {"type": ["number", "null"]}
    return _object(
        group={"type": "object"},
        records=count,
        successes=count,
        failures=count,
        input_tokens=count,
        output_tokens=count,
        cost=mean,
        ratings=count,
        rating_mean=mean,
        timed=count,
        duration_mean=mean,
        duration_min=mean,
        duration_max=mean,
    )


def _of_judgements() -> dict[str, Schema]:
    return {
        "Feedback": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {
                "rating": {"type": "integer", "minimum": 1, "maximum": 5},
                "score": {"type": "number"},
                "label": _TEXT,
                "comment": {"type": "string"},
            },
        },
        "FeedbackStored": _object(id=_UUID),
        "Annotation": {
            "type": "object",
            "required": ["processor", "processor_version", "name"],
            "properties": {
                "processor": {"type": "string"},
                "processor_version": {"type": "integer"},
                "name": {"type": "string"},
                "value": {"type": "string"},
                "text": {"type": "string"},
                "confidence": {"type": "number"},
            },
        },
    }


def _of_documents() -> dict[str, Schema]:
    any_json: Schema = {"description": "Text or JSON."}
    return {
        "Document": {
            "type": "object",
            "required": ["kind", "id", "version", "created_at", "updated_at", "body"],
            "properties": {
                "kind": {"type": "string"},
                "id": {"type": "string"},
                "version": {"type": "integer"},
                "owner": {"type": "string", "description": "A pseudonym."},
                "status": {"type": "string"},
                "created_at": _TIME,
                "updated_at": _TIME,
                "expires_at": _TIME,
                "body": any_json,
            },
        },
        "DocumentSaved": {
            "type": "object",
            "required": ["body"],
            "properties": {
                "body": any_json,
                "owner": _TEXT,
                "status": _TEXT,
                "expires_at": _TIME,
            },
        },
    }


_PROBLEM: dict[str, Schema] = {
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "field": {"type": "string"},
        },
    },
}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _search() -> Schema:
    named = {name: _QUERY[name] for name in ("q", "mode", "explain", "after", "limit", "cursor")}
    filters = {one["name"]: one["schema"] for one in FILTERS if not one["name"].startswith("dim.")}
    dimensions: Schema = {"type": "object", "additionalProperties": _TEXT}
    return {
        "type": "object",
        "required": ["q"],
        "properties": {**named, **filters, "dimensions": dimensions},
    }


def _record_fields() -> dict[str, Schema]:
    """What a caller may say of a record."""
    count: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
    payload: Schema = {"description": "Text or JSON, at most 64 levels deep."}
    return {
        "id": {
            "type": "string",
            "description": "A UUIDv7 of the millisecond of `occurred_at`, or any other string "
            "(then `occurred_at` is needed); made here when left out.",
        },
        "external_id": {"type": "string", "maxLength": 512},
        "kind": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "default": "interaction"},
        "occurred_at": {
            **_TIME,
            "description": f"RFC 3339 with a zone; from {EARLIEST // 31_556_952_000_000 + 1970} "
            "to one day ahead.",
        },
        **dict.fromkeys(TEXT_FIELDS, _TEXT),
        "success": {"type": "boolean"},
        "duration_ms": {"type": "number", "minimum": 0},
        "input_tokens": count,
        "output_tokens": count,
        "cost": {"type": "number"},
        "rating": {"type": "integer", "minimum": 1, "maximum": 5},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "turn": count,
        "tags": {"type": "array", "items": _TEXT, "maxItems": 64},
        "dimensions": {"type": "object", "additionalProperties": _TEXT, "maxProperties": 16},
        "measures": {
            "type": "object",
            "additionalProperties": {"type": "number"},
            "maxProperties": 32,
        },
        **dict.fromkeys(("input", "output", "variables", "attributes"), payload),
    }
