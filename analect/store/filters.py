"""A :class:`~analect.model.query.RecordFilter` as SQL over ``records AS r``.

One part of the filter *drives*: a thread, a session, a tag, a kind, or else the time range. It
decides which index is walked, always in the order of ids, so a page ends after a page's worth of
matches; the other parts are checked on the way. SQLite's planner knows nothing of how the values
are spread, so the index is named to it; Postgres keeps statistics and decides by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from analect.model.errors import InvalidQuery
from analect.model.ids import Micros, RecordId, id_floor
from analect.model.query import NumberRange, RecordFilter
from analect.model.record import NUMBER_FIELDS, TEXT_FIELDS
from analect.store.append import json_text
from analect.store.engine import is_postgres
from analect.store.rows import bound_id

_INDEXES = {
    "thread_id": "records_thread",
    "session_id": "records_session",
    "kind": "records_kind",
}
"""Columns with an index of (column, id), the most selective first as a rule."""
_BY_ID = "sqlite_autoindex_records_1"
"""What SQLite calls the index of the primary key."""
_EQUAL_FIELDS = frozenset({"kind", "external_id", *TEXT_FIELDS})
_LAST_MILLI = 2**48 - 1
_SAMPLE = 1000
"""How many entries of each candidate are counted before one is chosen to drive."""

_ID_TEXT = {
    "postgresql": "CAST(r.id AS text)",
    "sqlite": "lower(hex(substr(r.id, 1, 4)) || '-' || hex(substr(r.id, 5, 2)) || '-' || "
    "hex(substr(r.id, 7, 2)) || '-' || hex(substr(r.id, 9, 2)) || '-' || hex(substr(r.id, 11)))",
}
_DIMENSION = {
    "postgresql": "(strpos(r.dimensions, :{n}_pair) > 0"
    " AND CAST(r.dimensions AS jsonb) ->> :{n}_name = :{n}_value)",
    "sqlite": "(instr(r.dimensions, :{n}_pair) > 0 AND EXISTS (SELECT 1 FROM"
    " json_each(r.dimensions) AS d WHERE d.key = :{n}_name AND d.value = :{n}_value))",
}
"""The pair as the column spells it is looked for first: that is cheap, and almost always enough."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of ids: ``low`` inclusive, ``high`` exclusive, ``None`` is open."""

    low: RecordId | None = None
    high: RecordId | None = None


def inside(record_id: RecordId, span: Span) -> bool:
    """Whether an id lies within."""
    return (span.low is None or record_id >= span.low) and (
        span.high is None or record_id < span.high
    )


@dataclass(slots=True)
class Selection:
    """``source`` (what follows FROM), ``where`` and its ``values``, and the ``key`` to order by."""

    source: str
    key: str
    where: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def sql(self, columns: str, tail: str = "") -> str:
        """The whole statement."""
        where = f" WHERE {' AND '.join(self.where)}" if self.where else ""
        return f"SELECT {columns} FROM {self.source}{where} {tail}"


def check(where: RecordFilter) -> None:
    """Refuse names that cannot be filtered on.

    Raises:
        InvalidQuery: ``field`` is the name.
    """
    for name in where.equals:
        if name not in _EQUAL_FIELDS:
            raise InvalidQuery("there is no text field of this name to filter on", field=name)
    for name in where.numbers:
        if name not in NUMBER_FIELDS:
            raise InvalidQuery("there is no number field of this name to filter on", field=name)


