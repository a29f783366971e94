"""One look at a store: what is wanted is compared with what is there, and what differs applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from pydantic import ValidationError

from analect_operator.ailing import termination_message
from analect_operator.api import Api
from analect_operator.applying import Applier, Plan
from analect_operator.build.children import children as built
from analect_operator.build.environment import secret_names
from analect_operator.build.site import Site
from analect_operator.build.volumes import generated_secret
from analect_operator.build.workloads import SERVING
from analect_operator.children import Children
from analect_operator.conditions import Verdict, no
from analect_operator.errors import ApiError
from analect_operator.fencing import Fencing, fencing
from analect_operator.leaving import left_behind
from analect_operator.losing import Losses, volumes
from analect_operator.migrating import Decision, decide, failed_job
from analect_operator.policies import governing
from analect_operator.pricing import Pricing, live
from analect_operator.reporting import Reporter
from analect_operator.resources import Ref
from analect_operator.runs import explained, runs
from analect_operator.specs.base import GROUP
from analect_operator.specs.store import StoreSpec
from analect_operator.verdicts import EngineState, Looked, paused_verdict, verdicts
from analect_operator.works import restoring
from analect_operator.world import Secrets, World, condition

log = structlog.get_logger(__name__)

PAUSED = f"{GROUP}/paused"
_ASKED = ("Answers", "NotReady")
_PASSING = (0, 429)
"""The API server is away, or asks for patience: nothing to tell anybody."""
_UNASKED = ("NotAsked", "PodReady")
Body = dict[str, Any]


@dataclass(slots=True)
class Memory:
    """What is kept of a store between two looks: itself and what will be left of it, the hashes of its children and what they
    were made from, the names of the Secrets that its pods use, what the dispatcher said, what pods that are not ready
    said, and how many workers the backlog asks for.
    """

    body: Body | None = None
    left: str = ""
    inputs: Any = None
    digests: Mapping[Ref, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    engines: Mapping[str, EngineState] | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What has to be so before pods may change."""

    migration: Decision
    fence: Fencing

    @property
    def held_mode(self) -> str | None:
        """As the status tells it: nothing of a store that was never but Active."""
        return None if self.fence.held == "Active" else self.fence.held

    def verdicts(self, looked: Looked) -> list[Verdict]:
        """All conditions."""
        return verdicts(looked, self.migration.verdict, self.fence.trouble)


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Looks at stores. ``leads`` says whether it is this replica that decides, ``wall`` gives
    microseconds since 1970; without ``pricing`` nobody asks which workers are busy.
    """

    api: Api
    world: World
    children: Children
    secrets: Secrets
    applier: Applier
    reporter: Reporter
    pricing: Pricing | None
    default_image: str
    random_bytes: Callable[[int], bytes]
    leads: Callable[[], bool]
    losses: Losses
    wall: Callable[[], int]
    memories: dict[Ref, Memory] = field(default_factory=dict)

    async def reconcile(self, ref: Ref) -> None:
        """Make the children of the store what it says, and its status what they are.

        Raises:
            ApiError: the API server refused something; the status says so where it can.
        """
        body = self.world.get(ref)
        if body is None or "deletionTimestamp" in body["metadata"]:
            gone = self.memories.pop(ref, None)
            if gone is not None and gone.body is not None:
                await self.reporter.farewell(gone.body, gone.left)
            return
        try:
            spec = StoreSpec.model_validate(body["spec"])
        except ValidationError as error:
            await self._invalid(body, error)
            return
        memory = self.memories.setdefault(ref, Memory())
        asked = self._site(body, spec, memory)
        memory.body, memory.left = body, left_behind(asked)
        decision = await self._explained(
            decide(asked, body.get("status", {}), self.children), asked
        )
        site = replace(asked, image=decision.image, running=decision.running)
        fence = fencing(site, body.get("status", {}), body["metadata"]["generation"], self.children)
        site = replace(site, fenced=fence.held == spec.mode)
        found = Decided(decision, fence)
        lost = await self.losses.found(site, body.get("status", {}))
        if paused(body) or lost is not None:
            await self._report(body, site, found, memory, paused=paused(body), ready=lost)
            return
        try:
            await self._settle(body, site, found, memory)
        except ApiError as error:
            if error.code not in _PASSING and not error.leaving:
                # Said where people look, for it will not go away by itself.
                text = f"the API server refused a part of the store: {error}"
                said = no("Ready", _word(error.reason), text)
                await self._report(body, site, found, memory, ready=said)
            raise
        await self._report(body, site, found, memory)

    def uses(self, store: Ref, secrets: AbstractSet[str]) -> bool:
        """Whether the pods of a store, as it was last seen, use one of these Secrets."""
        memory = self.memories.get(store)
        return memory is not None and not memory.secrets.isdisjoint(secrets)

    def _site(self, body: Body, spec: StoreSpec, memory: Memory) -> Site:
        meta = body["metadata"]
        memory.workers = self._workers(meta, spec, memory)
        site = Site(
            name=meta["name"],
            namespace=meta["namespace"],
            uid=meta["uid"],
            spec=spec,
            image=spec.image or self.default_image,
            cluster=self.world.cluster,
            workers=memory.workers,
            writers_stopped=restoring(self.world, Ref.of(body), spec),
        )
        memory.secrets = secret_names(site)
        return self._with_secrets(site, memory.secrets)

    def _with_secrets(self, site: Site, names: Iterable[str]) -> Site:
        digests = {
            name: found
            for name in names
            if (found := self.secrets.digest(site.namespace, name)) is not None
        }
        return replace(site, secrets=digests)

    def _workers(self, meta: Body, spec: StoreSpec, memory: Memory) -> Mapping[str, int]:
        """Numbers that the backlog decided, or, after a start of the operator and while another one
        decides, that there are.
        """
        scaled = [one.name for one in spec.processors if one.autoscaling is not None]
        found = dict(memory.workers) if self.leads() else {}
        probe = Site(meta["name"], meta["namespace"], meta["uid"], spec, "")
        for name in scaled:
            if name in found:
                continue
            if (count := live(self.children, probe, name)) > 0:
                found[name] = count
        return {name: count for name, count in found.items() if name in scaled}

    async def _settle(self, body: Body, site: Site, decided: Decided, memory: Memory) -> None:
        """Make the children what they are to be."""
        if self.secrets.keys(site.namespace, site.secret) is None:
            await self._generate(site)
            # Pods are made with what is in it at once, not without it and then again.
            site = self._with_secrets(site, memory.secrets)
        policy = governing(self.world, Ref.of(body))
        inputs = (
            body["metadata"]["generation"],
            site.image,
            (site.running, site.writers_stopped, site.fenced),
            tuple(site.secrets.items()),
            tuple(site.workers.items()),
            (site.cluster, policy),
        )
        known = memory.inputs == inputs
        if not known or not self.applier.settled(memory.digests, site.uid):
            # Made again rather than kept: a thousand stores are a hundred megabytes of manifests.
            plan = Plan.of(built(site, policy))
            if self.pricing is not None and self.leads():
                await self.pricing.before(site)
            await self.applier.settle(plan, site.uid, known=known)
            memory.inputs, memory.digests = inputs, plan.digests
        for job in (decided.migration.job, decided.fence.job):
            if job is not None:
                await self.applier.ensure(job)

    async def _explained(self, decision: Decision, asked: Site) -> Decision:
        """With the last words of a migration that failed."""
        job = failed_job(decision, asked)
        child = self.children.get(job) if job is not None else None
        if child is None:
            return decision
        said = await termination_message(self.api, asked.namespace, child.uid)
        verdict = replace(decision.verdict, message=f"{decision.verdict.message} {said}".strip())
        return replace(decision, verdict=verdict)

    async def _generate(self, site: Site) -> None:
        """Made once; one that is there stays as it is."""
        try:
            answer = await self.api.create(generated_secret(site, self.random_bytes))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return
        self.secrets.observe(answer, gone=False)

    async def _report(
        self,
        body: Body,
        site: Site,
        decided: Decided,
        memory: Memory,
        *,
        paused: bool = False,
        ready: Verdict | None = None,
    ) -> None:
        """Say what is so; ``ready`` takes the place of what the children would say."""
        before = body.get("status", {}).get("runs", [])
        told = runs(site, self.children, before, self.wall())
        told = await explained(self.api, site, self.children, told, before)
        looked = Looked(site, self.children, self.secrets, memory.engines, memory.words, told)
        found = [_carried(one, body) for one in decided.verdicts(looked)]
        if ready is not None:
            found = [ready, *(one for one in found if one.type != "Ready")]
        await self.reporter.report(
            body,
            paused_verdict(found) if paused else found,
            self._more(body, site, decided) | {"runs": told or None},
        )

    async def _invalid(self, body: Body, error: ValidationError) -> None:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        text = f"spec.{place}: {problem['msg']}; the CRDs may be of another version, apply them"
        await self.reporter.report(body, [no("Ready", "InvalidSpec", text)], {})

    def _more(self, body: Body, site: Site, decided: Decided) -> Body:
        status = body.get("status", {})
        ingest = self.children.get(
            Ref(
                site.namespace, "Deployment", site.called("embedded" if site.embedded else "ingest")
            )
        )
        selector = site.selector("embedded" if site.embedded else "ingest")
        return {
            "endpoints": _endpoints(site),
            "version": decided.migration.image,
            "migratedVersion": decided.migration.migrated,
            "heldMode": decided.held_mode,
            "volumes": volumes(site, self.children, status.get("volumes", {})) or None,
            "schemaVersion": self.memories[Ref.of(body)].schema or status.get("schemaVersion"),
            "replicas": ingest.facts.wanted if ingest else 0,
            "selector": ",".join(f"{name}={value}" for name, value in selector.items()),
        }


def paused(body: Body) -> bool:
    """Whether the store is reported on and not touched."""
    return bool(body["metadata"].get("annotations", {}).get(PAUSED) == "true")


def _carried(verdict: Verdict, body: Body) -> Verdict:
    """What was said before stands where nobody was asked since."""
    before = condition(body, verdict.type)
    if before is not None and verdict.reason in _UNASKED and before["reason"] in _ASKED:
        return Verdict(verdict.type, before["status"], before["reason"], before["message"])
    return verdict


def _endpoints(site: Site) -> dict[str, str]:
    roles = {"http": "embedded"} if site.embedded else {role: role for role in SERVING}
    return {
        name: f"http://{site.called(part)}.{site.namespace}.svc:8080"
        for name, part in roles.items()
    }


def _word(reason: str) -> str:
    return reason if reason.isalpha() else "Refused"
