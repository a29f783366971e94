"""Numbers that are looked up when somebody asks for the metrics."""

from __future__ import annotations

from collections import Counter

from analect_operator.controller import Controller
from analect_operator.metrics import Metrics
from analect_operator.world import STORE, conditions


def observed(controller: Controller, metrics: Metrics) -> None:
    """Set the gauges to what is so now."""
    metrics.queue_entries.set(controller.queue.size)
    metrics.queue_age.set(controller.queue.oldest_seconds)
    for informer in controller.informers:
        metrics.watch_age.labels(informer.resource.kind).set(informer.silent_seconds)
    found: Counter[tuple[str, str]] = Counter()
    for ref in controller.world.refs(STORE):
        body = controller.world.get(ref)
        for one in conditions(body) if body else ():
            found[one["type"], one["status"]] += 1
    metrics.stores.clear()
    for (type_, status), count in found.items():
        metrics.stores.labels(type_, status).set(count)
