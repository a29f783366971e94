"""Figures of warm records by group: the columns that are asked for, summed by DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from analect.model.grouping import DIMENSION, SUMMED_BELOW, TIMES, Figures, Group

COUNTED = (
    "success",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cost",
    "rating",
)
"""The columns that figures are made of."""
_SUMS = f"""count(*) AS records, count(*) FILTER (success) AS successes,
 count(*) FILTER (NOT success) AS failures,
 coalesce(sum(input_tokens), 0) AS input_tokens,
 coalesce(sum(output_tokens), 0) AS output_tokens,
 coalesce(sum(cost) FILTER (abs(cost) < {SUMMED_BELOW}), 0.0) AS cost,
 count(rating) AS ratings, coalesce(sum(rating), 0) AS rating_sum,
 count(duration_ms) AS timed,
 coalesce(sum(duration_ms) FILTER (abs(duration_ms) < {SUMMED_BELOW}), 0.0) AS duration_sum,
 min(duration_ms) AS duration_min, max(duration_ms) AS duration_max"""


_TIME = "date_trunc('{}', make_timestamp(epoch_us(occurred_at)))"
"""What is grouped by: groups are named in words, not rows, and UTC needs no calendar."""


def columns_for(by: Sequence[str]) -> list[str]:
    """The columns that grouping by these names looks at."""
    names = [
        "occurred_at" if name in TIMES else "dimensions" if name.startswith(DIMENSION) else name
        for name in by
    ]
    return list(dict.fromkeys((*names, *COUNTED)))


class Grouper:
    """Groups tables by the same names, one after the other, until it is closed."""

    def __init__(self, by: Sequence[str]) -> None:
        self._by = by
        self._connection = duckdb.connect()
        self._connection.execute("SET threads = 1")
        self._bound: dict[str, str] = {}
        names = [self._expression(number, name) for number, name in enumerate(by)]
        keys = [_TIME.format(name) if name in TIMES else str(n + 1) for n, name in enumerate(by)]
        grouping = f" GROUP BY {', '.join(keys)}" if by else ""
        self._query = f"SELECT {', '.join([*names, _SUMS])} FROM given{grouping}"

    def close(self) -> None:
        """Let go of the engine."""
        self._connection.close()

    def group(self, table: Any) -> Iterator[tuple[Group, Figures]]:
        """The figures of a table that has the columns of :func:`columns_for`."""
        if not len(table):
            return
        self._connection.register("given", table)
        result = self._connection.execute(self._query, self._bound)
        titles = [column[0] for column in result.description or ()][len(self._by) :]
        for row in result.fetchall():
            group, sums = row[: len(self._by)], row[len(self._by) :]
            yield tuple(group), dict(zip(titles, sums, strict=True))
        self._connection.unregister("given")

    def _expression(self, number: int, name: str) -> str:
        if name in TIMES:
            return f"strftime({_TIME.format(name)}, '{TIMES[name]}')"
        if name.startswith(DIMENSION):
            self._bound[f"by{number}"] = name.removeprefix(DIMENSION)
            return f"dimensions[$by{number}]"
        return name
