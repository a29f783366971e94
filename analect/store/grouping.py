"""Figures of hot records by group, summed by the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, text

from analect.model.grouping import (
    DIMENSION,
    MOST_GROUPS,
    SUMMED_BELOW,
    TIMES,
    Figures,
    Group,
)
from analect.model.query import RecordFilter
from analect.store.engine import is_postgres, read_transaction
from analect.store.filters import Selection, select, span_of


def _bounded(name: str) -> str:
    return f"CASE WHEN abs(r.{name}) < {SUMMED_BELOW} THEN r.{name} END"


_SUMS = {
    "records": "count(*)",
    "successes": "coalesce(sum(CASE WHEN r.success THEN 1 ELSE 0 END), 0)",
    "failures": "coalesce(sum(CASE WHEN NOT r.success THEN 1 ELSE 0 END), 0)",
    "input_tokens": "coalesce(sum({whole}r.input_tokens), 0)",
    "output_tokens": "coalesce(sum({whole}r.output_tokens), 0)",
    "cost": f"coalesce(sum({_bounded('cost')}), 0)",
    "ratings": "count(r.rating)",
    "rating_sum": "coalesce(sum(r.rating), 0)",
    "timed": "count(r.duration_ms)",
    "duration_sum": f"coalesce(sum({_bounded('duration_ms')}), 0)",
    "duration_min": "min(r.duration_ms)",
    "duration_max": "max(r.duration_ms)",
}
_FLOATS = frozenset({"cost", "duration_sum"})
_POSTGRES_TIMES = {"hour": 'YYYY-MM-DD"T"HH24:00"Z"', "day": "YYYY-MM-DD", "month": "YYYY-MM"}


def grouped_hot(
    engine: Engine, where: RecordFilter, by: Sequence[str]
) -> Iterator[tuple[Group, Figures]]:
    """The figures of the hot records that pass, a group at a time; one more than may be told where
    there are too many.

    Raises:
        InvalidQuery: the filter names an unknown field.
        StoreUnavailable: the database does not answer.
    """
    with read_transaction(engine) as connection:
        selection = select(connection, where, span_of(where))
        names = [_expression(connection, selection, number, name) for number, name in enumerate(by)]
        tail = f"GROUP BY {', '.join(str(n + 1) for n in range(len(by)))}" if by else ""
        # SQLite's sum of whole numbers is an error beyond 64 bits; 0.0 + makes it one of floats.
        whole = "" if is_postgres(connection) else "0.0 + "
        sums = [one.format(whole=whole) for one in _SUMS.values()]
        statement = selection.sql(", ".join([*names, *sums]), tail)
        limited = text(f"{statement} LIMIT {MOST_GROUPS + 1}")
        rows = connection.execute(limited, selection.values).fetchall()
    for row in rows:
        figures = dict(zip(_SUMS, row[len(by) :], strict=True))
        if figures["records"]:  # without names an empty store is one row of nothing
            yield _group(by, row), {name: _number(name, one) for name, one in figures.items()}


def _expression(connection: Connection, selection: Selection, number: int, name: str) -> str:
    postgres = is_postgres(connection)
    if name in TIMES:
        if postgres:
            when = "to_timestamp(r.occurred_at / 1000000) AT TIME ZONE 'UTC'"
            return f"to_char({when}, '{_POSTGRES_TIMES[name]}')"
        return f"strftime('{TIMES[name]}', r.occurred_at / 1000000, 'unixepoch')"
    if not name.startswith(DIMENSION):
        return f"r.{name}"
    bound = f"by{number}"
    selection.values[bound] = name.removeprefix(DIMENSION)
    if postgres:
        return f"CAST(r.dimensions AS jsonb) ->> CAST(:{bound} AS text)"
    return f"(SELECT d.value FROM json_each(r.dimensions) AS d WHERE d.key = :{bound})"


def _group(by: Sequence[str], row: Sequence[Any]) -> Group:
    return tuple(
        bool(value) if name == "success" and value is not None else value
        for name, value in zip(by, row, strict=False)
    )


def _number(name: str, value: Any) -> Any:
    if value is None or name.startswith("duration_m"):
        return value
    return float(value) if name in _FLOATS else int(value)
