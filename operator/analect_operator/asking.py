"""What dispatchers say of their stores: the state of the servers behind them, and the backlog."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import structlog
from pydantic import ValidationError

from analect_operator.api import Api
from analect_operator.build.environment import PORT, backends
from analect_operator.build.site import Site
from analect_operator.build.workloads import processors, worker
from analect_operator.errors import ApiError
from analect_operator.lease import NotLeading
from analect_operator.metrics import Metrics
from analect_operator.queue import WorkQueue
from analect_operator.reconciling import Memory, Reconciler, paused
from analect_operator.resources import PODS, Ref
from analect_operator.settings import OperatorOptions
from analect_operator.specs.store import StoreSpec
from analect_operator.specs.workloads import BacklogAutoscaling, Processor
from analect_operator.verdicts import EngineState
from analect_operator.world import STORE, World

log = structlog.get_logger(__name__)

_SECONDS = 5.0
_CALM = 8
"""So many times in a row the backlog must have asked for fewer workers before one goes."""
_PRICE = "controller.kubernetes.io/pod-deletion-cost"
_ENGINES = {"search": ("search", "vectors")}
"""Words and meaning are one server's."""


@dataclass(slots=True)
class Asker:
    """Asks the dispatcher of every store in turn, while this replica leads; ``leading`` returns
    when it does.
    """

    api: Api
    world: World
    stores: Reconciler
    queue: WorkQueue[Ref]
    metrics: Metrics
    options: OperatorOptions
    leading: Callable[[], Awaitable[None]]
    _keys: dict[Ref, tuple[str, str]] = field(default_factory=dict)
    _calm: dict[tuple[Ref, str], int] = field(default_factory=dict)

    async def run(self) -> None:
        """Ask until cancelled."""
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await asyncio.sleep(self.options.poll_seconds)
                await self.leading()
                await asyncio.gather(*(self._one(session, ref) for ref in self.world.refs(STORE)))

    async def _one(self, session: aiohttp.ClientSession, ref: Ref) -> None:
        body = self.world.get(ref)
        memory = self.stores.memories.get(ref)
        if body is None or memory is None:
            return
        try:
            spec = StoreSpec.model_validate(body["spec"])
            site = Site(ref.name, ref.namespace, body["metadata"]["uid"], spec, "")
            if site.embedded or site.stopped:
                return
            status = await self._status(session, site)
        except (ApiError, ValidationError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.debug("store not asked", store=ref.name, error=type(error).__name__)
            return
        if status is not None:
            await self._learn(ref, site, memory, status, touch=not paused(body))

    async def _status(self, session: aiohttp.ClientSession, site: Site) -> dict[str, Any] | None:
        key = await self._key(site)
        if key is None:
            return None
        address = self.options.service_url.format(
            service=site.called("dispatcher"), namespace=site.namespace, port=PORT
        )
        headers = {"Authorization": f"Bearer {key}"}
        async with session.get(f"{address}/v1/status", headers=headers) as answer:
            if answer.status != 200:
                return None
            found: dict[str, Any] = msgspec.json.decode(await answer.read())
            return found

    async def _key(self, site: Site) -> str | None:
        """The operator's own API key of the store; read again when its Secret changes."""
        ref = Ref(site.namespace, "Secret", site.secret)
        digest = self.stores.secrets.digest(site.namespace, site.secret)
        if digest is None:
            return None
        known = self._keys.get(ref)
        if known is None or known[0] != digest:
            body = await self.api.get(ref)
            if body is None:
                return None
            known = self._keys[ref] = (digest, base64.b64decode(body["data"]["api-key"]).decode())
        return known[1]

    async def _learn(
        self, ref: Ref, site: Site, memory: Memory, status: dict[str, Any], *, touch: bool
    ) -> None:
        backlog = {
            name: int(one.get("entries", 0)) for name, one in status.get("processors", {}).items()
        }
        self.metrics.backlog.labels(ref.namespace, ref.name).set(sum(backlog.values()))
        engines = engine_states(site, status)
        workers = self._workers(ref, site, memory, backlog)
        for name in self._fewer(site, memory, workers, backlog) if touch else ():
            await self._price(site, name, frozenset(status.get("busy", {}).get(name, ())))
        schema = status.get("store", {}).get("schema") or memory.schema
        if (engines, workers, schema) != (memory.engines, memory.workers, memory.schema):
            memory.engines, memory.workers, memory.schema = engines, workers, schema
            self.queue.add(ref)

    def _fewer(
        self, site: Site, memory: Memory, workers: Mapping[str, int], backlog: Mapping[str, int]
    ) -> list[str]:
        """Processors of which a worker is about to go: now, or, where KEDA decides when, at any
        moment while the backlog asks for fewer than there are.
        """
        if not self.world.cluster.keda:
            return [name for name, count in memory.workers.items() if count > workers[name]]
        return [
            one.name
            for one in processors(site)
            if one.autoscaling is not None
            and wanted_workers(one.autoscaling, backlog.get(one.name, 0)) < self._live(site, one)
        ]

    def _live(self, site: Site, processor: Processor) -> int:
        """How many workers its Deployment is to have."""
        ref = Ref(site.namespace, "Deployment", site.called(worker(processor.name)))
        child = self.stores.children.get(ref)
        return 0 if child is None else child.facts.wanted

    async def _price(self, site: Site, processor: str, busy: frozenset[str]) -> None:
        """Of its workers, those that have a job at hand are the last to go."""
        selector = ",".join(f"{k}={v}" for k, v in site.selector(worker(processor)).items())
        try:
            for pod in await self.api.items(PODS, site.namespace, labelSelector=selector):
                meta = pod["metadata"]
                price = "1" if meta["name"] in busy else "0"
                if meta.get("annotations", {}).get(_PRICE, "0") != price:
                    ref = Ref(site.namespace, "Pod", meta["name"])
                    await self.api.annotate(ref, {_PRICE: price})
        except (ApiError, NotLeading) as error:
            # A worker that is told to go finishes its job in any case.
            log.debug("workers not priced", store=site.name, error=type(error).__name__)

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


def wanted_workers(scaling: BacklogAutoscaling, entries: int) -> int:
    """As many workers as have their share of the backlog."""
    return min(max(math.ceil(entries / scaling.target_backlog), scaling.min), scaling.max)


def engine_states(site: Site, status: Mapping[str, Any]) -> dict[str, EngineState]:
    """Each server behind the store, as the dispatcher sees it: in words where it is not well."""
    said = status.get("engines", {})
    found = {}
    for part in backends(site):
        answers = [said[name] for name in _ENGINES.get(part, (part,)) if name in said]
        if not answers:
            continue
        bad = next((one for one in answers if one["state"] != "ok"), None)
        message = "" if bad is None else bad.get("message") or f"it is {bad['state']}"
        found[part] = EngineState(bad is None, message)
    return found
