"""What is asked of stores again and again: their dispatchers for the state of the servers behind them
and the backlog, and pods that are not ready for the reason.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog
from pydantic import ValidationError

from analect_operator.ailing import complaints
from analect_operator.api import Api
from analect_operator.build import names
from analect_operator.build.environment import backends
from analect_operator.build.site import Site
from analect_operator.build.workloads import processors
from analect_operator.children import INSTANCE, Child
from analect_operator.dispatchers import Dispatchers, Engine, Status
from analect_operator.errors import ApiError
from analect_operator.metrics import Metrics
from analect_operator.pricing import Pricing, live
from analect_operator.queue import WorkQueue
from analect_operator.reconciling import Memory, Reconciler, paused
from analect_operator.resources import PODS, Ref
from analect_operator.specs.store import StoreSpec
from analect_operator.specs.workloads import BacklogAutoscaling
from analect_operator.verdicts import EngineState
from analect_operator.world import STORE, World

log = structlog.get_logger(__name__)

_CALM = 8
"""So many times in a row the backlog must have asked for fewer workers before one goes."""
_ENGINES = {"search": ("search", "vectors")}
"""Words and meaning are one server's."""


@dataclass(slots=True)
class Asker:
    """Asks every ``seconds``, while this replica leads; ``leading`` returns when it does."""

    api: Api
    dispatchers: Dispatchers
    pricing: Pricing
    world: World
    stores: Reconciler
    queue: WorkQueue[Ref]
    metrics: Metrics
    seconds: float
    leading: Callable[[], Awaitable[None]]
    _calm: dict[tuple[Ref, str], int] = field(default_factory=dict)
    _heard: dict[Ref, frozenset[str]] = field(default_factory=dict)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(self.seconds)
            await self.leading()
            await asyncio.gather(*(self._one(ref) for ref in self.world.refs(STORE)))

    async def _one(self, ref: Ref) -> None:
        body = self.world.get(ref)
        memory = self.stores.memories.get(ref)
        if body is None or memory is None:
            return
        try:
            spec = StoreSpec.model_validate(body["spec"])
            site = Site(ref.name, ref.namespace, body["metadata"]["uid"], spec, "")
            await self._listen(ref, site, memory)
            if site.embedded or site.stopped:
                return
            status = await self.dispatchers.status(site)
            if status is not None:
                await self._learn(ref, site, memory, status, touch=not paused(body))
        except (ApiError, ValidationError) as error:
            log.debug("store not asked", store=ref.name, error=type(error).__name__)

    async def _listen(self, ref: Ref, site: Site, memory: Memory) -> None:
        """What pods say, where some are not ready, or not those that there are to be. What is said
        once may be of a beginning: a volume that is not bound yet, a server that is not up.
        """
        heard: Mapping[str, str] = {}
        if any(
            _unfinished(kind, child)
            for (_space, kind, _name), child in self.stores.children.of(site.uid)
        ):
            mine = f"app.kubernetes.io/name=analect,{INSTANCE}={names.label(ref.name)}"
            heard = complaints(await self.api.items(PODS, ref.namespace, labelSelector=mine))
        before, self._heard[ref] = self._heard.get(ref, frozenset()), frozenset(heard)
        words = {component: said for component, said in heard.items() if component in before}
        if words != memory.words:
            memory.words = words
            self.queue.add(ref)

    async def _learn(
        self, ref: Ref, site: Site, memory: Memory, status: Status, *, touch: bool
    ) -> None:
        backlog = {name: one.entries for name, one in status.processors.items()}
        self.metrics.backlog.labels(ref.namespace, ref.name).set(sum(backlog.values()))
        engines = engine_states(site, status.engines)
        workers = self._workers(ref, site, memory, backlog)
        if touch and self.world.cluster.keda:
            await self.pricing.tell(site, self._fewer(site, backlog), status)
        schema = status.store.schema or memory.schema
        if (engines, workers, schema) != (memory.engines, memory.workers, memory.schema):
            memory.engines, memory.workers, memory.schema = engines, workers, schema
            self.queue.add(ref)

    def _fewer(self, site: Site, backlog: Mapping[str, int]) -> list[str]:
        """Processors of which KEDA may let a worker go at any moment, for the backlog asks for fewer
        than there are.
        """
        return [
            one.name
            for one in processors(site)
            if one.autoscaling is not None
            and wanted_workers(one.autoscaling, backlog.get(one.name, 0))
            < live(self.stores.children, site, one.name)
        ]

    def _workers(
        self, ref: Ref, site: Site, memory: Memory, backlog: Mapping[str, int]
    ) -> dict[str, int]:
        found = dict(memory.workers)
        for one in processors(site):
            if one.autoscaling is None:
                continue
            now = found.get(one.name, max(one.autoscaling.min, 1))
            wanted = wanted_workers(one.autoscaling, backlog.get(one.name, 0))
            calm = self._calm.get((ref, one.name), 0) + 1 if wanted < now else 0
            if wanted > now:
                found[one.name] = wanted
            elif calm >= _CALM:
                found[one.name], calm = now - 1, 0
            self._calm[ref, one.name] = calm
        return found


def _unfinished(kind: str, child: Child) -> bool:
    """Pods that are to come, or a Job that has not ended."""
    facts = child.facts
    if kind == "Job":
        return facts.outcome is None
    return facts.ready < facts.wanted or not facts.settled


def wanted_workers(scaling: BacklogAutoscaling, entries: int) -> int:
    """As many workers as have their share of the backlog."""
    return min(max(math.ceil(entries / scaling.target_backlog), scaling.min), scaling.max)


def engine_states(site: Site, said: Mapping[str, Engine]) -> dict[str, EngineState]:
    """Each server behind the store, as the dispatcher sees it: in words where it is not well."""
    found = {}
    for part in backends(site):
        answers = [said[name] for name in _ENGINES.get(part, (part,)) if name in said]
        if not answers:
            continue
        bad = next((one for one in answers if one.state != "ok"), None)
        message = "" if bad is None else bad.message or f"it is {bad.state}"
        found[part] = EngineState(bad is None, message)
    return found
