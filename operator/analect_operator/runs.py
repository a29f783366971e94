"""The last and the next runs of what a store does by the clock."""

from __future__ import annotations

from typing import Any

from analect_operator.ailing import last_line, termination_message
from analect_operator.api import Api
from analect_operator.build.site import Site
from analect_operator.children import Child, Children
from analect_operator.resources import Ref
from analect_operator.times import next_tick

_SHORT = 1024
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
            said = {"lastTime": last.began, "outcome": last.outcome or "Running"}
            if said.items() - entry.items():
                entry |= said
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


async def explained(
    api: Api,
    site: Site,
    children: Children,
    found: list[dict[str, Any]],
    before: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """With the last words of what failed since ``before``.

    Raises:
        ApiError: the API server does not tell them.
    """
    known = {(one["name"], one.get("lastTime")) for one in before if one.get("outcome") == "Failed"}
    for entry in found:
        ref = Ref(site.namespace, "CronJob", site.called(entry["name"]))
        jobs = children.made_by(ref)
        if entry.get("outcome") != "Failed" or not jobs:
            continue
        if (entry["name"], entry.get("lastTime")) not in known:
            last = max(jobs, key=lambda job: job.facts.began or "")
            said = last_line(await termination_message(api, site.namespace, last.uid))
            whole = ": ".join(part for part in (last.facts.message, said) if part)
            entry["message"] = whole[:_SHORT]
    return found


def next_run(cron_job: Child, now: int) -> str | None:
    """When a CronJob runs next; None while it is suspended."""
    facts = cron_job.facts
    return None if facts.schedule is None else next_tick(facts.schedule, facts.zone, now)
