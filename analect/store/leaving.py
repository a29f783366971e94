"""Hot rows on their way out: read to be copied, then removed in batches that hold no lock others
wait for longer than a moment. Whole months: :mod:`analect.store.dropping`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from analect.model.ids import RecordId, id_floor, month_bounds, month_of
from analect.store.choosing import Choice, Ownership
from analect.store.columnar import Columns, Heads, Selection, read_columns, snapshot
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.erasure import chunks
from analect.store.rows import bound_id, driver_id

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
) -> Iterator[Columns]:
    """The next ``limit`` rows behind ``after``, in the order of ids, at most
    :data:`READ_AT_ONCE` together; ``light``: without payloads.
    """
    for begun in begun_rows(engine, leaving, after, limit, light=light):
        yield begun.finish()


@dataclass(frozen=True, slots=True)
class Begun:
    """Rows of which only the heads are read, in a transaction that is open until they are finished."""

    selection: Selection
    heads: Heads
    transaction: ExitStack

    def finish(self) -> Columns:
        """All of them."""
        with self.transaction:
            return self.selection.columns(self.heads)


def begun_rows(
    engine: Engine,
    leaving: Leaving,
    after: RecordId | None,
    limit: int | None,
    *,
    light: bool = False,
) -> Iterator[Begun]:
    """As :func:`leaving_rows`, for two threads: where rows end is known before all of them is read,
    so the next ones can be begun while those are finished. Each must be.
    """
    left, engine = limit, snapshot(engine)
    while left is None or left > 0:
        count = READ_AT_ONCE if left is None else min(left, READ_AT_ONCE)
        with ExitStack() as transaction:
            connection = transaction.enter_context(read_transaction(engine))
            ownership = Ownership(connection, leaving.rules, leaving.holds)
            source, values = _source(connection, ownership, leaving, after)
            selection = Selection(connection, ownership, source, values, count, light)
            heads = selection.heads()
            if not heads.count:
                return
            begun = Begun(selection, heads, transaction.pop_all())
        yield begun
        left = None if left is None else left - heads.count
        after = heads.last


def leaving_ids(connection: Connection, leaving: Leaving, limit: int) -> list[RecordId]:
    """The first ``limit`` ids."""
    ownership = Ownership(connection, leaving.rules, leaving.holds)
    source, values = _source(connection, ownership, leaving, None)
    statement = f"SELECT r.id {source} LIMIT :limit"
    found = connection.execute(
        ownership.bind(statement), {**ownership.used(statement), **values, "limit": limit}
    )
    return [driver_id(row[0]) for row in found]


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


def load_rows(connection: Connection, ids: Sequence[RecordId]) -> Iterator[Columns]:
    """Rows by id, their payloads left out."""
    for part in chunks(ids):
        values = {f"i{number}": bound_id(connection, one) for number, one in enumerate(part)}
        marks = ", ".join(f":{name}" for name in values)
        source = f"FROM records AS r WHERE r.id IN ({marks}) ORDER BY r.id"
        everyone = Ownership(connection, [], [])
        yield read_columns(Selection(connection, everyone, source, values, len(part), light=True))


def month_batches(engine: Engine, month: str) -> Iterator[Columns]:
    """All hot rows of a month, their payloads left out, some thousand at a time."""
    low, high = _span(month)
    after: RecordId | None = None
    engine = snapshot(engine)
    while True:
        with read_transaction(engine) as connection:
            edges = {"low": after or low, "high": high}
            values = {name: bound_id(connection, edge) for name, edge in edges.items()}
            source = (
                f"FROM records AS r WHERE r.id {'>' if after else '>='} :low AND r.id < :high"
                " ORDER BY r.id"
            )
            everyone = Ownership(connection, [], [])
            rows = read_columns(
                Selection(connection, everyone, source, values, READ_AT_ONCE, light=True)
            )
        if not rows.count:
            return
        yield rows
        after = rows.last


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


def _source(
    connection: Connection, ownership: Ownership, leaving: Leaving, after: RecordId | None
) -> tuple[str, dict[str, Any]]:
    """What leaves behind ``after``, in the order of ids: what follows FROM, and its values."""
    low, high = _span(leaving.month)
    source = (
        f"FROM records AS r WHERE r.kind = :kind AND r.id {'>' if after else '>='} :low"
        f" AND r.id < :high AND {ownership.sql} = :owner ORDER BY r.id"
    )
    values = {
        "kind": leaving.kind,
        "low": bound_id(connection, after or low),
        "high": bound_id(connection, min(high, leaving.before)),
        "owner": leaving.owner,
    }
    return source, values


def _such(
    connection: Connection, ids: Sequence[RecordId], ownership: Ownership, condition: str
) -> list[RecordId]:
    marks = ", ".join(f":i{number}" for number in range(len(ids)))
    values = {f"i{number}": bound_id(connection, one) for number, one in enumerate(ids)}
    statement = f"SELECT r.id FROM records AS r WHERE r.id IN ({marks}) AND {condition}"
    found = connection.execute(ownership.bind(statement), values | ownership.used(statement))
    return [driver_id(row[0]) for row in found]


def _span(month: str) -> tuple[RecordId, RecordId]:
    first, end = month_bounds(month)
    return id_floor(max(first, 0)), id_floor(end)
