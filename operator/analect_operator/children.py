"""What is known of the live children: not the objects, but what is compared and reported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from sys import intern
from typing import Any

from analect_operator.projection import live_digest, sized
from analect_operator.resources import Ref
from analect_operator.specs.base import GROUP

Uid = str
INSTANCE = "app.kubernetes.io/instance"
_BEGINS = frozenset({"NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated"})
"""Later it is NewReplicaSetAvailable, or ProgressDeadlineExceeded."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a status is made of: pods wanted, current and ready of a workload, and whether they begin
    for the first time; how a Job ended; when a CronJob last ran, and when it does: nothing while it
    is suspended.
    """

    wanted: int = 0
    current: int = 0
    ready: int = 0
    settled: bool = True
    starting: bool = False
    outcome: str | None = None
    began: str | None = None
    ended: str | None = None
    succeeded_at: str | None = None
    message: str = ""
    schedule: str | None = None
    zone: str = "Etc/UTC"


@dataclass(frozen=True, slots=True)
class Child:
    """A live object: its version, its hash in the fields that are ours, and its facts. ``maker``
    is the CronJob that made a Job; ``sized`` says that the number of pods is ours; ``volume`` is
    what a claim is bound to, ``instance`` the label by which one that nobody owns is known.
    """

    uid: Uid
    version: int
    digest: str | None
    owner: Uid | None
    owner_kind: str | None
    deleting: bool
    facts: Facts
    maker: str | None = None
    sized: bool = False
    volume: str | None = None
    instance: str | None = None


class Children:
    """All live children by name and by owner; ``on_change`` hears of the owners' uids."""

    def __init__(self, on_change: Callable[[Ref, Child], None]) -> None:
        self._on_change = on_change
        self._live: dict[Ref, Child] = {}
        self._owned: defaultdict[Uid, set[Ref]] = defaultdict(set)
        self._made: defaultdict[Ref, set[Ref]] = defaultdict(set)

    def get(self, ref: Ref) -> Child | None:
        """The live child, or None."""
        return self._live.get(ref)

    def of(self, owner: Uid) -> list[tuple[Ref, Child]]:
        """The children of this owner."""
        return [(ref, self._live[ref]) for ref in self._owned.get(owner, ())]

    def made_by(self, cron_job: Ref) -> list[Child]:
        """The Jobs that a CronJob made and that are still there."""
        return [self._live[ref] for ref in self._made.get(cron_job, ())]

    def owner_of(self, ref: Ref, child: Child) -> Uid | None:
        """The uid of the resource of ours that a child belongs to, by way of a CronJob too."""
        if child.owner is None and child.maker is not None:
            cron_job = self._live.get(Ref(ref.namespace, "CronJob", child.maker))
            return cron_job.owner if cron_job else None
        return child.owner

    def observe(self, item: dict[str, Any], gone: bool) -> None:
        """An event of a watch."""
        ref = Ref.of(item)
        before = self._live.get(ref)
        if gone:
            if before is not None:
                self._forget(ref, before)
                self._on_change(ref, before)
            return
        if before is not None and int(item["metadata"]["resourceVersion"]) <= before.version:
            return
        after = _child(item)
        self._remember(ref, after)
        if before is None or _differ(before, after):
            self._on_change(ref, after)

    def applied(self, item: dict[str, Any]) -> Child:
        """The answer to an apply of our own, which may come after what the watch says happened
        since; later events up to its version are no news.
        """
        ref, child = Ref.of(item), _child(item)
        before = self._live.get(ref)
        if before is None or before.version < child.version:
            self._remember(ref, child)
        return child

    def removed(self, ref: Ref) -> None:
        """We deleted it."""
        if (before := self._live.get(ref)) is not None:
            self._forget(ref, before)

    def _remember(self, ref: Ref, child: Child) -> None:
        if (before := self._live.get(ref)) is not None:
            self._forget(ref, before)
        self._live[ref] = child
        if child.owner is not None:
            self._owned[child.owner].add(ref)
        if child.maker is not None:
            self._made[Ref(ref.namespace, "CronJob", child.maker)].add(ref)

    def _forget(self, ref: Ref, child: Child) -> None:
        del self._live[ref]
        if child.owner is not None:
            _discard(self._owned, child.owner, ref)
        if child.maker is not None:
            _discard(self._made, Ref(ref.namespace, "CronJob", child.maker), ref)


def _discard(index: dict[Any, set[Ref]], key: Uid | Ref, ref: Ref) -> None:
    index[key].discard(ref)
    if not index[key]:
        del index[key]


def _differ(before: Child, after: Child) -> bool:
    return (before.uid, before.digest, before.owner, before.deleting, before.facts) != (
        after.uid,
        after.digest,
        after.owner,
        after.deleting,
        after.facts,
    )


def _child(item: dict[str, Any]) -> Child:
    meta = item["metadata"]
    owners: list[dict[str, Any]] = meta.get("ownerReferences", [])
    owner = next((one for one in owners if one["apiVersion"].startswith(GROUP)), None) or {}
    maker = next((one for one in owners if one["kind"] == "CronJob"), None) or {}
    claim = item["kind"] == "PersistentVolumeClaim"
    return Child(
        uid=meta["uid"],
        version=int(meta["resourceVersion"]),
        digest=live_digest(item),
        owner=owner.get("uid"),
        owner_kind=owner.get("kind"),
        deleting="deletionTimestamp" in meta,
        facts=_facts(item),
        maker=maker.get("name"),
        sized=item["kind"] == "Deployment" and sized(item),
        volume=item["spec"].get("volumeName") if claim else None,
        instance=meta.get("labels", {}).get(INSTANCE) if claim and not owner else None,
    )


def _facts(item: dict[str, Any]) -> Facts:
    spec, status = item.get("spec", {}), item.get("status", {})
    match item["kind"]:
        case "Deployment" | "StatefulSet":
            return Facts(
                wanted=spec.get("replicas", 1),
                current=status.get("updatedReplicas", 0),
                ready=status.get("readyReplicas", 0),
                settled=status.get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
                and status.get("replicas", 0) == status.get("updatedReplicas", 0),
                starting=_starting(status),
                message=_complaint(status),
            )
        case "Job":
            return _of_job(status, item["metadata"])
        case "CronJob":
            return Facts(
                began=status.get("lastScheduleTime"),
                succeeded_at=status.get("lastSuccessfulTime"),
                schedule=None if spec.get("suspend") else intern(spec["schedule"]),
                zone=intern(spec.get("timeZone", "Etc/UTC")),
            )
        case _:
            return Facts()


def _of_job(status: dict[str, Any], meta: dict[str, Any]) -> Facts:
    ended = next(
        (
            one
            for one in status.get("conditions", ())
            if one["type"] in {"Complete", "Failed"} and one["status"] == "True"
        ),
        None,
    )
    return Facts(
        outcome=ended and ("Succeeded" if ended["type"] == "Complete" else "Failed"),
        began=status.get("startTime", meta.get("creationTimestamp")),
        ended=ended and ended.get("lastTransitionTime"),
        message=(ended or {}).get("message", ""),
    )


def _starting(status: dict[str, Any]) -> bool:
    """Whether a Deployment brings up pods of this kind for the first time, and still may."""
    return not any(
        one["type"] == "Progressing" and one.get("reason") not in _BEGINS
        for one in status.get("conditions", ())
    )


def _complaint(status: dict[str, Any]) -> str:
    """Why pods cannot be made: a quota, an admission controller."""
    for one in status.get("conditions", ()):
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            return str(one.get("message", ""))
    return ""
