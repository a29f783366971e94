"""What runs by the clock or once: CronJobs and Jobs, each with a summary for the operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from analect_operator.build import environment as env
from analect_operator.build import names, pods
from analect_operator.build.embedded import COMPONENT as EMBEDDED
from analect_operator.build.site import Manifest, Site
from analect_operator.specs.backends import Resources
from analect_operator.specs.retention import RetentionSpec
from analect_operator.specs.schedules import BackupRetention

RETENTION = "/etc/analect/retention"
_POLICY_FILE = f"{RETENTION}/policy.json"
SUBJECT = "/run/analect/subject"
_RETRIES = 2
_TERMINAL_CODES = (2, 4)
_KEPT_SECONDS = 86400
_DEADLINE_SECONDS = 3600
_MIGRATION_KEPT_SECONDS = 300
"""A failed migration, or change of the mode, is tried again when its Job is gone."""
_REPORTING = 'exec analect "$@" --json >/dev/termination-log'

Volumes = tuple[tuple[str, str, Manifest], ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Something that runs and ends: its part of the names, and the arguments of `analect`."""

    part: str
    arguments: tuple[str, ...]
    resources: Resources = field(default_factory=Resources)
    volumes: Volumes = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """The retention policy that governs a store, and its name."""

    name: str
    spec: RetentionSpec


def backup_place(site: Site) -> str:
    """Where the backups of the store go."""
    store = site.spec.object_store
    plan = site.spec.backup
    if store is not None and not (plan is not None and plan.volume is not None):
        return f"{store.url.rstrip('/')}/backups"
    return env.BACKUPS


def backup_volumes(site: Site) -> Volumes:
    """The volume of the backups, where they have one."""
    plan = site.spec.backup
    if plan is None or plan.volume is None:
        return ()
    claim = {"persistentVolumeClaim": {"claimName": site.called("backups")}}
    return (("backups", env.BACKUPS, claim),)


def backup_run(site: Site, kind: str) -> Run:
    """A backup of one kind; the recovery key is the Secret that holds the key-encryption key."""
    plan = site.spec.backup
    arguments = ("backup", "create", backup_place(site), "--kind", kind)
    return Run(
        f"backup-{kind}",
        (*arguments, "--i-have-the-recovery-key"),
        plan.resources if plan else Resources(),
        backup_volumes(site),
    )


def drill_run(site: Site) -> Run:
    """The newest backup restored into a scratch place."""
    plan = site.spec.backup
    return Run(
        "drill",
        ("drill", backup_place(site)),
        plan.resources if plan else Resources(),
        backup_volumes(site),
    )


def prune_run(site: Site, kept: BackupRetention) -> Run:
    """Backups beyond those to keep, removed."""
    keep = (
        *("--keep-daily", str(kept.daily)),
        *("--keep-weekly", str(kept.weekly)),
        *("--keep-monthly", str(kept.monthly)),
    )
    arguments = ("backup", "prune", backup_place(site), *keep)
    return Run("prune", arguments, volumes=backup_volumes(site))


def cron_jobs(site: Site, policy: Policy | None) -> Iterator[Manifest]:
    """Backups, drill, archive and retention by the clock."""
    plan, archive = site.spec.backup, site.spec.archive
    if plan is not None:
        still = plan.suspend or site.stopped
        for kind, schedule in plan.schedules:
            if schedule is not None:
                yield _cron(site, backup_run(site, kind), schedule, plan.time_zone, suspend=still)
        if plan.drill is not None:
            yield _cron(site, drill_run(site), plan.drill, plan.time_zone, suspend=still)
        if plan.prune is not None:
            kept = plan.retention if policy is None else policy.spec.backups or plan.retention
            yield _cron(site, prune_run(site, kept), plan.prune, plan.time_zone, suspend=still)
    if archive is not None:
        # It ages records too: by the policy, and not while that one only plans.
        rests = policy is not None and (policy.spec.suspend or policy.spec.dry_run)
        still = archive.suspend or site.stopped or rests
        run = archive_run(site, archive.resources, policy)
        yield _cron(site, run, archive.schedule, archive.time_zone, suspend=still)
    if policy is not None:
        yield retention_config(site, policy)
        spec = policy.spec
        still = spec.suspend or site.stopped
        yield _cron(site, retention_run(site, policy), spec.schedule, spec.time_zone, suspend=still)


