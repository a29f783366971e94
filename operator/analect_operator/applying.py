"""Bringing children to what is wanted: server-side apply of what differs, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from analect_operator.api import FIELD_MANAGER, Api
from analect_operator.children import Child, Children
from analect_operator.errors import ApiError
from analect_operator.metrics import Metrics
from analect_operator.projection import wanted_digest
from analect_operator.resources import Ref

log = structlog.get_logger(__name__)

_NEVER_DELETED = frozenset({"PersistentVolumeClaim", "Secret", "Job"})
"""Data goes with its store or not at all; Jobs end by themselves."""
_UNTIL_SCALED = f"{FIELD_MANAGER}-until-scaled"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a store's children are to be: manifests in order, with their hashes."""

    manifests: tuple[dict[str, Any], ...]
    digests: Mapping[Ref, str]

    @classmethod
    def of(cls, manifests: Iterable[dict[str, Any]]) -> Plan:
        """With every hash."""
        kept = tuple(manifests)
        return cls(kept, {Ref.of(one): wanted_digest(one) for one in kept})


class Conflict(ApiError):
    """An object of that name is there and belongs to somebody else."""


class Applier:
    """Compares and applies; at most ``inflight`` calls at a time over all stores."""

    def __init__(
        self, api: Api, children: Children, metrics: Metrics, *, inflight: int = 8
    ) -> None:
        self._api = api
        self._children = children
        self._metrics = metrics
        self._slots = asyncio.Semaphore(inflight)
        self._accepted: dict[Ref, tuple[str, str | None]] = {}

    async def settle(self, plan: Plan, owner: str, *, known: bool) -> bool:
        """Apply what differs, delete what is not wanted any more; whether anything was done.

        ``known`` says that these very manifests were applied before, so that a difference is
        somebody else's doing.

        Raises:
            ApiError: the first refusal, after all others were tried.
        """
        differing = [
            one for one in plan.manifests if self._differs(ref := Ref.of(one), plan.digests[ref])
        ]
        results = await asyncio.gather(
            *(self._apply(one, plan, owner, drifted=known) for one in differing),
            return_exceptions=True,
        )
        surplus = [
            (ref, child)
            for ref, child in self._children.of(owner)
            if ref not in plan.digests and ref.kind not in _NEVER_DELETED and not child.deleting
        ]
        results += await asyncio.gather(
            *(self._delete(ref, child) for ref, child in surplus), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return bool(differing or surplus)

    def settled(self, digests: Mapping[Ref, str], owner: str) -> bool:
        """Whether nothing differs."""
        return not any(self._differs(ref, wanted) for ref, wanted in digests.items()) and all(
            ref in digests or ref.kind in _NEVER_DELETED for ref, _child in self._children.of(owner)
        )

    async def ensure(self, manifest: dict[str, Any]) -> Child:
        """Apply one object unless it is there; a Job, which is never changed."""
        found = self._children.get(Ref.of(manifest))
        if found is not None:
            return found
        async with self._slots:
            return self._children.applied(await self._api.apply(manifest))

    def _differs(self, ref: Ref, wanted: str) -> bool:
        live = self._children.get(ref)
        if live is None:
            return True
        if live.deleting:
            return False
        return live.digest != wanted and self._accepted.get(ref) != (wanted, live.digest)

    async def _apply(
        self, manifest: dict[str, Any], plan: Plan, owner: str, *, drifted: bool
    ) -> None:
        ref = Ref.of(manifest)
        live = self._children.get(ref)
        async with self._slots:
            answer = await self._sent(manifest, ref, live, owner)
        if drifted:
            self._metrics.drift.labels(ref.kind).inc()
            log.info("mended", kind=ref.kind, namespace=ref.namespace, name=ref.name)
        child = self._children.applied(answer)
        if child.digest != plan.digests[ref]:
            # The server wrote it in another form; what it says now is what we said.
            self._accepted[ref] = (plan.digests[ref], child.digest)
            log.debug("form differs", kind=ref.kind, name=ref.name)
        else:
            self._accepted.pop(ref, None)

    async def _sent(
        self, manifest: dict[str, Any], ref: Ref, live: Child | None, owner: str
    ) -> dict[str, Any]:
        if live is not None:
            # Of none it would stay: no autoscaler of Kubernetes begins with that.
            if live.sized and live.facts.wanted and "replicas" not in manifest["spec"]:
                await self._leave_size(manifest, live)
            return await self._api.apply(manifest)
        try:
            # Not by force: what we do not know of may be somebody else's.
            return await self._api.apply(manifest, force=False)
        except ApiError as error:
            if error.reason != "Conflict":
                raise
        found = await self._api.get(ref)
        if found is not None and not _ours(found, owner, manifest):
            raise Conflict(
                409,
                "Taken",
                f"there is a {ref.kind} {ref.name} that belongs to somebody else: rename or "
                "remove it, or give the store another name",
            )
        return await self._api.apply(manifest)

    async def _leave_size(self, manifest: dict[str, Any], live: Child) -> None:
        """The number of pods stays as it is until an autoscaler says another: a field that nobody
        holds any more would go back to 1.
        """
        meta = {name: manifest["metadata"][name] for name in ("name", "namespace")}
        held = {**manifest, "metadata": meta, "spec": {"replicas": live.facts.wanted}}
        await self._api.apply(held, force=False, manager=_UNTIL_SCALED)

    async def _delete(self, ref: Ref, child: Child) -> None:
        async with self._slots:
            await self._api.delete(ref, child.uid)
        self._children.removed(ref)


def _ours(found: dict[str, Any], owner: str, manifest: dict[str, Any]) -> bool:
    owners = found["metadata"].get("ownerReferences", ())
    if "ownerReferences" not in manifest["metadata"]:
        # What outlives its store is taken up again by a store of the same name.
        return any(
            entry["manager"] == "analect-operator"
            for entry in found["metadata"].get("managedFields", ())
        )
    return any(one["uid"] == owner for one in owners)
