"""Whether the database refuses writes, as the mode of the store asks: a Job tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analect_operator.build.jobs import fence
from analect_operator.build.site import Site
from analect_operator.children import Child, Children
from analect_operator.conditions import Verdict, no
from analect_operator.resources import Ref

_TITLE = "IngestAvailable"


@dataclass(frozen=True, slots=True)
class Fencing:
    """``held`` is the mode that the database holds, ``job`` what has to run to change it, and
    ``trouble`` what is to be said of it.
    """

    held: str
    job: dict[str, Any] | None = None
    trouble: Verdict | None = None


def fencing(site: Site, status: Mapping[str, Any], generation: int, children: Children) -> Fencing:
    """Look at what the database was told last, and at the Job where one is needed.

    The one pod of an embedded store is its only writer: there the mode says whether it runs.
    """
    held = status.get("heldMode", "Active")
    if site.embedded or not site.running or held == site.spec.mode:
        return Fencing(held)
    database = children.get(Ref(site.namespace, "StatefulSet", site.called("database")))
    backend = site.spec.database
    if backend is not None and backend.managed is not None and not _up(database):
        return Fencing(held)
    job = fence(site, f"{site.uid}/{generation}")
    child = children.get(Ref.of(job))
    if child is None or child.facts.outcome is None:
        return Fencing(held, job)
    if child.facts.outcome == "Succeeded":
        return Fencing(site.spec.mode)
    text = (
        f"the database still holds the mode {held}: job {job['metadata']['name']} failed "
        f"({child.facts.message}); it is tried again in five minutes, or at once when the job is "
        "deleted"
    )
    return Fencing(held, None, no(_TITLE, "ModeNotHeld", text))


def _up(child: Child | None) -> bool:
    return child is not None and child.facts.ready >= 1
