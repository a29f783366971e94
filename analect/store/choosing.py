"""Which hot records a retention rule or a legal hold is about, as SQL over ``records AS r``.

The caller gives plain conditions (:class:`Choice`); this module knows the two dialects. The first
choice that selects a record owns it, and a hold owns it before all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, text

from analect.model.ids import Micros, RecordId, id_floor
from analect.store.engine import is_postgres
from analect.store.rows import bound_id, driver_id

HELD = -2
"""The owner of what a legal hold selects."""
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Choice:
    """Values in their stored form; an empty tuple is no condition. ``since`` is inclusive,
    ``until`` exclusive.
    """

    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    success: bool | None = None
    since: Micros | None = None
    until: Micros | None = None


COLUMNS = {
    "kinds": "kind",
    "services": "service",
    "statuses": "status",
    "threads": "thread_id",
    "sessions": "session_id",
    "subjects": "subject",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Hot records of one owner, kind and month. ``bytes`` counts payloads."""

    owner: int
    kind: str
    month: str
    records: int
    bytes: int
    oldest: RecordId
    newest: RecordId


class Ownership:
    """The SQL expression of the owner of a row, and its bound values."""

    def __init__(
        self, connection: Connection, rules: Sequence[Choice], holds: Sequence[Choice]
    ) -> None:
        self._connection = connection
        self.values: dict[str, Any] = {}
        cases = [f"WHEN {self._condition(hold)} THEN {HELD}" for hold in holds]
        cases += [f"WHEN {self._condition(rule)} THEN {n}" for n, rule in enumerate(rules)]
        self.sql = f"(CASE {' '.join(cases)} ELSE {NOBODY} END)" if cases else str(NOBODY)
        held = [self._condition(hold) for hold in holds]
        self.held = f"({' OR '.join(held)})" if held else "(1 = 0)"
        """The condition that a legal hold selects a row."""

    def bind(self, statement: str) -> Any:
        """A statement that holds the expression, its lists expanded."""
        lists: list[Any] = [
            bindparam(name, expanding=True)
            for name, value in self.values.items()
            if isinstance(value, list) and f":{name}" in statement
        ]
        return text(statement).bindparams(*lists)

    def used(self, statement: str) -> dict[str, Any]:
        """The values that a statement binds."""
        return {name: value for name, value in self.values.items() if f":{name}" in statement}

    def _condition(self, choice: Choice) -> str:
        parts = list(self._parts(choice))
        return f"({' AND '.join(parts)})" if parts else "(1 = 1)"

    def _parts(self, choice: Choice) -> Iterator[str]:
        for name, column in COLUMNS.items():
            if values := getattr(choice, name):
                yield f"coalesce(r.{column}, '') IN :{self._bound(list(values))}"
        if choice.tags:
            yield (
                "EXISTS (SELECT 1 FROM record_tags AS x WHERE x.record_id = r.id"
                f" AND x.tag IN :{self._bound(list(choice.tags))})"
            )
        if choice.success is not None:
            yield f"(r.success IS NOT NULL AND r.success = :{self._bound(choice.success)})"
        for at, comparison in ((choice.since, ">="), (choice.until, "<")):
            if at is not None:
                edge = bound_id(self._connection, id_floor(max(at, 0)))
                yield f"r.id {comparison} :{self._bound(edge)}"

    def _bound(self, value: Any) -> str:
        name = f"c{len(self.values)}_"
        self.values[name] = value
        return name


def month_sql(connection: Connection) -> str:
    """The month of a row, ``YYYY-MM``."""
    if is_postgres(connection):
        return "to_char(to_timestamp(r.occurred_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM')"
    return "strftime('%Y-%m', r.occurred_at / 1000000, 'unixepoch')"


def chosen(
    connection: Connection, ownership: Ownership, before: Sequence[RecordId | None]
) -> list[Chosen]:
    """What each owner has that is older than its entry of ``before`` (None: nothing), and what is
    held of what is older than any; by owner, kind and month.
    """
    edges = {n: edge for n, edge in enumerate(before) if edge is not None}
    if not edges:
        return []
    last = max(edges.values())
    due = [f"(o.owner = {n} AND o.id < :before{n}_)" for n in edges]
    as_text = "CAST(o.id AS text)" if is_postgres(connection) else "o.id"
    statement = (
        f"SELECT o.owner, o.kind, o.month, count(*), coalesce(sum(o.size), 0),"
        f" min({as_text}), max({as_text})"
        f" FROM (SELECT {ownership.sql} AS owner, r.id, r.kind, {month_sql(connection)} AS month,"
        " length(r.payload) AS size FROM records AS r WHERE r.id < :last) AS o"
        f" WHERE o.owner = {HELD} OR {' OR '.join(due)} GROUP BY 1, 2, 3 ORDER BY 3, 2, 1"
    )
    values = ownership.used(statement) | {"last": bound_id(connection, last)}
    values |= {f"before{n}_": bound_id(connection, edge) for n, edge in edges.items()}
    rows = connection.execute(ownership.bind(statement), values).fetchall()
    return [
        Chosen(owner, kind, month, count, int(size), driver_id(first), driver_id(last))
        for owner, kind, month, count, size, first, last in rows
    ]


def nth_newest(
    connection: Connection, ownership: Ownership, owner: int, number: int
) -> RecordId | None:
    """The id of the ``number``-th newest hot record of an owner; None when there are fewer."""
    statement = (
        f"SELECT r.id FROM records AS r WHERE {ownership.sql} = {int(owner)}"
        " ORDER BY r.id DESC LIMIT 1 OFFSET :skip"
    )
    values = {**ownership.used(statement), "skip": number - 1}
    found = connection.execute(ownership.bind(statement), values).scalar()
    return None if found is None else driver_id(found)
