"""What an index in OpenSearch looks like: fields, analysis, settings.

Text is brought into words by :mod:`analect.index.text.tokens`, the rules of the built-in index, and
OpenSearch only splits at the signs: the same question finds the same records in both, in every
script, needs no plugin, and highlights show what was found.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from analect.index.protocols import Facets
from analect.index.text.tokens import VERSION as TOKEN_RULES
from analect.model.ids import Micros, to_datetime
from analect.model.query import RecordFilter
from analect.model.record import NUMBER_FIELDS, TEXT_FIELDS
from analect.settings import Search

LAYOUT = 1
"""Raise it when fields or settings change: an index of another layout must be rebuilt."""
BODY = "body"
VECTOR = "vector"
DELETED = "deleted"
"""Of a tombstone: milliseconds since the epoch, when the record was deleted."""
PRIORITY = 500

_SIGNS = [chr(code) for code in range(128) if not chr(code).isalnum()]
_LABELS = ("kind", "external_id", *TEXT_FIELDS, "tags", "dimensions")
_BETWEEN = "\x1f"


def text_fields() -> dict[str, Any]:
    """The searched words. Lengths count for the score, as in the built-in index."""
    return {BODY: {"type": "text", "analyzer": "words"}}


def vector_fields(dimension: int) -> dict[str, Any]:
    """One vector of length one. Only the Lucene engine is asked for: it is always there."""
    method = {"name": "hnsw", "space_type": "cosinesimil", "engine": "lucene"}
    return {VECTOR: {"type": "knn_vector", "dimension": dimension, "method": method}}


def meta(*, model: str | None = None, dimension: int | None = None) -> dict[str, Any]:
    """What an index says of itself; another index is not ours to use."""
    if model is None:
        return {"layout": LAYOUT, "words": TOKEN_RULES}
    return {"layout": LAYOUT, "model": model, "dimension": dimension}


def template(
    pattern: str, fields: dict[str, Any], described: dict[str, Any], settings: Search
) -> dict[str, Any]:
    """The index template of one generation: every month that comes is made after it."""
    return {
        "index_patterns": [pattern],
        "priority": PRIORITY,
        "template": {
            "settings": _settings(settings, vectors=VECTOR in fields),
            "mappings": {
                "_meta": {"analect": described},
                "dynamic": False,
                # The truth has the text; what is not kept here cannot leak from here.
                "_source": {"enabled": False},
                "properties": {**_facet_fields(), **fields},
            },
        },
    }


def facet_values(facets: Facets) -> dict[str, Any]:
    """The fields of a record beside what is searched."""
    values: dict[str, Any] = {
        "id": facets.id,
        "occurred_at": iso(facets.occurred_at),
        "content_hash": facets.content_hash.hex(),
        **facets.texts,
        **facets.numbers,
    }
    if facets.tags:
        values["tags"] = facets.tags
    if facets.dimensions:
        values["dimensions"] = [f"{name}{_BETWEEN}{v}" for name, v in facets.dimensions.items()]
    if facets.success is not None:
        values["success"] = facets.success
    return values


def filter_clauses(where: RecordFilter) -> list[dict[str, Any]]:
    """``where`` as clauses that must all hold."""
    clauses: list[dict[str, Any]] = [
        {"term": {name: value}} for name, value in where.equals.items()
    ]
    clauses.extend({"term": {"tags": tag}} for tag in where.tags)
    clauses.extend(
        {"term": {"dimensions": f"{name}{_BETWEEN}{v}"}} for name, v in where.dimensions.items()
    )
    for name, bounds in where.numbers.items():
        asked = {"gte": bounds.minimum, "lte": bounds.maximum}
        given = {sign: value for sign, value in asked.items() if value is not None}
        clauses.append({"range": {name: given}} if given else {"exists": {"field": name}})
    if where.success is not None:
        clauses.append({"term": {"success": where.success}})
    if where.since is not None or where.until is not None:
        times = {"gte": where.since, "lt": where.until}
        given_times = {sign: iso(at) for sign, at in times.items() if at is not None}
        clauses.append({"range": {"occurred_at": given_times}})
    return clauses


def iso(at: Micros) -> str:
    """A time as a date field takes it, to the microsecond."""
    second, micros = divmod(at, 1_000_000)
    return f"{_second(second)}.{micros:06}Z"


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    """Many records are of the same second."""
    return to_datetime(second * 1_000_000).isoformat(timespec="seconds").removesuffix("+00:00")


def _settings(settings: Search, *, vectors: bool) -> dict[str, Any]:
    index: dict[str, Any] = {
        "number_of_shards": settings.shards,
        # Also keeps OpenSearch from waiting with what nobody has asked for lately.
        "refresh_interval": f"{max(1, round(settings.refresh_seconds * 1000))}ms",
        # Walks go in order of id, and find a page by its place.
        "sort.field": "id",
        "sort.order": "asc",
        # Or what was just written is found only when a merge of older segments is done: each refresh
        # waits for it up to ten seconds.
        "merge_on_flush.enabled": False,
        # A purge must reach every segment.
        "merge.policy.expunge_deletes_allowed": 0,
        # How long a copy that is away may catch up by single operations, and so how long deleted
        # documents are kept at least; after that it copies files.
        "soft_deletes.retention_lease.period": "30s",
    }
    if settings.replicas is None:
        index["auto_expand_replicas"] = "0-1"
    else:
        index["number_of_replicas"] = settings.replicas
    if vectors:
        index["knn"] = True
    analysis = {
        "tokenizer": {"words": {"type": "char_group", "tokenize_on_chars": _SIGNS}},
        "analyzer": {"words": {"type": "custom", "tokenizer": "words", "filter": ["lowercase"]}},
    }
    return {"index": index} if vectors else {"index": index, "analysis": analysis}


def _facet_fields() -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": {"type": "keyword", "index": False},
        "content_hash": {"type": "keyword", "index": False},
        "occurred_at": {"type": "date_nanos", "format": "strict_date_optional_time_nanos"},
        "success": {"type": "boolean"},
        DELETED: {"type": "long"},
    }
    fields |= {name: {"type": "keyword"} for name in _LABELS}
    fields |= {name: {"type": "double"} for name in NUMBER_FIELDS}
    return fields