def span_of(where: RecordFilter) -> Span:
    """The ids that the filter's times allow."""
    return Span(
        None if where.since is None else _floor(where.since // 1000),
        None if where.until is None else _floor(-(-where.until // 1000)),
    )


def select(connection: Connection, where: RecordFilter, span: Span) -> Selection:
    """Records within ``span`` for which every part of ``where`` holds.

    Raises:
        InvalidQuery: a name in the filter does not exist.
    """
    check(where)
    driver = _choose_driver(connection, where, span)
    selection = _driven_by(connection, driver)
    _bound(connection, selection, span)
    _add_equals(connection, selection, where, driver)
    _add_tags(selection, where, driver)
    _add_numbers(connection, selection, where)
    for number, (name, value) in enumerate(where.dimensions.items()):
        prefix = f"dimension{number}"
        selection.where.append(_DIMENSION[connection.dialect.name].format(n=prefix))
        selection.values[f"{prefix}_pair"] = (json_text({name: value}) or "")[1:-1]
        selection.values[f"{prefix}_name"] = name
        selection.values[f"{prefix}_value"] = value
    if where.success is not None:
        selection.where.append("r.success = :success")
        selection.values["success"] = where.success
    _add_times(selection, where)
    return selection


def evaluations(connection: Connection, alias: str) -> str:
    """What follows FROM to look evaluations up by ``parent_id``: a table, WHERE, its kind.

    The kind is a literal because only so do both dialects use the partial index.
    """
    hint = "" if is_postgres(connection) else " INDEXED BY records_evaluated"
    return f"records AS {alias}{hint} WHERE {alias}.kind = 'evaluation'"


def _floor(millis: int) -> RecordId:
    """The smallest id of a millisecond, for any number."""
    return id_floor(min(max(millis, 0), _LAST_MILLI) * 1000)


@dataclass(frozen=True, slots=True)
class _Driver:
    """An indexed ``column`` (``tag`` for the tag rows) and the value it must have."""

    column: str | None = None
    value: str = ""


def _candidates(where: RecordFilter) -> Iterator[_Driver]:
    for column in ("thread_id", "session_id"):
        if column in where.equals:
            yield _Driver(column, where.equals[column])
    for tag in dict.fromkeys(where.tags):
        yield _Driver("tag", tag)
    if "kind" in where.equals:
        yield _Driver("kind", where.equals["kind"])


def _choose_driver(connection: Connection, where: RecordFilter, span: Span) -> _Driver:
    """The candidate with the fewest entries, each counted up to ``_SAMPLE`` in its index alone."""
    candidates = list(_candidates(where))
    if len(candidates) < 2:
        return candidates[0] if candidates else _Driver()
    counts = []
    for driver in candidates:
        selection = Selection(
            *(
                ("record_tags AS r", "r.record_id")
                if driver.column == "tag"
                else ("records AS r", "r.id")
            )
        )
        selection.where.append(f"r.{driver.column} = :driver")
        selection.values["driver"] = driver.value
        _bound(connection, selection, span)
        inner = selection.sql("1", f"LIMIT {_SAMPLE}")
        statement = text(f"SELECT count(*) FROM ({inner}) AS sample")
        counts.append(connection.execute(statement, selection.values).scalar_one())
        if counts[-1] == 0:
            break
    return candidates[counts.index(min(counts))]


def _driven_by(connection: Connection, driver: _Driver) -> Selection:
    if driver.column == "tag":
        # SQLite keeps the order of a CROSS JOIN: tag rows first, in the order of their ids.
        join = "JOIN" if is_postgres(connection) else "CROSS JOIN"
        source = f"record_tags AS t {join} records AS r ON r.id = t.record_id"
        return Selection(source, "t.record_id", ["t.tag = :driver"], {"driver": driver.value})
    index = _INDEXES[driver.column] if driver.column else _BY_ID
    source = "records AS r" if is_postgres(connection) else f"records AS r INDEXED BY {index}"
    if driver.column is None:
        return Selection(source, "r.id")
    return Selection(source, "r.id", [f"r.{driver.column} = :driver"], {"driver": driver.value})


def _bound(connection: Connection, selection: Selection, span: Span) -> None:
    """Keep to ``span``. Postgres skips partitions of ``records`` only when told about ``r.id``."""
    keys = [selection.key]
    if selection.key == "t.record_id" and is_postgres(connection):
        keys.append("r.id")
    for key in keys:
        if span.low is not None:
            selection.where.append(f"{key} >= :low")
            selection.values["low"] = bound_id(connection, span.low)
        if span.high is not None:
            selection.where.append(f"{key} < :high")
            selection.values["high"] = bound_id(connection, span.high)


def _add_equals(
    connection: Connection, selection: Selection, where: RecordFilter, driver: _Driver
) -> None:
    # A unary plus keeps SQLite from walking another index than the driver's.
    mute = "" if is_postgres(connection) else "+"
    for name, value in where.equals.items():
        if name != driver.column:
            selection.where.append(f"{mute if name in _INDEXES else ''}r.{name} = :{name}")
            selection.values[name] = value


def _add_tags(selection: Selection, where: RecordFilter, driver: _Driver) -> None:
    for number, tag in enumerate(dict.fromkeys(where.tags)):
        if driver.column == "tag" and tag == driver.value:
            continue
        selection.where.append(
            f"EXISTS (SELECT 1 FROM record_tags AS x WHERE x.tag = :tag{number}"
            " AND x.record_id = r.id)"
        )
        selection.values[f"tag{number}"] = tag


def _add_numbers(connection: Connection, selection: Selection, where: RecordFilter) -> None:
    for name, bounds in where.numbers.items():
        condition = _within(f"{{table}}.{name}", name, bounds)
        if not condition:
            continue
        own = condition.format(table="r")
        if name == "rating":
            late = (
                f"SELECT 1 FROM {evaluations(connection, 'e')} AND e.parent_id = "
                f"{_ID_TEXT[connection.dialect.name]} AND {condition.format(table='e')}"
            )
            own = f"(({own}) OR EXISTS ({late}))"
        selection.where.append(own)
        for edge, value in (("min", bounds.minimum), ("max", bounds.maximum)):
            if value is not None:
                selection.values[f"{name}_{edge}"] = value


def _within(column: str, name: str, bounds: NumberRange) -> str:
    parts = []
    if bounds.minimum is not None:
        parts.append(f"{column} >= :{name}_min")
    if bounds.maximum is not None:
        parts.append(f"{column} <= :{name}_max")
    return " AND ".join(parts)


def _add_times(selection: Selection, where: RecordFilter) -> None:
    """What the span of ids, which knows milliseconds only, leaves open."""
    edges: tuple[tuple[str, str, Micros | None], ...] = (
        ("since", ">=", where.since),
        ("until", "<", where.until),
    )
    for name, comparison, at in edges:
        if at is not None and at % 1000:
            selection.where.append(f"r.occurred_at {comparison} :{name}")
            selection.values[name] = at
