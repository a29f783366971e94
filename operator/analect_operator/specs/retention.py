"""RetentionPolicy: how long what is kept where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from analect_operator.specs.base import Cron, Days, Label, Name, Spec, TimeZone, checked, rules
from analect_operator.specs.schedules import BackupRetention

_Word = Annotated[str, Field(min_length=1, max_length=253)]
_Words = Annotated[
    list[_Word], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})
]
_Age = Annotated[str, Field(min_length=2, max_length=12, pattern=r"^[0-9]{1,8}[mhdw]$")]


class Selector(Spec):
    """Which records; all that is given must hold, any of a list will do."""

    kinds: _Words = Field(default=[], description="Kinds of records.")
    tags: _Words = Field(default=[], description="Tags.")
    services: _Words = Field(default=[], description="Services.")
    statuses: _Words = Field(default=[], description="Statuses.")
    threads: _Words = Field(default=[], description="Conversations.")
    sessions: _Words = Field(default=[], description="Sessions.")
    success: bool | None = Field(default=None, description="Whether it went well.")
    older_than: _Age | None = Field(default=None, description="Older than this: `90d`.")
    newer_than: _Age | None = Field(default=None, description="Newer than this: `36h`.")


class RetentionRule(Spec):
    """How long the selected records stay in each tier."""

    model_config = checked(
        (
            "!(has(self.hotDays) && has(self.warmDays)) || self.hotDays < self.warmDays",
            "hotDays must be smaller than warmDays: both count from the day of the record",
        ),
        (
            "!(has(self.warmDays) && has(self.coldDays)) || self.warmDays < self.coldDays",
            "warmDays must be smaller than coldDays: both count from the day of the record",
        ),
        (
            "!(has(self.hotDays) && has(self.coldDays)) || self.hotDays < self.coldDays",
            "hotDays must be smaller than coldDays: both count from the day of the record",
        ),
        (
            "has(self.hotDays) || has(self.warmDays) || has(self.coldDays) || has(self.keepLast)",
            "give at least one of hotDays, warmDays, coldDays, keepLast",
        ),
    )

    name: Label = Field(description="What the rule is called in plans and reports.")
    selector: Selector = Field(default=Selector(), description="Which records; all when not given.")
    hot_days: Days | None = Field(
        default=None, description="Age in days up to which they stay hot."
    )
    warm_days: Days | None = Field(
        default=None, description="Age in days up to which they stay warm."
    )
    cold_days: Days | None = Field(
        default=None, description="Age in days up to which they stay cold."
    )
    then: Literal["aggregate", "archive", "delete"] = Field(
        default="archive", description="What becomes of them in the end."
    )
    keep_last: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None, description="So many of the newest are kept whatever their age."
    )
    anonymise: Literal["none", "subjects", "payloads"] = Field(
        default="none", description="What is taken away when they leave the hot tier."
    )


class LegalHold(Spec):
    """Records that nothing removes while the hold stands; it wins over every rule."""

    name: Label = Field(description="What the hold is called in plans and reports.")
    selector: Selector = Field(description="Which records.")


class AggregateDays(Spec):
    """How long the monthly aggregates of each family are kept; for ever when not said."""

    interactions: Days | None = Field(default=None, description="Days, of interactions.")
    queries: Days | None = Field(default=None, description="Days, of queries.")
    content: Days | None = Field(default=None, description="Days, of content.")
    performance: Days | None = Field(default=None, description="Days, of performance.")
    business: Days | None = Field(default=None, description="Days, of business metrics.")
    sessions: Days | None = Field(default=None, description="Days, of sessions.")


class StoreRef(Spec):
    """A store of the same namespace."""

    name: Name = Field(description="Name of the AnalysisStore.")


STORE_REF = Field(
    description="The store that is meant.",
    json_schema_extra=rules(("self == oldSelf", "storeRef cannot be changed; make a new one")),
)


class RetentionSpec(Spec):
    """What a policy says."""

    store_ref: StoreRef = STORE_REF
    rules: list[RetentionRule] = Field(
        default=[],
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="The first rule that selects a record decides.",
    )
    legal_holds: list[LegalHold] = Field(
        default=[],
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="What nothing removes.",
    )
    aggregates: AggregateDays = Field(
        default=AggregateDays(), description="How long monthly aggregates are kept."
    )
    warm_indexed: bool = Field(
        default=True, description="Whether a search finds warm records as well."
    )
    schedule: Cron = Field(default="0 1 * * *", description="When it runs.")
    time_zone: TimeZone = Field(default="Etc/UTC", description="Time zone of the schedule.")
    suspend: bool = Field(default=False, description="No runs while this is true.")
    dry_run: bool = Field(default=False, description="Only plan and report; remove nothing.")
    backups: BackupRetention | None = Field(
        default=None, description="How many backups are kept, over what the store says."
    )
