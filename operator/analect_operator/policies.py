"""Which RetentionPolicy governs a store, and what is said of it and of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from analect_operator.ailing import last_line, termination_message
from analect_operator.api import Api
from analect_operator.build import names
from analect_operator.build.jobs import Policy
from analect_operator.children import Children
from analect_operator.conditions import Verdict, no, yes
from analect_operator.reporting import Reporter
from analect_operator.resources import Ref
from analect_operator.runs import next_run
from analect_operator.specs.retention import RetentionSpec
from analect_operator.times import next_tick
from analect_operator.world import POLICY, World, store_of

_SHORT = 1024
_COUNTS = {
    "archived": "archived",
    "compressed": "compressed",
    "deleted": "deleted",
    "bytesFreed": "bytes_freed",
}


def governing(world: World, store: Ref) -> Policy | None:
    """The oldest policy of a store that can be read."""
    for body in world.referring(store, POLICY):
        if "deletionTimestamp" in body["metadata"]:
            continue
        try:
            spec = RetentionSpec.model_validate(body["spec"])
        except ValidationError:
            continue
        return Policy(body["metadata"]["name"], spec)
    return None


@dataclass(frozen=True, slots=True)
class Policies:
    """Looks at policies. ``wall`` gives microseconds since 1970."""

    api: Api
    world: World
    children: Children
    reporter: Reporter
    wall: Callable[[], int]

    async def reconcile(self, ref: Ref) -> None:
        """Say whether the policy is the one that counts, and what its last run did."""
        body = self.world.get(ref)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return
        store = store_of(body)
        assert store is not None  # noqa: S101  (a policy names one)
        accepted = self._accepted(body, store)
        status = body.get("status", {})
        more: dict[str, Any] = {name: status.get(name) for name in ("lastRun", "wouldAffect")}
        if accepted.true:
            cron_job = Ref(store.namespace, "CronJob", names.child(store.name, "retention"))
            more |= await self._last_run(body, cron_job)
            if (child := self.children.get(cron_job)) is not None:
                more["nextRun"] = next_run(child, self.wall())
        if not body["spec"].get("dryRun"):
            del more["wouldAffect"]
        active = _active(body, accepted, self.wall())
        await self.reporter.report(body, [accepted, active], more)

    def _accepted(self, body: dict[str, Any], store: Ref) -> Verdict:
        try:
            RetentionSpec.model_validate(body["spec"])
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            return no("Accepted", "InvalidSpec", f"spec.{place}: {first['msg']}")
        if self.world.get(store) is None:
            text = f"there is no AnalysisStore {store.namespace}/{store.name}; create it"
            return no("Accepted", "StoreMissing", text)
        first_policy = governing(self.world, store)
        if first_policy is not None and first_policy.name != body["metadata"]["name"]:
            text = (
                f"the store {store.name} is governed by the older policy {first_policy.name}; put "
                "the rules into that one, or delete it"
            )
            return no("Accepted", "AnotherPolicy", text)
        return yes("Accepted", "Governs", f"governs the store {store.name}")

    async def _last_run(self, body: dict[str, Any], cron_job: Ref) -> dict[str, Any]:
        ended = [job for job in self.children.made_by(cron_job) if job.facts.ended]
        if not ended:
            return {}
        last = max(ended, key=lambda job: job.facts.ended or "")
        known = body.get("status", {}).get("lastRun", {})
        if known.get("time") == last.facts.ended:
            return {}
        words = await termination_message(self.api, cron_job.namespace, last.uid)
        summary = _summary(words)
        run = {"time": last.facts.ended, "outcome": last.facts.outcome}
        run |= {ours: summary[theirs] for ours, theirs in _COUNTS.items() if theirs in summary}
        if last.facts.outcome == "Failed":
            run["message"] = f"{last.facts.message}: {last_line(words)}"[:_SHORT]
        found: dict[str, Any] = {"lastRun": run}
        if body["spec"].get("dryRun") and "records" in summary:
            found["wouldAffect"] = summary["records"]
        return found


def _summary(words: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(words) if words else {}
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _active(body: dict[str, Any], accepted: Verdict, now: int) -> Verdict:
    if not accepted.true:
        return no("Active", accepted.reason, accepted.message)
    if body["spec"].get("suspend"):
        return no("Active", "Suspended", "spec.suspend is true")
    spec = RetentionSpec.model_validate(body["spec"])
    if next_tick(spec.schedule, spec.time_zone, now) is None:
        text = (
            f"spec.schedule {spec.schedule} is never due in spec.timeZone {spec.time_zone}; mend "
            "either"
        )
        return no("Active", "NeverDue", text)
    if body["spec"].get("dryRun"):
        return yes("Active", "DryRun", "it only plans; spec.dryRun is true")
    return yes("Active", "Scheduled")
