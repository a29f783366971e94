"""A retention policy as data: the same form in a file and in a RetentionPolicy resource.

Days count from the day of the record, so ``hotDays < warmDays < coldDays``. The first rule that
selects a record decides about it; a legal hold decides before every rule.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

Then = Literal["aggregate", "archive", "delete"]
Anonymise = Literal["none", "subjects", "payloads"]
Tier = Literal["hot", "warm", "cold", "gone"]

FAMILIES = ("interactions", "queries", "content", "performance", "business", "sessions")
"""Of monthly aggregates."""
_AGE = re.compile(r"(\d{1,8})([mhdw])\Z", re.ASCII)
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}

Words = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=64)
]
Days = Annotated[int, Field(ge=0, le=36_500)]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]


def _seconds(value: object) -> object:
    """``90d`` as seconds."""
    if isinstance(value, str):
        match = _AGE.match(value)
        if match is None:
            raise ValueError("write an age like 90d, 36h, 15m or 2w")
        return int(match[1]) * _SECONDS[match[2]]
    return value


Age = Annotated[int, BeforeValidator(_seconds)]


class _Form(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
    )


class Selector(_Form):
    """Which records: all that is given must hold, any of a list will do. Ages are in seconds."""

    kinds: Words = ()
    tags: Words = ()
    services: Words = ()
    statuses: Words = ()
    threads: Words = ()
    sessions: Words = ()
    subjects: Words = ()
    success: bool | None = None
    older_than: Age | None = None
    newer_than: Age | None = None

    def meets(self, other: Selector) -> bool:
        """Whether one record could be selected by both."""
        lists = ("kinds", "services", "statuses", "threads", "sessions", "subjects")
        for name in lists:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine and theirs and not set(mine) & set(theirs):
                return False
        if None not in (self.success, other.success) and self.success != other.success:
            return False
        return not (_apart(self, other) or _apart(other, self))


def _apart(older: Selector, newer: Selector) -> bool:
    return (
        older.older_than is not None
        and newer.newer_than is not None
        and older.older_than >= newer.newer_than
    )


class Rule(_Form):
    """How long the selected records stay in each tier, and what becomes of them in the end."""

    name: Label
    selector: Selector = Selector()
    hot_days: Days | None = None
    warm_days: Days | None = None
    cold_days: Days | None = None
    then: Then = "archive"
    keep_last: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    anonymise: Anonymise = "none"

    @model_validator(mode="after")
    def _rising(self) -> Self:
        given = [
            days for days in (self.hot_days, self.warm_days, self.cold_days) if days is not None
        ]
        if any(a >= b for a, b in pairwise(given)):
            raise ValueError(
                "hotDays must be smaller than warmDays, and warmDays than coldDays: all count "
                "from the day of the record"
            )
        if not given and self.keep_last is None:
            raise ValueError("give at least one of hotDays, warmDays, coldDays, keepLast")
        return self

    @property
    def stages(self) -> tuple[tuple[Tier, int | None], ...]:
        """The tiers in their order, each with the age in days at which it is left (None: never).

        A tier without days is skipped; hot lasts until the first age that is given.
        """
        every: tuple[tuple[Tier, int | None], ...] = (
            ("hot", self.hot_days),
            ("warm", self.warm_days),
            ("cold", self.cold_days),
        )
        named = [(tier, days) for tier, days in every if days is not None]
        if not named:
            return (("hot", None),)
        stages: list[tuple[Tier, int | None]] = [("hot", named[0][1])]
        stages += [(tier, days) for tier, days in named[1:] if tier != "hot"]
        if self.then != "archive":
            return (*stages, ("gone", None))
        last = stages[-1][0]
        if last == "cold":
            return (*stages[:-1], ("cold", None))
        return (*stages, ("cold" if last == "warm" else "warm", None))

    @property
    def deletes(self) -> bool:
        """Whether the records are gone in the end."""
        return self.stages[-1][0] == "gone"


class LegalHold(_Form):
    """Records that nothing moves, changes or removes while the hold stands."""

    name: Label
    selector: Selector


class Policy(_Form):
    """One policy. ``aggregates``: days that the monthly aggregates of a family are kept."""

    name: str = "policy"
    rules: Annotated[tuple[Rule, ...], Field(max_length=64)] = ()
    legal_holds: Annotated[tuple[LegalHold, ...], Field(max_length=64)] = ()
    aggregates: dict[str, Days] = Field(default_factory=dict)
    warm_indexed: bool = True
    schedule: str = "0 1 * * *"
    time_zone: str = "Etc/UTC"
    suspend: bool = False
    dry_run: bool = False

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError("there is no time zone of this name") from error
        return value

    @field_validator("aggregates")
    @classmethod
    def _families(cls, value: dict[str, int]) -> dict[str, int]:
        if unknown := sorted(value.keys() - set(FAMILIES)):
            raise ValueError(f"there are no aggregates {unknown[0]}, only {', '.join(FAMILIES)}")
        return value

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for what in (self.rules, self.legal_holds):
            names = [one.name for one in what]
            if len(names) != len(set(names)):
                raise ValueError("names of rules and of legal holds must be different")
        return self


YEAR = 365

DEFAULTS = Policy(
    name="defaults",
    rules=(
        Rule(
            name="session-detail",
            selector=Selector(kinds=("session", "session_event")),
            hot_days=30,
            then="aggregate",
        ),
        Rule(
            name="performance-metrics",
            selector=Selector(kinds=("performance", "metric")),
            hot_days=90,
            warm_days=YEAR,
            then="aggregate",
        ),
        Rule(
            name="business-metrics",
            selector=Selector(kinds=("business", "business_metric")),
            hot_days=90,
            then="aggregate",
        ),
        Rule(
            name="interactions",
            hot_days=90,
            warm_days=2 * YEAR,
            cold_days=3 * YEAR,
            then="delete",
        ),
    ),
    aggregates={"sessions": YEAR, "performance": 3 * YEAR},
)
"""What holds where no policy is given."""
