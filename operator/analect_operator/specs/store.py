"""AnalysisStore: one store with its pods, its jobs and what they stand on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from analect_operator.specs.backends import (
    Backend,
    KeyRef,
    Keys,
    ObjectStore,
    Resources,
    Storage,
    spoken,
)
from analect_operator.specs.base import Image, Spec, checked, keyed
from analect_operator.specs.schedules import (
    ArchivePlan,
    BackupPlan,
    Monitoring,
    NetworkPolicies,
    Privacy,
)
from analect_operator.specs.workloads import Dispatcher, PodTemplate, Processor, Serving


class Embedded(Spec):
    """One pod with SQLite on a volume and the built-in indexes."""

    storage: Storage = Field(default=Storage(), description="Its volume.")
    resources: Resources = Field(
        default=Resources(), description="What the pod asks for and may use."
    )


class StoreSpec(Spec):
    """What a store is to be."""

    model_config = checked(
        (
            "has(self.embedded) != has(self.database)",
            "give embedded (one pod, no servers) or database, and not both",
        ),
        (
            "has(self.embedded) || has(self.queue)",
            "beside a database give a queue: external or managed",
        ),
        (
            "!has(self.embedded) || !(has(self.queue) || has(self.search) || has(self.graph))",
            "an embedded store has its own indexes and no queue: leave queue, search and graph out",
        ),
        (
            "has(self.embedded) == has(oldSelf.embedded)",
            (
                "a store cannot change between embedded and database; make a new one and restore a "
                "backup into it"
            ),
        ),
        (
            "!has(self.backup) || has(self.objectStore) || has(self.backup.volume)",
            "backups need a place: give objectStore or backup.volume",
        ),
        (
            "!has(self.archive) || has(self.objectStore) || has(self.embedded)",
            "archived files need a place that all pods reach: give objectStore",
        ),
    )

    image: Image | None = Field(
        default=None, description="Image of the pods; the operator's own version when not given."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When the image is pulled."
    )
    mode: Literal["Active", "ReadOnly", "Stopped"] = Field(
        default="Active",
        description="`ReadOnly`: no writes are taken, reading and indexing go on. `Stopped`: no "
        "pod runs and no schedule fires.",
    )
    embedded: Embedded | None = Field(
        default=None, description="One pod, SQLite on a volume, no other server."
    )
    database: Backend | None = Field(
        default=None,
        json_schema_extra=spoken("postgresql", "postgres"),
        description="The Postgres that holds the truth.",
    )
    queue: Backend | None = Field(
        default=None,
        json_schema_extra=spoken("redis", "rediss"),
        description="The Redis or Valkey between dispatcher and workers.",
    )
    search: Backend | None = Field(
        default=None,
        json_schema_extra=spoken("https", "http"),
        description="The OpenSearch for text and vectors; without it there is no search.",
    )
    graph: Backend | None = Field(
        default=None,
        json_schema_extra=spoken("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"),
        description="The Neo4j for relations; without it there are none.",
    )
    ingest: Serving = Field(default=Serving(), description="The pods that take records.")
    query: Serving = Field(default=Serving(), description="The pods that answer questions.")
    dispatcher: Dispatcher = Field(
        default=Dispatcher(), description="The process that hands work to the workers."
    )
    processors: list[Processor] = Field(
        default=[],
        max_length=16,
        json_schema_extra=keyed("name"),
        description="The workers, a group a processor; those that search and graph need when "
        "not given.",
    )
    object_store: ObjectStore | None = Field(
        default=None, description="A bucket for backups, warm and cold files."
    )
    backup: BackupPlan | None = Field(default=None, description="Backups by the clock.")
    archive: ArchivePlan | None = Field(default=None, description="The daily move into warm files.")
    privacy: Privacy = Field(default=Privacy(), description="What is looked for and what is kept.")
    monitoring: Monitoring = Field(
        default=Monitoring(), description="Metrics, rules and dashboards."
    )
    network_policy: NetworkPolicies = Field(
        default=NetworkPolicies(), description="Who may talk to the pods."
    )
    pod_template: PodTemplate = Field(
        default=PodTemplate(), description="What all pods of the store have in common."
    )
    api_keys: KeyRef | None = Field(
        default=None,
        description="Hashes of the callers' API keys, one a line. The operator makes a first key "
        "when it is not given.",
    )
    keys: Keys = Field(default=Keys(), description="What opens the data.")
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="Whether volumes and keys outlive the store. `Delete` lets them go with it.",
    )
