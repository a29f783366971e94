"""What a store does by the clock, and when somebody is to be told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from analect_operator.specs.backends import Resources, Storage
from analect_operator.specs.base import Cron, Spec, TimeZone


class BackupSchedules(Spec):
    """When backups are written; cron expressions."""

    daily: Cron | None = Field(default="0 2 * * *", description="Daily backups.")
    weekly: Cron | None = Field(default="0 3 * * 0", description="Weekly backups.")
    monthly: Cron | None = Field(default="0 4 1 * *", description="Monthly backups.")


class BackupRetention(Spec):
    """How many backups are kept; the last verified one always is."""

    daily: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=7, description="Daily backups kept."
    )
    weekly: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="Weekly backups kept."
    )
    monthly: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=12, description="Monthly backups kept."
    )


class BackupPlan(Spec):
    """Backups by the clock, to the object store or a volume."""

    schedules: BackupSchedules = Field(
        default=BackupSchedules(), description="When they are written."
    )
    drill: Cron | None = Field(
        default="0 5 * * 1",
        description="When the newest backup is restored into a scratch place as proof.",
    )
    prune: Cron | None = Field(
        default="0 6 * * *", description="When backups beyond those to keep are removed."
    )
    retention: BackupRetention = Field(default=BackupRetention(), description="How many are kept.")
    time_zone: TimeZone = Field(default="Etc/UTC", description="Time zone of the schedules.")
    volume: Storage | None = Field(
        default=None, description="A volume for the backups, where there is no object store."
    )
    resources: Resources = Field(
        default=Resources(), description="What the job asks for and may use."
    )
    suspend: bool = Field(default=False, description="No backups while this is true.")


class ArchivePlan(Spec):
    """The daily move of records into warm and cold files."""

    schedule: Cron = Field(default="30 1 * * *", description="When it runs.")
    time_zone: TimeZone = Field(default="Etc/UTC", description="Time zone of the schedule.")
    resources: Resources = Field(
        default=Resources(), description="What the job asks for and may use."
    )
    suspend: bool = Field(default=False, description="No archiving while this is true.")


_Share = Annotated[float, Field(ge=0, le=1)]
_Seconds = Annotated[int, Field(ge=1, le=31_536_000)]


class Thresholds(Spec):
    """Beyond these somebody is told."""

    avg_response_time_seconds: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=5, description="Average response time of what is stored, in seconds."
    )
    success_rate: _Share = Field(
        default=0.95, description="Share of what is stored that went well."
    )
    database_size_megabytes: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        default=1000, description="Size of the database, in megabytes."
    )
    concurrent_users: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        default=100, description="Sessions at the same time."
    )
    error_rate: _Share = Field(default=0.05, description="Share of what is stored that failed.")
    backlog_age_seconds: _Seconds = Field(
        default=600, description="Age of the oldest work that waits."
    )
    backup_age_seconds: _Seconds = Field(
        default=129600, description="Age of the newest good backup."
    )
    freshness_seconds: _Seconds = Field(default=300, description="Time from stored to found.")


class Monitoring(Spec):
    """Metrics, rules and dashboards; for the Prometheus operator where it is installed."""

    pod_monitor: bool = Field(default=True, description="A PodMonitor, where that kind exists.")
    rules: bool = Field(default=True, description="A PrometheusRule, where that kind exists.")
    scrape_annotations: bool = Field(
        default=True,
        description="`prometheus.io/scrape` and the like on the pods, for a Prometheus that finds "
        "them by these.",
    )
    dashboards: bool = Field(
        default=True, description="Dashboards as labelled ConfigMaps (by the chart)."
    )
    thresholds: Thresholds = Field(default=Thresholds(), description="When somebody is told.")


class NetworkPolicies(Spec):
    """Who may talk to the pods, and to whom they may."""

    enabled: bool = Field(
        default=False,
        description="Close the pods: in only HTTP from the namespaces below and the operator, out "
        "only to one another, to name servers, and to the ports of the store's servers.",
    )
    allow_from_namespaces: Annotated[
        list[
            Annotated[
                str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
            ]
        ],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(
        default=[], description="Namespaces whose pods may call; its own namespace always may."
    )
    allow_to_ports: Annotated[
        list[Annotated[int, Field(ge=1, le=65535)]],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(
        default=[],
        description="Further TCP ports that the pods may call: of a server whose URL stands in a "
        "Secret and has another port than its kind usually has, or is named in podTemplate.env.",
    )


class Privacy(Spec):
    """What is looked for and what is kept."""

    keep_payload: bool = Field(
        default=True, description="Whether input, output, variables and attributes are kept at all."
    )
    names: bool = Field(default=False, description="Whether names of people are looked for too.")
    vault: bool = Field(
        default=False, description="Whether the values behind pseudonyms are kept, sealed."
    )
    omit_services: list[Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^,]+$")]] = (
        Field(
            default=[],
            max_length=100,
            description="Services whose records are kept without those four.",
        )
    )
