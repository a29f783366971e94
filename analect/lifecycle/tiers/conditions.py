"""Filters and retention selectors over Arrow tables: the same meaning as in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analect.model.ids import id_floor
from analect.model.query import NumberRange, RecordFilter
from analect.store.choosing import COLUMNS, HELD, NOBODY, Choice

OWNING = (
    "id",
    "kind",
    "service",
    "status",
    "thread_id",
    "session_id",
    "subject",
    "success",
    "tags",
)
"""The columns that :func:`owners` looks at."""


def columns_of(where: RecordFilter) -> list[str]:
    """The columns that :func:`mask` looks at, ``id`` first."""
    names = ["id", *where.equals, *where.numbers]
    if where.tags:
        names.append("tags")
    if where.dimensions:
        names.append("dimensions")
    if where.success is not None:
        names.append("success")
    if where.since is not None or where.until is not None:
        names.append("occurred_at")
    return list(dict.fromkeys(names))


def mask(table: Any, where: RecordFilter, rated: frozenset[str] = frozenset()) -> Any:
    """Which rows pass, as a numpy array of booleans. ``rated`` pass a filter of ratings, whatever
    their own.
    """
    parts = [pc.equal(table.column(name), value) for name, value in where.equals.items()]
    parts += [has_any(table.column("tags"), (tag,)) for tag in where.tags]
    for name, value in where.dimensions.items():
        looked_up = pc.map_lookup(table.column("dimensions"), name, "first")
        parts.append(pc.equal(looked_up, value))
    for name, bounds in where.numbers.items():
        within = _within(table.column(name), bounds)
        if name == "rating" and rated:
            late = pc.is_in(table.column("id"), value_set=pa.array(sorted(rated), pa.string()))
            within = [pc.or_(pc.fill_null(part, False), late) for part in within]
        parts += within
    if where.success is not None:
        parts.append(pc.equal(table.column("success"), where.success))
    if where.since is not None:
        parts.append(pc.greater_equal(table.column("occurred_at").cast(pa.int64()), where.since))
    if where.until is not None:
        parts.append(pc.less(table.column("occurred_at").cast(pa.int64()), where.until))
    return _all(parts, len(table))


def owners(table: Any, rules: Sequence[Choice], holds: Sequence[Choice]) -> Any:
    """The owner of each row, as :class:`analect.store.choosing.Ownership` has it: the number of
    the first rule that selects it, ``HELD`` or ``NOBODY``.
    """
    found = np.full(len(table), NOBODY, np.int32)
    free = np.ones(len(table), bool)
    for owner, choice in [*((HELD, hold) for hold in holds), *enumerate(rules)]:
        taken = free & chosen_mask(table, choice)
        found[taken] = owner
        free &= ~taken
        if not free.any():
            break
    return found


def chosen_mask(table: Any, choice: Choice) -> Any:
    """Which rows a choice selects."""
    parts = [
        pc.is_in(table.column(column), value_set=pa.array(values, pa.string()))
        for name, column in COLUMNS.items()
        if (values := getattr(choice, name))
    ]
    if choice.tags:
        parts.append(has_any(table.column("tags"), choice.tags))
    if choice.success is not None:
        parts.append(pc.equal(table.column("success"), choice.success))
    if choice.since is not None:
        parts.append(pc.greater_equal(table.column("id"), id_floor(max(choice.since, 0))))
    if choice.until is not None:
        parts.append(pc.less(table.column("id"), id_floor(max(choice.until, 0))))
    return _all(parts, len(table))


def has_any(tags: Any, wanted: Iterable[str]) -> Any:
    """Which rows of a list column hold one of the values."""
    whole = tags.combine_chunks()
    chunks = whole.chunks if isinstance(whole, pa.ChunkedArray) else [whole]
    values = pa.array(list(wanted), pa.string())
    found = []
    for chunk in chunks:
        hit = pc.is_in(pc.list_flatten(chunk), value_set=values)
        rows = np.zeros(len(chunk), bool)
        rows[pc.list_parent_indices(chunk).to_numpy()[hit.to_numpy(zero_copy_only=False)]] = True
        found.append(rows)
    return pa.array(np.concatenate(found) if found else np.zeros(0, bool))


def _within(column: Any, bounds: NumberRange) -> list[Any]:
    parts = []
    if bounds.minimum is not None:
        parts.append(pc.greater_equal(column, bounds.minimum))
    if bounds.maximum is not None:
        parts.append(pc.less_equal(column, bounds.maximum))
    return parts


def _all(parts: Sequence[Any], rows: int) -> Any:
    """Where every part holds; null is no."""
    arrays = [np.asarray(pc.fill_null(part, False)).astype(bool) for part in parts]
    return reduce(np.logical_and, arrays, np.ones(rows, bool))
