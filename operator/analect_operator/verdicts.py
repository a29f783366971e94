"""The conditions of a store: what its children and its Secrets say, in sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analect_operator.build import environment as env
from analect_operator.build.embedded import COMPONENT as EMBEDDED
from analect_operator.build.jobs import backup_run, drill_run
from analect_operator.build.site import Site
from analect_operator.build.workloads import processors, worker
from analect_operator.children import Child, Children
from analect_operator.conditions import Verdict, no, yes
from analect_operator.resources import Ref
from analect_operator.world import Secrets

_TITLES = {
    "database": "DatabaseReady",
    "queue": "QueueReady",
    "search": "SearchReady",
    "graph": "GraphReady",
}

FAILING = "PodsFail"
STUCK = "RolloutStuck"
"""Nothing is missed yet, and what was changed does not come about."""
_KINDS = ("daily", "weekly", "monthly")
_INDEXES = ("text", "vectors", "graph")


@dataclass(frozen=True, slots=True)
class EngineState:
    """What the dispatcher says of a server behind the store."""

    ready: bool
    message: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What verdicts are made of. ``words`` say, by component, why its pods are not ready,
    ``runs`` what came of what happens by the clock.
    """

    site: Site
    children: Children
    secrets: Secrets
    engines: Mapping[str, EngineState] | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    runs: Sequence[Mapping[str, Any]] = ()

    def child(self, kind: str, part: str) -> Child | None:
        """A child of the store by kind and part."""
        return self.children.get(Ref(self.site.namespace, kind, self.site.called(part)))


def verdicts(looked: Looked, migrations: Verdict, fenced: Verdict | None = None) -> list[Verdict]:
    """All conditions, `Ready` first. ``fenced``: what is wrong with the mode of the database."""
    ingest = fenced or _ingest(looked)
    if migrations.reason == "Running" and (said := looked.words.get("migrate")) is not None:
        migrations = no(migrations.type, FAILING, f"{migrations.message}; {said}")
    found = [migrations, *_backends(looked), ingest, _workers(looked), _backups(looked)]
    return [_ready(looked.site, found), *found, _paused(paused=False)]


def paused_verdict(before: list[Verdict]) -> list[Verdict]:
    """What is said of a store that is not touched."""
    return [*(one for one in before if one.type != "Paused"), _paused(paused=True)]


def missing_secrets(site: Site, secrets: Secrets) -> list[str]:
    """Sentences about Secrets that are not there, or lack a key; each once."""
    found = {}
    for where, name, key in _needed(site):
        keys = secrets.keys(site.namespace, name)
        if keys is None:
            found[f"{where}: there is no secret {site.namespace}/{name}; create it"] = key
        elif key not in keys:
            found[f"{where}: the secret {site.namespace}/{name} has no key {key}; add it"] = key
    return list(found)


def _needed(site: Site) -> Iterator[tuple[str, str, str]]:
    spec = site.spec
    for part, backend in env.backends(site).items():
        if backend.external is None:
            continue
        if (ref := backend.external.secret_ref) is not None:
            for key in (ref.url_key, ref.username_key, ref.password_key):
                if key is not None:
                    yield f"spec.{part}.external.secretRef", ref.name, key
        if (authority := backend.external.ca) is not None:
            yield f"spec.{part}.external.ca", authority.name, authority.key
    if (store := spec.object_store) is not None and store.secret_ref is not None:
        for key in (store.secret_ref.access_key_id_key, store.secret_ref.secret_access_key_key):
            yield "spec.objectStore.secretRef", store.secret_ref.name, key
    if spec.api_keys is not None:
        yield "spec.apiKeys", spec.api_keys.name, spec.api_keys.key
    if (kek := spec.keys.kek_secret_ref) is not None:
        yield "spec.keys.kekSecretRef", kek.name, kek.key
    for extra in spec.pod_template.env:
        if (named := extra.secret_key_ref) is not None:
            yield f"spec.podTemplate.env {extra.name}", named.name, named.key


def _backends(looked: Looked) -> Iterator[Verdict]:
    site = looked.site
    given = env.backends(site)
    lacking = missing_secrets(site, looked.secrets)
    for part, title in _TITLES.items():
        if part not in given:
            if part in {"database", "queue"}:
                yield yes(title, "Embedded", "it is part of the pod")
            continue
        mine = [text for text in lacking if text.startswith(f"spec.{part}.")]
        if mine:
            yield no(title, "SecretMissing", "; ".join(mine))
        elif given[part].managed is not None and site.servers_stopped:
            text = f"{site.called(part)} rests while spec.mode is Stopped; a Restore wakes it, too"
            yield no(title, "Stopped", text)
        elif given[part].managed is not None and not _up(looked.child("StatefulSet", part)):
            text, said = f"waits for the pod of {site.called(part)}", looked.words.get(part)
            yield (
                no(title, "Starting", text)
                if said is None
                else no(title, FAILING, f"{text}: {said}")
            )
        elif part not in (looked.engines or {}) and given[part].managed is not None:
            yield yes(title, "PodReady", f"the pod of {site.called(part)} is ready")
        elif looked.engines is None or part not in looked.engines:
            yield Verdict(title, "Unknown", "NotAsked", "the dispatcher was not asked yet")
        elif looked.engines[part].ready:
            yield yes(title, "Answers")
        else:
            yield no(title, "NotReady", looked.engines[part].message)


def _up(child: Child | None) -> bool:
    return child is not None and child.facts.ready >= 1


