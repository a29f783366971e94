"""Backup, Restore, Erasure: one Job each, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from analect_operator.ailing import termination_message
from analect_operator.api import Api
from analect_operator.applying import Applier
from analect_operator.build import jobs
from analect_operator.build.environment import backends
from analect_operator.build.jobs import SUBJECT, Run
from analect_operator.build.site import Manifest, Site
from analect_operator.build.workloads import processors, worker
from analect_operator.children import Child, Children
from analect_operator.conditions import Verdict, no, yes
from analect_operator.reporting import Reporter
from analect_operator.resources import Ref
from analect_operator.specs.store import StoreSpec
from analect_operator.specs.work import BackupSpec, ErasureSpec, RestoreSpec
from analect_operator.times import MICROS, micros_of
from analect_operator.world import STORE, Secrets, World, condition, store_of

_FINISHED = ("Succeeded", "Failed")
_FINAL = '"final"'


def restoring(world: World, store: Ref, spec: StoreSpec) -> bool:
    """Whether a Restore into the store waits or runs: writers rest meanwhile. They do not for one
    that has nowhere to restore from.
    """
    return _has_place(spec) and any(
        body.get("status", {}).get("phase") not in _FINISHED
        and not body["spec"].get("dryRun")
        and "deletionTimestamp" not in body["metadata"]
        for body in world.referring(store, "Restore")
    )


@dataclass(frozen=True, slots=True)
class Works:
    """Looks at works. ``wall`` gives microseconds since 1970, ``later`` asks for another look."""

    api: Api
    world: World
    children: Children
    secrets: Secrets
    applier: Applier
    reporter: Reporter
    default_image: str
    wall: Callable[[], int]
    later: Callable[[Ref, float], None]

    def uses(self, ref: Ref, secrets: AbstractSet[str]) -> bool:
        """Whether a work names one of these Secrets."""
        named = (self.world.get(ref) or {}).get("spec", {}).get("subjectSecretRef")
        return named is not None and named["name"] in secrets

    async def reconcile(self, ref: Ref) -> None:
        """Start the Job when it may run, and say what it said when it ended."""
        body = self.world.get(ref)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return
        status = body.get("status", {})
        if status.get("phase") in _FINISHED:
            await self._expire(ref, body)
            return
        site = self._site(body)
        if isinstance(site, Verdict):
            await self._wait(body, site)
            return
        manifest = _owned(jobs.once(site, work_run(site, body), body["metadata"]["uid"]), body)
        # What has begun is not looked at as if it had not: servers come and go beneath it.
        begun = self.children.get(Ref.of(manifest)) is not None
        if not begun and (hindrance := self._hindrance(site, body)) is not None:
            await self._wait(body, hindrance)
            return
        child = await self.applier.ensure(manifest)
        accepted = yes("Accepted", "Started", f"job {manifest['metadata']['name']}")
        more: dict[str, Any] = {"startTime": child.facts.began}
        if child.facts.outcome is None:
            running = no("Complete", "Running", "the job is under way")
            await self.reporter.report(body, [accepted, running], more | {"phase": "Running"})
            return
        said = await termination_message(self.api, ref.namespace, child.uid)
        more |= {
            "phase": child.facts.outcome,
            "completionTime": child.facts.ended,
            "result": said[:4096] or None,
        }
        if child.facts.outcome == "Failed":
            text = f"{child.facts.message} {said}".strip()
            await self.reporter.report(body, [accepted, no("Complete", "Failed", text)], more)
            return
        if ref.kind == "Erasure":
            await self._forget_subject(body, said)
        done = yes("Complete", "Succeeded", _afterwards(site, body))
        await self.reporter.report(body, [accepted, done], more)

    async def _wait(self, body: dict[str, Any], hindrance: Verdict) -> None:
        await self.reporter.report(body, [hindrance, _pending(hindrance)], {"phase": "Waiting"})

    def _site(self, body: dict[str, Any]) -> Site | Verdict:
        """The store to work on, or why there is none yet."""
        store = store_of(body)
        found = self.world.get(store) if store is not None else None
        if store is None or found is None:
            name = body["spec"]["storeRef"]["name"]
            return no("Accepted", "StoreMissing", f"there is no AnalysisStore {name}; create it")
        try:
            spec = StoreSpec.model_validate(found["spec"])
        except ValidationError:
            return no("Accepted", "StoreInvalid", f"the store {store.name} says InvalidSpec")
        status = found.get("status", {})
        image = status.get("migratedVersion") or spec.image or self.default_image
        meta = found["metadata"]
        site = Site(
            name=meta["name"],
            namespace=meta["namespace"],
            uid=meta["uid"],
            spec=spec,
            image=image,
            writers_stopped=restoring(self.world, store, spec),
        )
        migrated = condition(found, "MigrationsApplied")
        if migrated is None or "migratedVersion" not in status:
            return no("Accepted", "StoreNotReady", f"waits for the first migration of {store.name}")
        return site

    def _hindrance(self, site: Site, body: dict[str, Any]) -> Verdict | None:
        """What has to be waited for before the Job may begin."""
        if body["kind"] in {"Backup", "Restore"} and not _has_place(site.spec):
            text = (
                f"the store {site.name} has no place for backups: give it objectStore, or backup with "
                "a volume"
            )
            return no("Accepted", "NoPlace", text)
        if body["kind"] == "Erasure" and (unnamed := self._unnamed(body)) is not None:
            return unnamed
        if body["kind"] == "Restore" and not body["spec"].get("dryRun"):
            store = self.world.get(Ref(site.namespace, STORE, site.name)) or {}
            held = store.get("status", {}).get("heldMode")
            if site.stopped and not site.embedded and held != "Stopped":
                text = f"waits until the database of {site.name} refuses writes"
                return no("Accepted", "WritersStop", text)
            if (busy := self._writers_rest(site)) is not None:
                return busy
        return self._servers_up(site, body["kind"])

    def _unnamed(self, body: dict[str, Any]) -> Verdict | None:
        """An Erasure whose subject is in a Secret that is not there: its pod would wait for it."""
        ref = body["spec"].get("subjectSecretRef")
        if ref is None:
            return None
        name = f"{body['metadata']['namespace']}/{ref['name']}"
        keys = self.secrets.keys(body["metadata"]["namespace"], ref["name"])
        if keys is None:
            return no("Accepted", "SecretMissing", f"there is no secret {name}; create it")
        if ref["key"] not in keys:
            text = f"the secret {name} has no key {ref['key']}; add it"
            return no("Accepted", "SecretMissing", text)
        return None

    def _servers_up(self, site: Site, kind: str) -> Verdict | None:
        """All for a Restore, which makes the indexes again; others need the database."""
        for part, backend in backends(site).items():
            if kind != "Restore" and part != "database":
                continue
            child = self.children.get(Ref(site.namespace, "StatefulSet", site.called(part)))
            if backend.managed is not None and (child is None or not _up(child)):
                rests = "; it rests while spec.mode is Stopped" if site.servers_stopped else ""
                text = f"waits for the pod of {site.called(part)}{rests}"
                return no("Accepted", "ServersDown", text)
        return None

    def _writers_rest(self, site: Site) -> Verdict | None:
        parts = ["embedded"] if site.embedded else ["ingest", "dispatcher"]
        parts += [worker(one.name) for one in processors(site)]
        for part in parts:
            child = self.children.get(Ref(site.namespace, "Deployment", site.called(part)))
            if child is not None and (
                child.facts.wanted or child.facts.ready or not child.facts.settled
            ):
                return no("Accepted", "WritersStop", f"waits until {site.called(part)} has no pod")
        return None

    async def _forget_subject(self, body: dict[str, Any], said: str) -> None:
        """The name of an erased person goes with the final receipt."""
        ref = body["spec"].get("subjectSecretRef")
        if ref is not None and _FINAL in said and '"pending"' not in said:
            await self.api.delete(Ref(body["metadata"]["namespace"], "Secret", ref["name"]))

    async def _expire(self, ref: Ref, body: dict[str, Any]) -> None:
        seconds = body["spec"].get("ttlSecondsAfterFinished", 0)
        ended = body["status"].get("completionTime")
        if not seconds or ended is None:
            return
        left = micros_of(ended) / MICROS + seconds - self.wall() / MICROS
        if left > 0:
            self.later(ref, left)
            return
        await self.api.delete(ref, body["metadata"]["uid"])


def work_run(site: Site, body: dict[str, Any]) -> Run:
    """What `analect` is asked to do for a piece of work."""
    match body["kind"]:
        case "Backup":
            backup = BackupSpec.model_validate(body["spec"])
            return jobs.backup_run(site, backup.kind)
        case "Restore":
            return _restore_run(site, RestoreSpec.model_validate(body["spec"]))
        case _:
            return _erase_run(ErasureSpec.model_validate(body["spec"]))


def _restore_run(site: Site, spec: RestoreSpec) -> Run:
    arguments: tuple[str, ...] = ("restore", jobs.backup_place(site))
    if spec.backup_id is not None:
        arguments = (*arguments, "--id", spec.backup_id)
    if spec.dry_run:
        arguments = (*arguments, "--dry-run")
    elif site.stopped:
        arguments = (*arguments, "--replace")
    return Run("restore", arguments, volumes=jobs.backup_volumes(site))


def _erase_run(spec: ErasureSpec) -> Run:
    if spec.subject_secret_ref is not None:
        ref = spec.subject_secret_ref
        volume = ("subject", SUBJECT, {"secret": {"secretName": ref.name}})
        arguments = ("erase", "subject", "--file", f"{SUBJECT}/{ref.key}", "--yes")
        return Run("erase", arguments, volumes=(volume,))
    if spec.session_id is not None:
        return Run("erase", ("erase", "session", spec.session_id, "--yes"))
    assert spec.thread_id is not None  # noqa: S101  (the API server asks for exactly one)
    return Run("erase", ("erase", "thread", spec.thread_id, "--yes"))


def _has_place(spec: StoreSpec) -> bool:
    plan = spec.backup
    return spec.object_store is not None or (plan is not None and plan.volume is not None)


def _owned(manifest: Manifest, body: dict[str, Any]) -> Manifest:
    """The Job goes with the work, not with the store."""
    owner = manifest["metadata"]["ownerReferences"][0]
    meta = body["metadata"]
    manifest["metadata"]["ownerReferences"] = [
        owner | {"kind": body["kind"], "name": meta["name"], "uid": meta["uid"]}
    ]
    # It is the work that is kept for a while, with the result; the Job can go with it.
    del manifest["spec"]["ttlSecondsAfterFinished"]
    return manifest


def _up(server: Child) -> bool:
    """Whether it runs, and is not about to be stopped or started."""
    return server.facts.settled and 1 <= server.facts.wanted <= server.facts.ready


def _afterwards(site: Site, body: dict[str, Any]) -> str:
    """What is left to be done by a person."""
    if body["kind"] != "Restore" or body["spec"].get("dryRun") or not site.stopped:
        return ""
    return f"{site.name} stays Stopped, so that one can look first; set its spec.mode to Active"


def _pending(waits: Verdict) -> Verdict:
    return no("Complete", "Waiting", waits.message)
