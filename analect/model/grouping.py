"""Figures of records by group: what may be grouped by, and how figures add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analect.model.errors import InvalidQuery
from analect.model.record import MAX_SHORT, TEXT_FIELDS

TIMES: Mapping[str, str] = {"hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}
"""Parts of ``occurred_at``, UTC, and how each is written."""
FIELDS = frozenset({"kind", "external_id", "success", "rating", *TEXT_FIELDS})
DIMENSION = "dim."
MOST_NAMES = 8
MOST_GROUPS = 10_000

SUMMED_BELOW = 1e290
"""Costs and durations from here on are left out of sums, which they would make endless."""

Figures = dict[str, Any]
Group = tuple[Any, ...]
"""The values of the names that are grouped by, in their order; ``None`` where a record has none."""

_LEAST, _MOST = "duration_min", "duration_max"


def check_names(by: Sequence[str]) -> None:
    """Refuse what cannot be grouped by.

    Raises:
        InvalidQuery: a name is unknown or said twice, or there are too many.
    """
    if len(by) > MOST_NAMES or len(set(by)) != len(by):
        raise InvalidQuery(f"by takes at most {MOST_NAMES} different names", field="by")
    for name in by:
        dimension = name.startswith(DIMENSION) and 0 < len(name) - len(DIMENSION) <= MAX_SHORT
        if name not in FIELDS and name not in TIMES and not dimension:
            raise InvalidQuery(
                "by takes fields (kind, service, model, ...), hour, day, month and dim.NAME",
                field="by",
            )


def check_number(groups: int) -> None:
    """Refuse an answer that nobody reads.

    Raises:
        InvalidQuery: there are too many groups.
    """
    if groups > MOST_GROUPS:
        raise InvalidQuery(
            f"over {MOST_GROUPS} groups: group by less, or ask for fewer records", field="by"
        )


def add(found: dict[Group, Figures], more: Iterable[tuple[Group, Figures]]) -> None:
    """Add figures to those that were found.

    Raises:
        InvalidQuery: there are too many groups.
    """
    for group, figures in more:
        mine = found.get(group)
        found[group] = figures if mine is None else _together(mine, figures)
    check_number(len(found))


def told(by: Sequence[str], found: Mapping[Group, Figures]) -> list[Figures]:
    """Groups in the order of their values, with means in place of sums of durations and ratings."""
    return [
        {"group": dict(zip(by, group, strict=True)), **_finished(found[group])}
        for group in sorted(found, key=_order)
    ]


def _together(one: Figures, other: Figures) -> Figures:
    whole: Figures = {}
    for name, mine in one.items():
        value = other[name]
        if mine is None or value is None:
            whole[name] = value if mine is None else mine
        elif name in {_LEAST, _MOST}:
            whole[name] = min(mine, value) if name == _LEAST else max(mine, value)
        else:
            whole[name] = mine + value
    return whole


def _finished(figures: Figures) -> Figures:
    timed, ratings = figures["timed"], figures["ratings"]
    left = {name: value for name, value in figures.items() if not name.endswith("_sum")}
    return {
        **left,
        "cost": round(figures["cost"], 9),
        "duration_mean": round(figures["duration_sum"] / timed, 3) if timed else None,
        "rating_mean": round(figures["rating_sum"] / ratings, 3) if ratings else None,
    }


def _order(group: Group) -> tuple[tuple[bool, str], ...]:
    return tuple((value is None, str(value)) for value in group)
