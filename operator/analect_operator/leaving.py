"""What stays when a store is deleted, in a sentence for whoever deleted it."""

from __future__ import annotations

from collections.abc import Iterator

from analect_operator.build.environment import backends
from analect_operator.build.site import Site

_HELD = {
    "database": "records in the database of spec.database.external",
    "queue": "keys in the queue of spec.queue.external",
    "search": "indexes in the engine of spec.search.external",
    "graph": "nodes in the graph of spec.graph.external",
}


def left_behind(site: Site) -> str:
    """Children go by their owner references; this goes nowhere by itself."""
    found = list(_left(site))
    return "; ".join(("its pods, jobs and settings go", *found))


def _left(site: Site) -> Iterator[str]:
    if site.spec.deletion_policy == "Retain":
        yield (
            f"by deletionPolicy Retain its volumes and the Secret {site.secret} stay, with the keys "
            "without which no copy of the data can be read"
        )
    for part, backend in backends(site).items():
        if backend.external is not None:
            yield f"{_HELD[part]} stay"
    if site.spec.object_store is not None:
        yield f"files below {site.spec.object_store.url} stay"