def retention_run(site: Site, policy: Policy) -> Run:
    """The retention job under this policy."""
    arguments: tuple[str, ...] = ("retention", "run", "--policy", _POLICY_FILE)
    if policy.spec.dry_run:
        # The lines of a plan may be many, and a pod's last words are few.
        arguments = ("retention", "plan", "--totals", "--policy", _POLICY_FILE)
    return Run("retention", arguments, volumes=_policy_volume(site))


def archive_run(site: Site, resources: Resources, policy: Policy | None) -> Run:
    """The daily job, under the same policy."""
    if policy is None:
        return Run("archive", ("archive",), resources)
    return Run("archive", ("archive", "--policy", _POLICY_FILE), resources, _policy_volume(site))


def _policy_volume(site: Site) -> Volumes:
    config = {"configMap": {"name": site.called("retention")}}
    return (("retention", RETENTION, config),)


def retention_config(site: Site, policy: Policy) -> Manifest:
    """The policy in the form that `analect retention` reads."""
    shown = policy.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    # Which store it is for, and how long its backups are kept, is for the operator to know.
    shown = {"name": policy.name} | {
        name: part for name, part in shown.items() if name not in {"storeRef", "backups"}
    }
    text = json.dumps(shown, sort_keys=True)
    return site.manifest(
        "v1", "ConfigMap", "retention", "retention", {"data": {"policy.json": text}}
    )


def once(site: Site, run: Run, key: str) -> Manifest:
    """A Job of its own name for this ``key``."""
    part = f"{run.part}-{names.digest(key)}"
    return site.manifest("batch/v1", "Job", part, run.part, {"spec": _job(site, run)})


def migration(site: Site) -> Manifest:
    """The Job that brings the database to the schema of this image."""
    made = once(site, Run("migrate", ("migrate",)), site.image)
    made["spec"]["ttlSecondsAfterFinished"] = _MIGRATION_KEPT_SECONDS
    return made


def fence(site: Site, key: str) -> Manifest:
    """The Job that has the database hold the mode of the store."""
    made = once(site, Run("mode", ("mode", site.spec.mode)), f"{site.spec.mode}/{key}")
    made["spec"]["ttlSecondsAfterFinished"] = _MIGRATION_KEPT_SECONDS
    return made


def _cron(site: Site, run: Run, schedule: str, zone: str, *, suspend: bool) -> Manifest:
    body = {
        "schedule": schedule,
        "timeZone": zone,
        "suspend": suspend,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": _DEADLINE_SECONDS,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {
            "metadata": {"labels": site.labels(run.part)},
            "spec": _job(site, run),
        },
    }
    return site.manifest("batch/v1", "CronJob", run.part, run.part, {"spec": body})


def _job(site: Site, run: Run) -> Manifest:
    command = ["sh", "-c", _REPORTING, "analect", *run.arguments]
    template = pods.template(
        site, run.part, command, run.resources, serves=False, more_volumes=run.volumes, job=True
    )
    if site.embedded:
        # Its files are on a volume of one node.
        beside = {"labelSelector": {"matchLabels": site.selector(EMBEDDED)}}
        term = {**beside, "topologyKey": "kubernetes.io/hostname"}
        template["spec"]["affinity"] = {
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 100, "podAffinityTerm": term}
                ]
            }
        }
    return {
        "backoffLimit": _RETRIES,
        # What `analect` says will not work like this is not tried again.
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": "analect",
                        "operator": "In",
                        "values": [*_TERMINAL_CODES],
                    },
                }
            ]
        },
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "template": template,
    }
