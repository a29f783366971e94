"""Questions as OpenSearch reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analect.index.opensearch.mapping import BODY, VECTOR, filter_clauses
from analect.index.protocols import IndexHit
from analect.index.text.expression import Either, Every, Node, Term
from analect.model.errors import InvalidQuery
from analect.model.ids import RecordId, is_record_id
from analect.model.query import RecordFilter
from analect.model.record import NUMBER_FIELDS

if TYPE_CHECKING:
    from analect.index.protocols import Vector

MOST_BEGINNINGS = 10_000
"""Words that the last word of a phrase may be the beginning of."""
NEIGHBOURS = 200
"""Vectors each shard finds at least: more than asked for, for the graph is walked by guess."""
MOST_NEIGHBOURS = 10_000
_ORDER = [{"_score": "desc"}, {"id": "desc"}]


def by_words(
    expression: Node, where: RecordFilter, limit: int, after: tuple[float, RecordId] | None
) -> dict[str, Any]:
    """The body of a search by words."""
    check(where)
    asked = {"bool": {"must": [_node(expression)], "filter": filter_clauses(where)}}
    body = {**_only_ids(limit), "query": asked}
    if after is not None:
        body["search_after"] = list(after)
    return body


def by_meaning(vector: Vector, where: RecordFilter, limit: int) -> dict[str, Any]:
    """The body of a search by a vector of length one; filters hold while the graph is walked."""
    check(where)
    asked: dict[str, Any] = {
        "vector": [float(number) for number in vector],
        "k": min(max(NEIGHBOURS, 2 * limit), MOST_NEIGHBOURS),
    }
    clauses = filter_clauses(where)
    if clauses:
        asked["filter"] = {"bool": {"filter": clauses}}
    return {**_only_ids(limit), "query": {"knn": {VECTOR: asked}}}


def hits(answer: dict[str, Any]) -> list[IndexHit]:
    """The records that were found, as they were ordered; what somebody else wrote is none."""
    found = [one["sort"] for one in answer.get("hits", {}).get("hits", ())]
    return [
        IndexHit(RecordId(id_), float(score)) for score, id_ in found if is_record_id(id_ or "")
    ]


def check(where: RecordFilter) -> None:
    """Whether a filter names what there is.

    Raises:
        InvalidQuery: a number's name is not one of ``NUMBER_FIELDS``.
    """
    for name in where.numbers:
        if name not in NUMBER_FIELDS:
            raise InvalidQuery(f"{name} is not a number that can be filtered by", field=name)


def _only_ids(limit: int) -> dict[str, Any]:
    return {
        "size": limit,
        "sort": _ORDER,
        "_source": False,
        "stored_fields": "_none_",
        "track_total_hits": False,
    }


def _node(node: Node) -> dict[str, Any]:
    match node:
        case Term():
            return _term(node)
        case Every(parts, without):
            asked: dict[str, Any] = {"must": [_node(part) for part in parts]}
            if without:
                asked["must_not"] = [_node(part) for part in without]
            return {"bool": asked}
        case Either(parts):
            should = [_node(part) for part in parts]
            return {"bool": {"should": should, "minimum_should_match": 1}}


def _term(term: Term) -> dict[str, Any]:
    if not term.prefix:
        return {"match_phrase": {BODY: {"query": " ".join(term.words)}}}
    if len(term.words) == 1:
        return {"prefix": {BODY: {"value": term.words[0]}}}
    asked = {"query": " ".join(term.words), "max_expansions": MOST_BEGINNINGS}
    return {"match_phrase_prefix": {BODY: asked}}
