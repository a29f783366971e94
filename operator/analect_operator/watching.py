"""Numbers that are looked up when somebody asks for the metrics."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analect_operator.controller import Controller
from analect_operator.metrics import Metrics
from analect_operator.times import MICROS, micros_of
from analect_operator.world import STORE, conditions


def observed(controller: Controller, metrics: Metrics) -> None:
    """Set the gauges to what is so now."""
    metrics.queue_entries.set(controller.queue.size)
    metrics.queue_age.set(controller.queue.oldest_seconds)
    for informer in controller.informers:
        metrics.watch_age.labels(informer.resource.kind).set(informer.silent_seconds)
    metrics.backup_age.clear()
    found: Counter[tuple[str, str]] = Counter()
    for ref in controller.world.refs(STORE):
        body = controller.world.get(ref)
        for one in conditions(body) if body else ():
            found[one["type"], one["status"]] += 1
        if body is not None and (age := _backup_age(body, controller.wall())) is not None:
            metrics.backup_age.labels(ref.namespace, ref.name).set(age)
    metrics.stores.clear()
    for (type_, status), count in found.items():
        metrics.stores.labels(type_, status).set(count)


def _backup_age(body: dict[str, Any], now: int) -> float | None:
    """Seconds since a backup of the store last ended well; since it was made, if none did."""
    if body["spec"].get("backup") is None:
        return None
    runs = body.get("status", {}).get("runs", [])
    ended = [
        one["lastSuccessTime"]
        for one in runs
        if one["name"].startswith("backup-") and "lastSuccessTime" in one
    ]
    since = max(ended, default=body["metadata"]["creationTimestamp"])
    return (now - micros_of(since)) / MICROS
