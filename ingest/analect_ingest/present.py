"""What goes out: bytes of JSON, straight from the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from analect.model.flat import format_time, to_flat
from analect.model.query import Annotation, Change, Document, Hit, Page, SearchPage, Subgraph
from analect.model.record import IngestResult, Record, Rejection

T = TypeVar("T")

_encoder = msgspec.json.Encoder(enc_hook=str)


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of JSON."""
    return Response(_encoder.encode(body), status, headers, "application/json")


def encode(body: Any) -> bytes:
    """JSON of anything made of the kinds below."""
    return _encoder.encode(body)


def page(found: Page[T], present: Callable[[T], Any]) -> dict[str, Any]:
    """``items`` and ``next``."""
    return {"items": [present(item) for item in found.items], "next": found.next}


def record(found: Record) -> dict[str, Any]:
    """The flat object."""
    return to_flat(found)


def change(found: Change) -> dict[str, Any]:
    """``{"cursor", "operation", "id", "record"}``; a deletion has no record."""
    body: dict[str, Any] = {
        "cursor": found.cursor,
        "operation": found.operation,
        "id": found.record_id,
    }
    if found.record is not None:
        body["record"] = to_flat(found.record)
    return body


def annotation(found: Annotation) -> dict[str, Any]:
    """A conclusion; what was not said is left out."""
    said = {
        "processor": found.processor,
        "processor_version": found.processor_version,
        "name": found.name,
        "value": found.value,
        "text": found.text,
        "confidence": found.confidence,
    }
    return {name: value for name, value in said.items() if value is not None}


def search(found: SearchPage) -> dict[str, Any]:
    """Hits, best first; ``degraded`` when an index was down, and then the ``reason``."""
    body = {
        "items": [_hit(hit) for hit in found.items],
        "next": found.next,
        "degraded": found.degraded,
    }
    return body if found.reason is None else {**body, "reason": found.reason}


def _hit(hit: Hit) -> dict[str, Any]:
    body: dict[str, Any] = {
        "record": to_flat(hit.record),
        "score": hit.score,
        "highlights": hit.highlights,
    }
    if hit.explanation is not None:
        body["explanation"] = hit.explanation
    return body


def subgraph(found: Subgraph) -> dict[str, Any]:
    """Nodes and edges, each with the records it comes from."""
    nodes = [
        {"type": n.type, "key": n.key, "distance": n.distance, "records": n.records}
        for n in found.nodes
    ]
    edges = [
        {"source": e.source, "target": e.target, "type": e.type, "records": e.records}
        for e in found.edges
    ]
    return {"nodes": nodes, "edges": edges, "truncated": found.truncated}


def document(found: Document) -> dict[str, Any]:
    """A document with its body; what was not said is left out."""
    body: dict[str, Any] = {"kind": found.kind, "id": found.id, "version": found.version}
    if found.owner is not None:
        body["owner"] = found.owner
    if found.status is not None:
        body["status"] = found.status
    body["created_at"] = format_time(found.created_at)
    body["updated_at"] = format_time(found.updated_at)
    if found.expires_at is not None:
        body["expires_at"] = format_time(found.expires_at)
    body["body"] = found.body
    return body


def rejections(found: Iterable[Rejection]) -> list[dict[str, Any]]:
    """``{"index", "id", "error", "code", "field"}`` of every refused item."""
    return [
        {
            "index": one.index,
            "id": one.id,
            "error": named(one),
            "code": one.code,
            "field": one.field,
        }
        for one in found
    ]


def named(one: Rejection) -> str:
    """The message, which names the field."""
    if one.field is None or one.field in one.message:
        return one.message
    return f"{one.field}: {one.message}"


def ingested(result: IngestResult, *, indexed: bool | None) -> dict[str, Any]:
    """What became of a batch; ``indexed`` only where it was waited for."""
    body: dict[str, Any] = {
        "accepted": result.accepted,
        "duplicates": result.duplicates,
        "rejected": rejections(result.rejected),
        "ids": result.ids,
    }
    if indexed is not None:
        body["indexed"] = indexed
    return body