def _ingest(looked: Looked) -> Verdict:
    title, site = "IngestAvailable", looked.site
    if site.stopped:
        return no(title, "Stopped", "spec.mode is Stopped")
    if site.writers_stopped:
        return no(title, "Restoring", "writers rest while a Restore is under way")
    if site.spec.mode == "ReadOnly" and not site.embedded:
        return no(title, "ReadOnly", "spec.mode is ReadOnly")
    parts = tuple(f"spec.{part}." for part in env.backends(site))
    if others := [
        text for text in missing_secrets(site, looked.secrets) if not text.startswith(parts)
    ]:
        # Every pod uses them; those of a server are told of where its condition is.
        return no(title, "SecretMissing", "; ".join(others))
    return _of_deployment(looked, title, EMBEDDED if site.embedded else "ingest")


def _workers(looked: Looked) -> Verdict:
    title, site = "ProcessorsAvailable", looked.site
    if site.stopped:
        return no(title, "Stopped", "spec.mode is Stopped")
    if site.embedded:
        return yes(title, "Embedded", "records are processed in the pod")
    if idle := sorted(_indexed(site) - {one.name for one in processors(site)}):
        text = (
            f"nobody works on {', '.join(idle)}, and records wait for it: add it to "
            "spec.processors, or leave spec.processors out"
        )
        return no(title, "NoWorkers", text)
    parts = ["dispatcher", *(worker(one.name) for one in processors(site))]
    found = [_of_deployment(looked, title, part) for part in parts]
    bad = [one for one in found if not one.true]
    if bad:
        return no(title, bad[0].reason, "; ".join(one.message for one in bad))
    return next((one for one in found if one.reason == STUCK), yes(title, "Available"))


def _indexed(site: Site) -> set[str]:
    """Indexes that the store keeps; an extra variable of the pods may switch one off."""
    settings = env.settings(site) | {
        one.name: one.value or "" for one in site.spec.pod_template.env
    }
    return {name for name in _INDEXES if settings[f"ANALECT_INDEX__{name.upper()}"] == "true"}


def _of_deployment(looked: Looked, title: str, part: str) -> Verdict:
    name = looked.site.called(part)
    child = looked.child("Deployment", part)
    if child is None:
        return no(title, "NotYet", f"{name} is not there yet")
    facts = child.facts
    if facts.message:
        return no(title, "Refused", f"pods of {name} cannot be made: {facts.message}")
    said = looked.words.get(part)
    if facts.ready < facts.wanted:
        text = f"{name}: {facts.ready} of {facts.wanted} pods are ready"
        if said is not None:
            return no(title, FAILING, f"{text}; {said}")
        if facts.ready:
            # Pods of the version before may serve meanwhile.
            return no(title, "Progressing", text)
        text += f"; if it stays so, see `kubectl -n {looked.site.namespace} logs deploy/{name}`"
        return no(title, "Starting" if facts.starting else "Unavailable", text)
    if said is not None and not facts.settled:
        return yes(title, STUCK, f"{name}: pods of before serve, for new ones do not begin: {said}")
    return yes(title, "Available")


def _backups(looked: Looked) -> Verdict:
    title, site = "BackupsHealthy", looked.site
    plan = site.spec.backup
    if plan is None:
        return Verdict(title, "Unknown", "NoBackups", "spec.backup is not given")
    if plan.suspend:
        return no(title, "Suspended", "spec.backup.suspend is true")
    for part, said in (
        *((backup_run(site, kind).part, f"{kind} backup") for kind in _KINDS),
        (drill_run(site).part, "drill"),
    ):
        if (failed := _failure(looked, part)) is not None:
            return no(title, "Failed", f"the last {said} failed: {failed}")
    return yes(title, "AsPlanned")


def _failure(looked: Looked, part: str) -> str | None:
    """How the last run that ended failed; its Job may be gone, or the next one be under way."""
    entry = next((one for one in looked.runs if one["name"] == part), {})
    if entry.get("outcome") == "Failed":
        return str(entry.get("message", ""))
    if entry.get("outcome") != "Running":
        return None
    cron_job = Ref(looked.site.namespace, "CronJob", looked.site.called(part))
    ended = [job for job in looked.children.made_by(cron_job) if job.facts.ended]
    last = max(ended, key=lambda job: job.facts.ended or "", default=None)
    return last.facts.message if last is not None and last.facts.outcome == "Failed" else None


def _ready(site: Site, found: list[Verdict]) -> Verdict:
    if site.stopped and site.writers_stopped:
        text = (
            "a Restore waits or runs, and managed servers run for it; afterwards they rest again, "
            "for spec.mode is Stopped: set it to Active then"
        )
        return no("Ready", "Restoring", text)
    if site.stopped:
        return no("Ready", "Stopped", "spec.mode is Stopped; set it to Active")
    bad = [
        one
        for one in found
        if one.status == "False" and one.type != "BackupsHealthy" and one.reason != "ReadOnly"
    ]
    if not bad:
        stuck = "; ".join(one.message for one in found if one.reason == STUCK)
        return yes("Ready", STUCK if stuck else "AllAvailable", stuck)
    # What nobody but a person can mend is said first: a migration waits for the Secret, too.
    first = next((one for one in bad if one.reason == "SecretMissing"), bad[0])
    return no("Ready", first.reason, f"{first.type}=False: {first.message}")


def _paused(*, paused: bool) -> Verdict:
    if paused:
        text = "the annotation analect.dev/paused is set: nothing is changed until it is removed"
        return yes("Paused", "Annotated", text)
    return no("Paused", "NotPaused", "")
