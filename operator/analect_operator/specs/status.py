"""What the operator says of a resource; moving numbers are metrics and not here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from analect_operator.specs.base import Spec, keyed

Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
Short = Annotated[str, Field(max_length=1024)]


class Condition(Spec):
    """One question and its answer, as everywhere in Kubernetes."""

    type: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="The question.")
    status: Literal["True", "False", "Unknown"] = Field(description="The answer.")
    observed_generation: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Generation of the spec that was looked at."
    )
    last_transition_time: Time = Field(description="When the answer changed.")
    reason: Annotated[
        str,
        Field(min_length=1, max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
    ] = Field(description="One word for programs.")
    message: Annotated[str, Field(max_length=4096)] = Field(description="A sentence for people.")


class RunState(Spec):
    """The last and the next run of something that happens by the clock."""

    name: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="What runs.")
    last_time: Time | None = Field(default=None, description="When it last began.")
    outcome: Literal["Running", "Succeeded", "Failed"] | None = Field(
        default=None, description="How that ended."
    )
    last_success_time: Time | None = Field(default=None, description="When it last ended well.")
    next_time: Time | None = Field(
        default=None, description="When it runs next; nothing while it is suspended."
    )
    message: Short | None = Field(default=None, description="What is to be said of it.")


class StoreStatus(Spec):
    """How a store is."""

    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra=keyed("type"),
        description="Ready, DatabaseReady, QueueReady, SearchReady, GraphReady, IngestAvailable, "
        "ProcessorsAvailable, BackupsHealthy, MigrationsApplied, Paused.",
    )
    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Generation of the spec that was last acted on."
    )
    endpoints: dict[Annotated[str, Field(max_length=63)], Short] = Field(
        default={}, max_length=8, description="Addresses inside the cluster."
    )
    runs: list[RunState] = Field(
        default=[],
        max_length=16,
        json_schema_extra=keyed("name"),
        description="What runs by the clock.",
    )
    version: Short | None = Field(default=None, description="Image that the pods run.")
    migrated_version: Short | None = Field(
        default=None, description="Image whose migrations are in the database."
    )
    held_mode: Literal["Active", "ReadOnly", "Stopped"] | None = Field(
        default=None, description="Mode that the database holds: it refuses writes but in Active."
    )
    schema_version: Short | None = Field(default=None, description="Schema of the database.")
    volumes: dict[Annotated[str, Field(max_length=63)], Short] = Field(
        default={},
        max_length=8,
        description="Volumes that hold what nothing can be made again from: of the key ring "
        "(`keys`), of an embedded store (`data`). Nothing is changed while the claim of one is gone.",
    )
    replicas: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Pods of ingest."
    )
    selector: Short | None = Field(default=None, description="Selector of the pods of ingest.")


class RetentionStatus(Spec):
    """How a policy is."""

    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra=keyed("type"),
        description="Accepted, Active.",
    )
    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Generation of the spec that was last acted on."
    )
    last_run: RetentionRun | None = Field(default=None, description="The last run.")
    next_run: Time | None = Field(
        default=None, description="When it runs next; nothing while it is suspended."
    )
    would_affect: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Records that a run would have affected, when dry."
    )


class RetentionRun(Spec):
    """What a run did."""

    time: Time | None = Field(default=None, description="When it ended.")
    outcome: Literal["Running", "Succeeded", "Failed"] | None = Field(
        default=None, description="How it ended."
    )
    archived: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Records made warm."
    )
    compressed: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Records made cold."
    )
    deleted: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Records let go.")
    bytes_freed: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Bytes freed."
    )
    message: Short | None = Field(default=None, description="What is to be said of it.")


class WorkStatus(Spec):
    """How a piece of work is."""

    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        json_schema_extra=keyed("type"),
        description="Accepted, Complete.",
    )
    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Generation of the spec that was last acted on."
    )
    phase: Literal["Waiting", "Running", "Succeeded", "Failed"] | None = Field(
        default=None, description="The conditions in one word, for lists."
    )
    start_time: Time | None = Field(default=None, description="When the job was started.")
    completion_time: Time | None = Field(default=None, description="When it ended.")
    result: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="What the job reported, as JSON."
    )


RetentionStatus.model_rebuild()
