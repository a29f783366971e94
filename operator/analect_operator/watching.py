"""Numbers that are looked up when somebody asks for the metrics."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analect_operator.controller import Controller
from analect_operator.metrics import Labels, Metrics
from analect_operator.specs.schedules import Thresholds
from analect_operator.times import MICROS, micros_of
from analect_operator.world import STORE, conditions


def observed(controller: Controller, metrics: Metrics) -> None:
    """Set the gauges to what is so now."""
    metrics.queue_entries.set(controller.queue.size)
    metrics.queue_age.set(controller.queue.oldest_seconds)
    for informer in controller.informers:
        metrics.watch_age.labels(informer.resource.kind).set(informer.silent_seconds)
    backups: dict[Labels, float] = {}
    limits: dict[Labels, float] = {}
    retentions: dict[Labels, float] = {}
    found: Counter[tuple[str, str, str]] = Counter()
    for ref in controller.world.refs(STORE):
        body = controller.world.get(ref)
        if body is None:
            continue
        for one in conditions(body):
            found[one["type"], one["status"], one["reason"]] += 1
        if body["spec"].get("mode") == "Stopped":
            # Nothing fires in it, and nothing becomes old.
            continue
        now, labels = controller.wall(), (ref.namespace, ref.name)
        if body["spec"].get("backup") is not None:
            backups[labels] = _age(body, "backup-", now)
            limits[labels] = _limit(body)
        if any(one["name"] == "retention" and "lastTime" in one for one in _runs(body)):
            retentions[labels] = _age(body, "retention", now)
    metrics.tell(metrics.backup_age, backups)
    metrics.tell(metrics.backup_limit, limits)
    metrics.tell(metrics.retention_age, retentions)
    metrics.stores.clear()
    for (type_, status, reason), count in found.items():
        metrics.stores.labels(type_, status, reason).set(count)


def _runs(body: dict[str, Any]) -> list[dict[str, Any]]:
    """What ran by the clock, and how it last ended."""
    found: list[dict[str, Any]] = body.get("status", {}).get("runs", [])
    return found


def _limit(body: dict[str, Any]) -> float:
    """The store's own threshold, in seconds."""
    said = body["spec"].get("monitoring", {}).get("thresholds", {})
    return float(said.get("backupAgeSeconds", Thresholds().backup_age_seconds))


def _age(body: dict[str, Any], run: str, now: int) -> float:
    """Seconds since such a run last ended well; since the store was made, if none did."""
    ended = [
        one["lastSuccessTime"]
        for one in _runs(body)
        if one["name"].startswith(run) and "lastSuccessTime" in one
    ]
    since = max(ended, default=body["metadata"]["creationTimestamp"])
    return (now - micros_of(since)) / MICROS
