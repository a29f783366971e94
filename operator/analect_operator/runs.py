"""The last and the next runs of what a store does by the clock."""

from __future__ import annotations

from typing import Any

from analect_operator.build.site import Site
from analect_operator.children import Child, Children
from analect_operator.resources import Ref
from analect_operator.times import next_tick

_PARTS = (
    "archive",
    "backup-daily",
    "backup-monthly",
    "backup-weekly",
    "drill",
    "prune",
    "retention",
)


def runs(
    site: Site, children: Children, before: list[dict[str, Any]], now: int
) -> list[dict[str, Any]]:
    """One entry a CronJob that ran or will run; what a Job said that is gone already stays said.
    ``now`` in microseconds since 1970.
    """
    known = {one["name"]: one for one in before}
    found = []
    for part in _PARTS:
        ref = Ref(site.namespace, "CronJob", site.called(part))
        child = children.get(ref)
        if child is None:
            continue
        jobs = sorted(children.made_by(ref), key=lambda job: job.facts.began or "")
        entry = dict(known.get(part, {"name": part}))
        if jobs:
            last = jobs[-1].facts
            entry |= {"lastTime": last.began, "outcome": last.outcome or "Running"}
            entry["message"] = last.message if last.outcome == "Failed" else None
        elif child.facts.began is not None:
            entry["lastTime"] = child.facts.began
        if child.facts.succeeded_at is not None:
            entry["lastSuccessTime"] = child.facts.succeeded_at
        entry["nextTime"] = next_run(child, now)
        entry = {name: value for name, value in entry.items() if value}
        if len(entry) > 1:
            found.append(entry)
    return found


def next_run(cron_job: Child, now: int) -> str | None:
    """When a CronJob runs next; None while it is suspended."""
    facts = cron_job.facts
    return None if facts.schedule is None else next_tick(facts.schedule, facts.zone, now)
