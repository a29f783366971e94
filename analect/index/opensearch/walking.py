"""Going through an index in order of id: month by month, each from one point in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from analect.index.opensearch.engine import OpenSearch, Refused
from analect.index.opensearch.family import Family
from analect.index.opensearch.mapping import DELETED
from analect.model.errors import AnalectError
from analect.model.ids import RecordId

PAGE = 2_000
KEPT = "5m"
"""How long OpenSearch keeps a point in time between two pages."""
_FOUND = "pit_id,hits.hits.sort,hits.hits.fields"


def entries(
    family: Family, generation: int | None, after: RecordId | None
) -> Iterator[tuple[RecordId, bytes]]:
    """(id, content hash) of every record in id order, as of its month's beginning.

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
    pit = engine.request("POST", f"/{name}/_search/point_in_time", keep_alive=KEPT)["pit_id"]
    body: dict[str, Any] = {
        "size": PAGE,
        "sort": [{"id": "asc"}],
        "query": {"bool": {"must_not": [{"exists": {"field": DELETED}}]}},
        "docvalue_fields": ["content_hash"],
        "_source": False,
        "stored_fields": "_none_",
        "track_total_hits": False,
    }
    if after is not None:
        body["search_after"] = [after]
    try:
        while True:
            body["pit"] = {"id": pit, "keep_alive": KEPT}
            answer = engine.request("POST", "/_search", body=body, filter_path=_FOUND)
            found = answer.get("hits", {}).get("hits", ())
            for one in found:
                (content_hash,) = one["fields"]["content_hash"]
                yield RecordId(one["sort"][0]), bytes.fromhex(content_hash)
            if len(found) < PAGE:
                return
            body["search_after"] = found[-1]["sort"]
            pit = answer.get("pit_id", pit)
    finally:
        with suppress(AnalectError):  # it ends by itself
            engine.request("DELETE", "/_search/point_in_time", body={"pit_id": [pit]})
