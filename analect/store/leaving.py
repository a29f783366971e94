"""Hot rows on their way out: read to be copied, then removed in batches that hold no lock others
wait for longer than a moment. Whole months: :mod:`analect.store.dropping`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from analect.model.ids import RecordId, id_floor, month_bounds, month_of
from analect.store.choosing import Choice, Ownership
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.erasure import chunks
from analect.store.rows import COLUMNS, bound_id, driver_id

READ_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class Leaving:
    """Hot rows of one kind and month that an owner moves: those below ``before``."""

    rules: Sequence[Choice]
    holds: Sequence[Choice]
    owner: int
    kind: str
    month: str
    before: RecordId


def leaving_rows(
    engine: Engine,
    leaving: Leaving,
    after: RecordId | None,
    limit: int | None,
    *,
    light: bool = False,
) -> Iterator[Sequence[Any]]:
    """The next ``limit`` rows behind ``after``, in the order of ids, as batches of
    :data:`analect.store.rows.COLUMNS` with ids as bytes or text; ``light``: without payloads.
    """
    left = limit
    while left is None or left > 0:
        count = READ_AT_ONCE if left is None else min(left, READ_AT_ONCE)
        with read_transaction(engine) as connection:
            columns = _light(connection) if light else ""
            rows = _rows(connection, leaving, after, count, columns)
        if not rows:
            return
        yield rows
        left = None if left is None else left - len(rows)
        after = driver_id(rows[-1][0])


def leaving_ids(connection: Connection, leaving: Leaving, limit: int) -> list[RecordId]:
    """The first ``limit`` ids."""
    return [driver_id(row[0]) for row in _rows(connection, leaving, None, limit, "r.id")]


def load_ids(connection: Connection, ids: Sequence[RecordId]) -> list[RecordId]:
    """Those of a few ``ids`` that are hot."""
    return _such(connection, ids, Ownership(connection, [], []), "(1 = 1)")


def held_ids(
    connection: Connection, ids: Sequence[RecordId], holds: Sequence[Choice]
) -> list[RecordId]:
    """Those of a few ``ids`` that are hot and that a hold selects."""
    ownership = Ownership(connection, [], holds)
    return _such(connection, ids, ownership, ownership.held)


def hot_months(engine: Engine) -> list[str]:
    """The months of which there are hot records, oldest first."""
    months: list[str] = []
    with read_transaction(engine) as connection:
        low = id_floor(0)
        while True:
            wanted = text("SELECT id FROM records WHERE id >= :low ORDER BY id LIMIT 1")
            first = connection.execute(wanted, {"low": bound_id(connection, low)}).scalar()
            if first is None:
                return months
            months.append(month_of(driver_id(first)))
            low = id_floor(month_bounds(months[-1])[1])


def load_rows(connection: Connection, ids: Sequence[RecordId]) -> Sequence[Any]:
    """Rows of :data:`analect.store.rows.COLUMNS`, their payloads left out, by id."""
    found: list[Any] = []
    for part in chunks(ids):
        marks = ", ".join(f":i{number}" for number in range(len(part)))
        values = {f"i{number}": bound_id(connection, one) for number, one in enumerate(part)}
        statement = f"SELECT {_light(connection)} FROM records AS r WHERE r.id IN ({marks})"
        found += connection.execute(text(statement), values).fetchall()
    return found


def month_batches(engine: Engine, month: str) -> Iterator[Sequence[Any]]:
    """All hot rows of a month, their payloads left out, some thousand at a time."""
    low, high = _span(month)
    after: RecordId | None = None
    while True:
        with read_transaction(engine) as connection:
            statement = (
                f"SELECT {_light(connection)} FROM records AS r WHERE r.id < :high"
                f" AND r.id {'>' if after else '>='} :low ORDER BY r.id LIMIT {READ_AT_ONCE}"
            )
            edges = {"low": after or low, "high": high}
            values = {name: bound_id(connection, edge) for name, edge in edges.items()}
            rows = connection.execute(text(statement), values).fetchall()
        if not rows:
            return
        yield rows
        after = driver_id(rows[-1][0])


def remove_copied(engine: Engine, ids: Sequence[RecordId], step: Callable[[str], None]) -> int:
    """Remove hot rows and their tags, batch by batch; how many were there. Their journal,
    annotations and content hashes stay: the records exist, elsewhere.
    """
    gone = 0
    for part in chunks(ids):
        # Were a batch lost in a power cut, its rows would be hot and warm, and go the next time.
        with write_transaction(engine, durable=False) as connection:
            gone += remove_rows(connection, part)
        step("batch removed")
    return gone


def remove_rows(connection: Connection, ids: Sequence[RecordId]) -> int:
    """Remove these rows of ``records`` and ``record_tags``; how many there were."""
    bound = [bound_id(connection, record_id) for record_id in ids]
    if is_postgres(connection):
        edges = "BETWEEN :low AND :high AND {} = ANY(:ids)"
        values = {"ids": bound, "low": min(bound), "high": max(bound)}
        tags = "DELETE FROM record_tags t USING records r, jsonb_array_elements_text(CAST(r.tags AS jsonb)) j WHERE r.id {} AND t.tag = j AND t.record_id = r.id AND t.record_id BETWEEN :low AND :high"
        connection.execute(text(tags.format(edges.format("r.id"))), values)
        rows = f"DELETE FROM records WHERE id {edges.format('id')}"
        return connection.execute(text(rows), values).rowcount
    marks = ", ".join("?" * len(bound))
    connection.exec_driver_sql(
        "DELETE FROM record_tags WHERE (tag, record_id) IN (SELECT j.value, r.id FROM records AS r,"
        f" json_each(r.tags) AS j WHERE r.id IN ({marks}))",
        tuple(bound),
    )
    return connection.exec_driver_sql(
        f"DELETE FROM records WHERE id IN ({marks})", tuple(bound)
    ).rowcount


def _rows(
    connection: Connection, leaving: Leaving, after: RecordId | None, limit: int, columns: str = ""
) -> Sequence[Any]:
    ownership = Ownership(connection, leaving.rules, leaving.holds)
    if not columns:
        as_text = "CAST(r.id AS text)" if is_postgres(connection) else "r.id"
        columns = ", ".join([as_text, *(f"r.{name}" for name in COLUMNS[1:])])
    low, high = _span(leaving.month)
    statement = (
        f"SELECT {columns} FROM records AS r WHERE r.kind = :kind"
        f" AND r.id {'>' if after else '>='} :low AND r.id < :high AND {ownership.sql} = :owner"
        " ORDER BY r.id LIMIT :limit"
    )
    values = ownership.used(statement) | {
        "kind": leaving.kind,
        "low": bound_id(connection, after or low),
        "high": bound_id(connection, min(high, leaving.before)),
        "owner": leaving.owner,
        "limit": limit,
    }
    if is_postgres(connection):
        # Payloads come as they are instead of spelled in hexadecimal, numbers unwritten.
        event.listen(connection, "before_cursor_execute", _ask_for_binary)
    result: Any = connection.execute(ownership.bind(statement), values)
    # The driver's own rows: columns made from SQLAlchemy's took 40% more CPU.
    with _uncollected():
        rows: Sequence[Any] = result.cursor.fetchall()
    result.close()
    return rows


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles within the block: thousands of rows are none, and would have Python go
    through all that it knows again and again.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _ask_for_binary(_connection: Connection, cursor: Any, *_: Any) -> None:
    cursor.format = 1  # psycopg.pq.Format.BINARY


def _such(
    connection: Connection, ids: Sequence[RecordId], ownership: Ownership, condition: str
) -> list[RecordId]:
    marks = ", ".join(f":i{number}" for number in range(len(ids)))
    values = {f"i{number}": bound_id(connection, one) for number, one in enumerate(ids)}
    statement = f"SELECT r.id FROM records AS r WHERE r.id IN ({marks}) AND {condition}"
    found = connection.execute(ownership.bind(statement), values | ownership.used(statement))
    return [driver_id(row[0]) for row in found]


def _light(connection: Connection) -> str:
    as_text = "CAST(r.id AS text)" if is_postgres(connection) else "r.id"
    rest = ("NULL AS payload" if name == "payload" else f"r.{name}" for name in COLUMNS[1:])
    return ", ".join([as_text, *rest])


def _span(month: str) -> tuple[RecordId, RecordId]:
    first, end = month_bounds(month)
    return id_floor(max(first, 0)), id_floor(end)
