"""Which image the pods may run: a new one only once its migrations are in the database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analect_operator.build.jobs import migration
from analect_operator.build.site import Site
from analect_operator.children import Child, Children
from analect_operator.conditions import Verdict, no, yes
from analect_operator.resources import Ref

_TITLE = "MigrationsApplied"
_FAILED = "MigrationFailed"
_NUMBERS = re.compile(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)$")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the pods run, whether there are any, and the Job that has to run first.

    ``image`` is the one to run now, ``migrated`` the one to write down as migrated.
    """

    image: str
    running: bool
    migrated: str | None
    job: dict[str, Any] | None
    verdict: Verdict


def decide(site: Site, status: Mapping[str, Any], children: Children) -> Decision:
    """Look at what was migrated last, and at the Job where one is needed. ``site.image`` is what
    is asked for.
    """
    wanted = site.image
    before = status.get("migratedVersion")
    if site.embedded:
        verdict = yes(_TITLE, "Embedded", "the pod migrates its own file as it starts")
        return Decision(wanted, True, wanted, None, verdict)
    if before == wanted:
        return Decision(wanted, True, wanted, None, yes(_TITLE, "UpToDate"))
    if before is not None and _older(wanted, before):
        text = (
            f"{wanted} is older than {before}, whose migrations are in the database; an older "
            "version cannot read it: go forward, or restore a backup of then into a new store"
        )
        return Decision(before, True, before, None, no(_TITLE, "DowngradeRefused", text))
    keep = (before or wanted, before is not None, before)
    database = children.get(Ref(site.namespace, "StatefulSet", site.called("database")))
    backend = site.spec.database
    if backend is not None and backend.managed is not None and not _up(database):
        waits = no(_TITLE, "WaitsForDatabase", f"waits for the pod of {site.called('database')}")
        return Decision(*keep, None, waits)
    job = migration(site)
    child = children.get(Ref.of(job))
    if child is not None and child.facts.outcome == "Succeeded":
        return Decision(wanted, True, wanted, None, yes(_TITLE, "UpToDate"))
    if child is not None and child.facts.outcome == "Failed":
        return Decision(*keep, None, _failed(site, child, before))
    return Decision(*keep, job, no(_TITLE, "Running", f"migrations of {wanted} are under way"))


def failed_job(decision: Decision, site: Site) -> Ref | None:
    """The Job whose last words explain the verdict."""
    return Ref.of(migration(site)) if decision.verdict.reason == _FAILED else None


def _failed(site: Site, child: Child, before: str | None) -> Verdict:
    name = migration(site)["metadata"]["name"]
    kept = f"pods stay at {before}" if before else "no pods are started"
    text = (
        f"migrations of {site.image} failed ({child.facts.message}); {kept}. See `kubectl logs "
        f"job/{name}`; it is tried again in five minutes, or at once when the job is deleted"
    )
    return no(_TITLE, _FAILED, text)


def _up(child: Child | None) -> bool:
    return child is not None and child.facts.ready >= 1


def _older(image: str, than: str) -> bool:
    mine, other = _NUMBERS.search(image), _NUMBERS.search(than)
    if mine is None or other is None:
        return False
    return [int(part) for part in mine.groups()] < [int(part) for part in other.groups()]
