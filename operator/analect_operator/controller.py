"""The loop: watches feed one queue, workers take from it, one Lease says who may write."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from analect_operator.api import Api
from analect_operator.applying import Applier
from analect_operator.asking import Asker
from analect_operator.build.site import MANAGER, Cluster
from analect_operator.children import Child, Children
from analect_operator.dispatchers import Dispatchers
from analect_operator.errors import ApiError
from analect_operator.informer import Informer
from analect_operator.lease import Lease, NotLeading
from analect_operator.losing import Losses
from analect_operator.metrics import Metrics
from analect_operator.policies import Policies
from analect_operator.pricing import Pricing
from analect_operator.queue import WorkQueue
from analect_operator.reconciling import Reconciler
from analect_operator.reporting import Reporter
from analect_operator.resources import CHILDREN, LEASES, OPTIONAL, OWN, SECRETS, Ref
from analect_operator.settings import OperatorOptions
from analect_operator.works import Works
from analect_operator.world import POLICY, STORE, WORKS, Secrets, World, store_of

log = structlog.get_logger(__name__)

_MANAGED = {"labelSelector": f"app.kubernetes.io/managed-by={MANAGER}"}
_NO_RELEASES = {"fieldSelector": "type!=helm.sh/release.v1"}
_DISCOVER_SECONDS = 60.0
_STOP_SECONDS = 3.0
_NONE: frozenset[str] = frozenset()


@dataclass(slots=True)
class Controller:
    """Everything of one running operator. ``wall`` gives microseconds since 1970; ``synced`` says
    whether all is known that decisions stand on.
    """

    api: Api
    options: OperatorOptions
    metrics: Metrics
    wall: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    world: World = field(init=False)
    queue: WorkQueue[Ref] = field(init=False)
    children: Children = field(init=False)
    secrets: Secrets = field(init=False)
    lease: Lease = field(init=False)
    dispatchers: Dispatchers = field(init=False)
    pricing: Pricing = field(init=False)
    stores: Reconciler = field(init=False)
    policies: Policies = field(init=False)
    works: Works = field(init=False)
    broken: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    synced: bool = field(init=False, default=False)
    informers: list[Informer] = field(init=False, default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(init=False, default_factory=list)
    _changed: defaultdict[str, set[str]] = field(
        init=False, default_factory=lambda: defaultdict(set)
    )
    _workers: list[asyncio.Task[None]] = field(init=False, default_factory=list)
    _owed: set[Ref] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        loop, options = asyncio.get_running_loop(), self.options
        self.world = World(Cluster(operator=options.namespace, runbooks=options.runbooks_url))
        self.queue = WorkQueue(loop.time, random.random)
        self.children = Children(self._child_changed)
        self.secrets = Secrets(self._secret_changed)
        ref = Ref(options.namespace, "Lease", options.lease)
        self.lease = Lease(
            self.api,
            ref,
            options.identity,
            self.wall,
            self.metrics,
            on_lead=self._settle_debts,
            on_deaf=self._listen_anew,
        )
        self.api.guard(self.lease.remaining)
        reporter = Reporter(
            self.api, partial(self.observe, gone=False), options.identity, self.wall
        )
        applier = Applier(self.api, self.children, self.metrics)
        self.dispatchers = Dispatchers(self.api, self.secrets, options.service_url)
        self.pricing = Pricing(self.api, self.children, self.dispatchers)
        self.stores = Reconciler(
            api=self.api,
            world=self.world,
            children=self.children,
            secrets=self.secrets,
            applier=applier,
            reporter=reporter,
            pricing=self.pricing if options.poll_seconds else None,
            default_image=options.image,
            random_bytes=self.random_bytes,
            leads=lambda: self.lease.leads,
            losses=Losses(self.api, self.children, self.secrets, self.queue.add),
            wall=self.wall,
        )
        self.policies = Policies(self.api, self.world, self.children, reporter, self.wall)
        self.works = Works(
            api=self.api,
            world=self.world,
            children=self.children,
            secrets=self.secrets,
            applier=applier,
            reporter=reporter,
            default_image=options.image,
            wall=self.wall,
            later=self.queue.add,
        )

    async def start(self) -> None:
        """Begin to watch and to work; returns at once."""
        self._spawn(self.lease.run())
        self._spawn(self._begin())

    async def stop(self) -> None:
        """Finish what is under way, give the Lease up, watch nothing any more."""
        for task in self._workers:
            task.cancel()
        await asyncio.wait(self._workers, timeout=_STOP_SECONDS) if self._workers else None
        with suppress(ApiError):
            await self.lease.release()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def observe(self, body: dict[str, Any], gone: bool) -> None:
        """An event of one of our own resources."""
        if self.world.observe(body, gone=gone):
            ref = Ref.of(body)
            self.queue.add(ref)
            store = ref if ref.kind == STORE else store_of(body)
            if store is not None:
                self._related(store)

    def _related(self, store: Ref) -> None:
        """A store, and what names it, depend on one another."""
        self.queue.add(store)
        for kind in (POLICY, *WORKS):
            for body in self.world.referring(store, kind):
                if kind == POLICY or body.get("status", {}).get("phase") in {None, "Waiting"}:
                    self.queue.add(Ref.of(body))

    async def _begin(self) -> None:
        for resource in OWN.values():
            self._watch(resource, self.observe, {})
        for resource in CHILDREN:
            self._watch(resource, self.children.observe, _MANAGED)
        self._watch(SECRETS, self.secrets.observe, _NO_RELEASES)
        selectors = {"fieldSelector": f"metadata.name={self.options.lease}"}
        self._informer(LEASES, self.lease.observe, selectors, self.options.namespace)
        await self._discovered()
        for informer in self.informers:
            await informer.synced.wait()
        log.info("synced", kinds=len(self.informers))
        self.synced = True
        if self.options.poll_seconds:
            self._spawn(self._ask())
        self._workers = [self._spawn(self._work()) for _ in range(self.options.workers)]
        while True:
            await asyncio.sleep(_DISCOVER_SECONDS)
            with suppress(ApiError):
                await self._discover()

    async def _discovered(self) -> None:
        while True:
            try:
                return await self._discover()
            except ApiError as error:
                log.info("waits for the API server", code=error.code)
                await asyncio.sleep(1)

    async def _ask(self) -> None:
        asker = Asker(
            api=self.api,
            dispatchers=self.dispatchers,
            pricing=self.pricing,
            world=self.world,
            stores=self.stores,
            queue=self.queue,
            metrics=self.metrics,
            seconds=self.options.poll_seconds,
            leading=self.lease.leading,
        )
        await asker.run()

    async def _discover(self) -> None:
        """Which kinds there are beside those of Kubernetes itself; they may come and go.

        Raises:
            ApiError: the API server does not say.
        """
        found = set()
        for resource in OPTIONAL:
            if resource.kind in await self.api.kinds(resource.api_version):
                found.add(resource.kind)
        watched = {informer.resource.kind for informer in self.informers}
        for resource in OPTIONAL:
            if resource.kind in found - watched:
                self._watch(resource, self.children.observe, _MANAGED)
        if found != self.world.cluster.kinds:
            self.world.cluster = replace(self.world.cluster, kinds=frozenset(found))
            for ref in self.world.refs(STORE):
                self.queue.add(ref)

    def _watch(self, resource: Any, on_change: Any, selectors: dict[str, str]) -> None:
        for space in self.options.namespaces or (None,):
            self._informer(resource, on_change, selectors, space)

    def _informer(
        self, resource: Any, on_change: Any, selectors: dict[str, str], space: str | None
    ) -> None:
        informer = Informer(
            self.api,
            resource,
            namespace=space,
            on_change=on_change,
            metrics=self.metrics,
            selectors=selectors,
            jitter=random.random,
            silence=self.options.silence_seconds,
        )
        self.informers.append(informer)
        self._spawn(informer.run())

    async def _work(self) -> None:
        """Look at one after another, whether this replica leads or not: one that stands by looks as
        the leader does, writes nothing, and keeps in mind what it would have written. So it has to
        look at little when it takes over.
        """
        while True:
            key = await self.queue.take()
            started = asyncio.get_running_loop().time()
            outcome = "done"
            try:
                await self._look(key)
            except NotLeading:
                outcome = "not_leading"
                self.queue.done(key)
                if self.world.get(key) is not None:
                    self._owed.add(key)
                if self.lease.leads:
                    self._settle_debts()
            except ApiError as error:
                outcome = self._refused(key, error)
            except Exception:
                # One resource that breaks the code must not stop the others.
                outcome = "failed"
                self.queue.failed(key)
                log.exception("look failed", kind=key.kind, namespace=key.namespace, name=key.name)
            else:
                self.queue.done(key)
                self._owed.discard(key)
            self.metrics.reconciles.labels(key.kind, outcome).inc()
            self.metrics.reconcile_seconds.observe(asyncio.get_running_loop().time() - started)
            # A look that finds nothing to do waits for nobody, and there may be thousands.
            await asyncio.sleep(0)

    def _listen_anew(self) -> None:
        """One watch is deaf, and the others may be, which have nothing to be proved by: something in
        between forgot its connections. To go on from where they are costs a call each.
        """
        for informer in self.informers:
            informer.listen_anew()

    def _settle_debts(self) -> None:
        """Look again at what was left to the leader."""
        for key in self._owed:
            self.queue.add(key)
        self._owed.clear()

    def _refused(self, key: Ref, error: ApiError) -> str:
        if error.leaving:
            # What goes with its namespace is not fought for; the watch tells when it is gone.
            self.queue.done(key)
            return "leaving"
        wait = self.queue.failed(key, error.retry_after or 0.0)
        log.info(
            "refused",
            kind=key.kind,
            namespace=key.namespace,
            name=key.name,
            code=error.code,
            reason=error.reason,
            again_in=round(wait, 1),
        )
        return "refused"

    async def _look(self, key: Ref) -> None:
        if key.kind == STORE:
            await self.stores.reconcile(key)
        elif key.kind == POLICY:
            await self.policies.reconcile(key)
        else:
            await self.works.reconcile(key)

    def _child_changed(self, ref: Ref, child: Child) -> None:
        owner = self.children.owner_of(ref, child)
        found = self.world.by_uid(owner) if owner is not None else None
        if child.instance is not None:
            # What outlives its store has no owner.
            found = self.world.labelled(ref.namespace, child.instance)
        if found is None:
            return
        self.queue.add(found)
        if ref.kind == "Job" and child.maker is not None:
            for body in self.world.referring(found, POLICY):
                self.queue.add(Ref.of(body))
        if ref.kind in {"Deployment", "StatefulSet"}:
            for body in self.world.referring(found, "Restore"):
                self.queue.add(Ref.of(body))

    def _secret_changed(self, ref: Ref) -> None:
        # Many come at once when a list is read: the stores are gone through once for all of them.
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._secrets_changed)
        self._changed[ref.namespace].add(ref.name)

    def _secrets_changed(self) -> None:
        """Look again at those that use one of them: a namespace may hold a thousand stores, each
        with Secrets of its own.
        """
        for ref in self.world.refs(STORE):
            if self.stores.uses(ref, self._changed.get(ref.namespace, _NONE)):
                self.queue.add(ref)
        for ref in self.world.refs("Erasure"):
            if self.works.uses(ref, self._changed.get(ref.namespace, _NONE)):
                self.queue.add(ref)
        self._changed.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A part that ends by itself is broken, and half an operator is worse than a new one."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("broken", part=task.get_name(), error=type(error).__name__)
            self.broken.set()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task
