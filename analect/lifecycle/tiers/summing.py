"""Figures of records by month and group: counts, sums, durations as a histogram, measures.

They add up: of a month those of what is still hot or warm are computed again, those of what left
are kept, and both together are the month. A histogram of durations has steps of 5%, from which a
percentile is read with that error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import duckdb
import msgspec

Figures = dict[str, Any]
Key = tuple[str, str, str]
"""Family, month, and the group as JSON."""

STEP = math.log(1.05)
_BUSINESS = ("business", "business_metric")
_SESSIONS = ("session", "session_event")
_COLUMNS = (
    "kind",
    "occurred_at",
    "service",
    "name",
    "model",
    "success",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cost",
    "rating",
    "dimensions",
    "measures",
)
_FAMILIES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "interactions": (("kind", "service", "model"), f"kind NOT IN {(*_BUSINESS, *_SESSIONS)}"),
    "queries": (("query_type", "language"), "query_type IS NOT NULL"),
    "content": (
        ("kind", "content_type"),
        "content_type IS NOT NULL OR kind IN ('content', 'chunk')",
    ),
    "performance": (("service", "name", "model"), "duration_ms IS NOT NULL"),
    "business": (("kind", "name"), f"kind IN {_BUSINESS}"),
    "sessions": (("kind", "service"), f"kind IN {_SESSIONS}"),
}
FAMILIES = tuple(_FAMILIES)
"""``interactions`` is everything but business and session records."""

_SUMS = """
count(*) AS records, count(*) FILTER (success) AS successes, count(*) FILTER (NOT success) AS failures,
coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens,
coalesce(sum(cost), 0) AS cost, count(rating) AS ratings, coalesce(sum(rating), 0) AS rating_sum,
count(duration_ms) AS timed, coalesce(sum(duration_ms), 0) AS duration_sum,
min(duration_ms) AS duration_min, max(duration_ms) AS duration_max
"""
_ROWS = """
SELECT *, strftime(occurred_at AT TIME ZONE 'UTC', '%Y-%m') AS month,
 dimensions['query_type'] AS query_type, dimensions['language'] AS language,
 dimensions['content_type'] AS content_type FROM given
"""
_LEAST, _MOST = ("duration_min",), ("duration_max",)


def figures_of(table: Any) -> dict[Key, Figures]:
    """The figures of a table's rows, by family, month and group."""
    found: dict[Key, Figures] = {}
    if not len(table):
        return found
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.register("given", table.select(list(_COLUMNS)))
        connection.execute(f"CREATE TEMP TABLE told AS {_ROWS}")
        for family, (names, where) in _FAMILIES.items():
            _add_sums(connection, found, family, names, where)
        names, where = _FAMILIES["performance"]
        _add_histogram(connection, found, names, where)
        _add_measures(connection, found)
    return found


def count(found: dict[Key, Figures], table: Any) -> None:
    """Add the figures of a table's rows to those found."""
    for key, figures in figures_of(table).items():
        found[key] = added(found.get(key, {}), figures)


def added(one: Figures, other: Figures) -> Figures:
    """Both together."""
    together = dict(one)
    for name, value in other.items():
        mine = together.get(name)
        if mine is None or value is None:
            together[name] = value if mine is None else mine
        elif isinstance(value, dict):
            together[name] = added(mine, value)
        elif name in _LEAST or name == "min":
            together[name] = min(mine, value)
        elif name in _MOST or name == "max":
            together[name] = max(mine, value)
        else:
            together[name] = mine + value
    return together


def percentile(histogram: Mapping[str, int], share: float) -> float | None:
    """The duration below which a share of them lies, in ms."""
    total = sum(histogram.values())
    reached = 0
    for step in sorted(histogram, key=int):
        reached += histogram[step]
        if reached >= share * total:
            return round(math.exp((int(step) + 0.5) * STEP), 3)
    return None


def _add_sums(
    connection: Any, found: dict[Key, Figures], family: str, names: tuple[str, ...], where: str
) -> None:
    by = ", ".join(names)
    query = f"SELECT month, {by}, {_SUMS} FROM told WHERE {where} GROUP BY month, {by}"
    result = connection.execute(query)
    titles = [column[0] for column in result.description]
    for row in result.fetchall():
        said = dict(zip(titles, row, strict=True))
        found[_key(family, said, names)] = {
            name: value for name, value in said.items() if name not in {"month", *names}
        }


def _add_histogram(
    connection: Any, found: dict[Key, Figures], names: tuple[str, ...], where: str
) -> None:
    by = ", ".join(names)
    query = (
        f"SELECT month, {by}, CAST(floor(ln(greatest(duration_ms, 0.001)) / {STEP}) AS INTEGER)"
        f" AS step, count(*) FROM told WHERE {where} GROUP BY month, {by}, step"
    )
    for *group, step, count in connection.execute(query).fetchall():
        said = dict(zip(("month", *names), group, strict=True))
        figures = found[_key("performance", said, names)]
        figures.setdefault("durations", {})[str(step)] = count


def _add_measures(connection: Any, found: dict[Key, Figures]) -> None:
    names, where = _FAMILIES["business"]
    query = (
        "SELECT month, kind, name, m.key, count(*), sum(m.value), min(m.value), max(m.value)"
        f" FROM (SELECT month, kind, name, unnest(map_entries(measures)) AS m FROM told WHERE {where})"
        " GROUP BY ALL"
    )
    for month, kind, name, measure, count, total, least, most in connection.execute(
        query
    ).fetchall():
        key = _key("business", {"month": month, "kind": kind, "name": name}, names)
        figures = {"count": count, "sum": total, "min": least, "max": most}
        found[key].setdefault("measures", {})[measure] = figures


def _key(family: str, said: Mapping[str, Any], names: tuple[str, ...]) -> Key:
    group = {name: said[name] for name in names if said[name] is not None}
    return family, said["month"], msgspec.json.encode(group, order="sorted").decode()
