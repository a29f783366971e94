"""Leaving nothing of deleted records in the files."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from analect.index.opensearch.family import Family
from analect.index.opensearch.mapping import DELETED
from analect.model.errors import EngineUnavailable

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 60.0
"""OpenSearch keeps deleted documents until every copy of a shard has taken note, which it looks at
twice a minute (see ``retention_lease`` in the settings of an index)."""
TOMBSTONES_KEPT_SECONDS = 24 * 3600
"""Longer than any worker can be late."""
_MERGE_SECONDS = 3600.0
_LOOK_SECONDS = 0.5

Shard = tuple[str, str]
"""Index and number."""


def purge(family: Family, patience: float, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Merge what holds deleted documents, once nobody may ask for them any more. Searches and
    writes go on.

    Args:
        family: of every generation.
        patience: seconds to wait.
        pause: waits so many seconds.

    Raises:
        EngineUnavailable: something is left still; purge again.
    """
    engine = family.engine
    _drop_old_tombstones(family)
    pattern = f"{family.alias}-*"
    engine.request("POST", f"/{pattern}/_refresh")
    engine.request("POST", f"/{pattern}/_flush", wait_if_ongoing="true")
    names, deleted = _deleted(family, pattern)
    waited = 0.0
    while any(_kept_from(family, name, deleted) for name in names):
        if waited >= patience:
            raise EngineUnavailable(
                f"OpenSearch still keeps deleted documents of the {family.kind} index: purge again",
                retry_after=30.0,
            )
        pause(_LOOK_SECONDS)
        waited += _LOOK_SECONDS
    for name in names:
        # A commit before, so that no older one is to be kept; after it, who searches must let go of
        # the files that were merged, and a commit removes them.
        engine.request("POST", f"/{name}/_flush", force="true", wait_if_ongoing="true")
        engine.request(
            "POST", f"/{name}/_forcemerge", only_expunge_deletes="true", timeout=_MERGE_SECONDS
        )
        engine.request("POST", f"/{name}/_refresh")
        engine.request("POST", f"/{name}/_flush", force="true", wait_if_ongoing="true")
    log.info("index purged", index=family.kind, months=len(names))


def _deleted(family: Family, pattern: str) -> tuple[list[str], dict[Shard, int]]:
    """The indices with deleted documents, and the last operation of each of their shards."""
    told = family.engine.request(
        "GET",
        f"/{pattern}/_stats",
        level="shards",
        filter_path="indices.*.total.docs.deleted,indices.*.shards.*.seq_no.max_seq_no",
    )
    found = {
        name: one
        for name, one in told.get("indices", {}).items()
        if one["total"]["docs"]["deleted"]
    }
    last = {
        (name, number): max(copy["seq_no"]["max_seq_no"] for copy in copies)
        for name, one in found.items()
        for number, copies in one["shards"].items()
    }
    return sorted(found), last


def _kept_from(family: Family, name: str, deleted: dict[Shard, int]) -> bool:
    """Whether a copy of a shard may still ask for an operation before the deletions."""
    told = family.engine.request(
        "GET",
        f"/{name}/_stats",
        level="shards",
        filter_path="indices.*.shards.*.retention_leases.leases.retaining_seq_no",
    )
    shards: dict[str, Any] = told.get("indices", {}).get(name, {}).get("shards", {})
    return any(
        lease["retaining_seq_no"] <= deleted.get((name, number), -1)
        for number, copies in shards.items()
        for copy in copies
        for lease in copy.get("retention_leases", {}).get("leases", ())
    )


def _drop_old_tombstones(family: Family) -> None:
    before = family.clock() // 1000 - TOMBSTONES_KEPT_SECONDS * 1000
    family.engine.request(
        "POST",
        f"/{family.alias}-*/_delete_by_query",
        body={"query": {"range": {DELETED: {"lt": before}}}},
        conflicts="proceed",
        refresh="true",
        timeout=_MERGE_SECONDS,
    )
