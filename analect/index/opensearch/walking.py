"""Going through an index in order of id: month by month, each from one point in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from heapq import merge
from typing import Any

from analect.index.opensearch.engine import OpenSearch, Refused
from analect.index.opensearch.family import Family
from analect.index.opensearch.mapping import DELETED
from analect.index.projection import kept_hash
from analect.model.errors import AnalectError
from analect.model.ids import RecordId, is_record_id

PAGE = 2_000
MOST_NAMELESS = 10_000
"""Documents without the field ``id`` that one walk takes from a month."""
KEPT = "5m"
"""How long OpenSearch keeps a point in time between two pages."""
_FOUND = "pit_id,hits.hits.sort,hits.hits.fields"
_LIVE = {"bool": {"must_not": [{"exists": {"field": DELETED}}]}}
_NAMED = {"bool": {**_LIVE["bool"], "filter": [{"exists": {"field": "id"}}]}}
_NAMELESS = {"bool": {"must_not": [{"exists": {"field": DELETED}}, {"exists": {"field": "id"}}]}}


def entries(
    family: Family, generation: int | None, after: RecordId | None
) -> Iterator[tuple[RecordId, bytes]]:
    """(id, content hash) of every record in id order, as of its month's beginning.

    Whatever somebody else wrote into the indices does not end the walk: what has no hash has an
    empty one, and what is no record's, or in a month that is not its own, is left out.

    ``generation``: ``None`` is the one that answers. When it is replaced under the walk, or who
    asks takes longer than OpenSearch waits, the walk goes on from where it was.
    """
    last = after
    while True:
        number = family.state().current if generation is None else generation
        names = family.names(number)
        first = "" if last is None else family.index_of(number, last)
        try:
            for name in names:
                if name >= first:
                    for found in _month(family.engine, name, last):
                        if (last is None or found[0] > last) and (
                            is_record_id(found[0]) and family.index_of(number, found[0]) == name
                        ):
                            last = found[0]
                            yield found
        except Refused as error:
            if error.status != 404:
                raise
        else:
            return


def _month(
    engine: OpenSearch, name: str, after: RecordId | None
) -> Iterator[tuple[RecordId, bytes]]:
    engine.request("POST", f"/{name}/_refresh")
    with _point_in_time(engine, name) as pit:
        yield from merge(_named(engine, pit, after), _nameless(engine, pit))


def _named(
    engine: OpenSearch, pit: dict[str, str], after: RecordId | None
) -> Iterator[tuple[RecordId, bytes]]:
    body: dict[str, Any] = {
        "size": PAGE,
        "sort": [{"id": "asc"}],
        "query": _NAMED,
        "docvalue_fields": ["content_hash"],
        "_source": False,
        "stored_fields": "_none_",
        "track_total_hits": False,
    }
    if after is not None:
        body["search_after"] = [after]
    while True:
        answer = engine.request("POST", "/_search", body={**body, "pit": pit}, filter_path=_FOUND)
        found = answer.get("hits", {}).get("hits", ())
        for one in found:
            said = one.get("fields", {}).get("content_hash", (None,))
            yield RecordId(one["sort"][0]), kept_hash(said[0])
        if len(found) < PAGE:
            return
        body["search_after"] = found[-1]["sort"]
        pit["id"] = answer.get("pit_id", pit["id"])


def _nameless(engine: OpenSearch, pit: dict[str, str]) -> list[tuple[RecordId, bytes]]:
    """What was written by hand under a record's id, without the fields of a record."""
    body = {"size": MOST_NAMELESS, "query": _NAMELESS, "_source": False, "pit": pit}
    answer = engine.request("POST", "/_search", body=body, filter_path="hits.hits._id")
    found = answer.get("hits", {}).get("hits", ())
    return sorted((RecordId(one["_id"]), b"") for one in found)


@contextmanager
def _point_in_time(engine: OpenSearch, name: str) -> Iterator[dict[str, str]]:
    """As a search takes it; OpenSearch may name it anew with each answer."""
    answer = engine.request("POST", f"/{name}/_search/point_in_time", keep_alive=KEPT)
    pit = {"id": answer["pit_id"], "keep_alive": KEPT}
    try:
        yield pit
    finally:
        with suppress(AnalectError):  # it ends by itself
            engine.request("DELETE", "/_search/point_in_time", body={"pit_id": [pit["id"]]})
