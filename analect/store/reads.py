"""Reading records: by id, in keyset pages, as a thread, in bulk.

A page begins strictly behind the last row of the page before it, in an order that never changes
for a row that is there, so a walk neither skips nor repeats a row that was there when it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, bindparam, text

from analect.model.errors import InvalidQuery
from analect.model.grouping import Figures, Group
from analect.model.ids import RecordId, id_bytes, id_text
from analect.model.query import MAX_LIMIT, NumberRange, Page, PageRequest, RecordFilter
from analect.store.cursor import Cursors, digest
from analect.store.engine import is_postgres, read_transaction
from analect.store.filters import Span, check, evaluations, select, span_of
from analect.store.grouping import grouped_hot
from analect.store.rows import SELECT_LIST, StoredRecord, driver_id, stored_record
from analect.store.threads import thread_page

SCAN_BATCH = 500
"""Records a batch of :meth:`RecordReads.scan`: some MB at most for usual payloads."""
_HASH_BATCH = 5000
_IDS_AT_ONCE = 500
"""Ids bound in one statement."""


class RecordReads:
    """Reads of the ``records`` table. Thread-safe.

    Every method raises :class:`~analect.model.errors.StoreUnavailable` when the database does not
    answer.
    """

    def __init__(self, engine: Engine, cursors: Cursors) -> None:
        self._engine = engine
        self._cursors = cursors

    def get(self, ids: Sequence[RecordId]) -> list[StoredRecord]:
        """Those of ``ids`` that are there, in the order asked for, repeats once."""
        with read_transaction(self._engine) as connection:
            found = self.get_within(connection, ids)
        return [found[record_id] for record_id in dict.fromkeys(ids) if record_id in found]

    def get_within(
        self, connection: Connection, ids: Sequence[RecordId]
    ) -> dict[RecordId, StoredRecord]:
        """Those of ``ids`` that are there, by id, in a transaction that is open already."""
        statement = f"SELECT {SELECT_LIST} FROM records AS r WHERE r.id"
        rows = _by_ids(connection, statement, ids)
        return {stored.record.id: stored for stored in map(stored_record, rows)}

    def exists(self, ids: Sequence[RecordId]) -> set[RecordId]:
        """Those of ``ids`` that are there."""
        with read_transaction(self._engine) as connection:
            rows = _by_ids(connection, "SELECT r.id FROM records AS r WHERE r.id", ids)
            return {driver_id(row[0]) for row in rows}

    def all_there(self, ids: Sequence[RecordId]) -> bool:
        """Whether each of ``ids`` is there: a count says it for a tenth of what their names cost."""
        with read_transaction(self._engine) as connection:
            counts = _by_ids(connection, "SELECT count(*) FROM records AS r WHERE r.id", ids)
            return bool(sum(count for (count,) in counts) == len(set(ids)))

    def list(self, where: RecordFilter, page: PageRequest) -> Page[StoredRecord]:
        """A page of the records that pass, in the order of their ids, which is that of time.

        Raises:
            InvalidQuery: the filter names an unknown field, or limit or cursor is wrong.
        """
        check_limit(page.limit)
        query = digest("records", where, page.descending)
        span = span_of(where)
        if page.cursor is not None:
            span = behind(span, self._cursors.read(query, page.cursor), page.descending)
        with read_transaction(self._engine) as connection:
            rows = _select(connection, where, span, page.limit + 1, descending=page.descending)
        items = tuple(map(stored_record, rows[: page.limit]))
        if len(rows) <= page.limit:
            return Page(items)
        return Page(items, self._cursors.make(query, id_bytes(items[-1].record.id)))

    def within(
        self, where: RecordFilter, span: Span, limit: int, *, descending: bool
    ) -> Sequence[StoredRecord]:
        """At most ``limit`` records within ``span`` that pass, in the order of ids.

        Raises:
            InvalidQuery: the filter names an unknown field.
        """
        with read_transaction(self._engine) as connection:
            rows = _select(connection, where, span, limit, descending=descending)
        return list(map(stored_record, rows))

    def thread_within(
        self, thread_id: str, position: bytes | None, limit: int, *, descending: bool
    ) -> tuple[Sequence[StoredRecord], bytes | None]:
        """At most ``limit`` records of a conversation behind a position, and where to go on."""
        with read_transaction(self._engine) as connection:
            return thread_page(connection, thread_id, position, limit, descending=descending)

    def rated(self, bounds: NumberRange) -> set[str]:
        """Ids that evaluations with a rating within ``bounds`` point at."""
        where = ["e.rating IS NOT NULL", "e.parent_id IS NOT NULL"]
        values: dict[str, float] = {}
        for edge, comparison in (("minimum", ">="), ("maximum", "<=")):
            if (value := getattr(bounds, edge)) is not None:
                where.append(f"e.rating {comparison} :{edge}")
                values[edge] = value
        with read_transaction(self._engine) as connection:
            statement = (
                f"SELECT e.parent_id FROM {evaluations(connection, 'e')} AND {' AND '.join(where)}"
            )
            return set(connection.execute(text(statement), values).scalars())

    def thread(self, thread_id: str, page: PageRequest) -> Page[StoredRecord]:
        """A page of a conversation, by ``occurred_at``, ``turn`` (unnumbered first) and id.

        Raises:
            InvalidQuery: limit or cursor is wrong.
        """
        check_limit(page.limit)
        query = digest("thread", thread_id, page.descending)
        position = None if page.cursor is None else self._cursors.read(query, page.cursor)
        with read_transaction(self._engine) as connection:
            items, following = thread_page(
                connection, thread_id, position, page.limit, descending=page.descending
            )
        return Page(items, None if following is None else self._cursors.make(query, following))

    def count(self, where: RecordFilter, limit: int | None = None) -> int:
        """How many records pass, counted up to ``limit``.

        Raises:
            InvalidQuery: the filter names an unknown field.
        """
        with read_transaction(self._engine) as connection:
            selection = select(connection, where, span_of(where))
            statement = selection.sql("count(*)")
            if limit is not None:
                inner = selection.sql("1", "LIMIT :limit")
                statement = f"SELECT count(*) FROM ({inner}) AS counted"
                selection.values["limit"] = limit
            return int(connection.execute(text(statement), selection.values).scalar_one())

    def grouped(self, where: RecordFilter, by: Sequence[str]) -> Iterator[tuple[Group, Figures]]:
        """Figures of the records that pass, by group.

        Raises:
            InvalidQuery: the filter names an unknown field.
        """
        return grouped_hot(self._engine, where, by)

    def scan(
        self, where: RecordFilter, batch: int = SCAN_BATCH
    ) -> Iterator[Sequence[StoredRecord]]:
        """Everything that passes, in the order of ids, ``batch`` records at a time.

        Each batch is a transaction of its own: a long export holds nothing open.

        Raises:
            InvalidQuery: the filter names an unknown field.
        """
        check(where)
        span = span_of(where)
        while True:
            with read_transaction(self._engine) as connection:
                rows = _select(connection, where, span, batch, descending=False)
            if rows:
                yield list(map(stored_record, rows))
            if len(rows) < batch:
                return
            span = behind(span, id_bytes(driver_id(rows[-1][0])), descending=False)

    def hashes(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) of every record in the order of ids, in bounded memory."""
        span = Span() if after is None else behind(Span(), id_bytes(after), descending=False)
        while True:
            with read_transaction(self._engine) as connection:
                selection = select(connection, RecordFilter(), span)
                statement = selection.sql(
                    "r.id, r.content_hash", f"ORDER BY r.id LIMIT {_HASH_BATCH}"
                )
                rows = connection.execute(text(statement), selection.values).fetchall()
            for raw_id, content_hash in rows:
                yield driver_id(raw_id), bytes(content_hash)
            if len(rows) < _HASH_BATCH:
                return
            span = behind(span, id_bytes(driver_id(rows[-1][0])), descending=False)

    def feedback(self, ids: Sequence[RecordId]) -> Mapping[RecordId, Sequence[StoredRecord]]:
        """For each of ``ids`` the evaluations that point at it, oldest first."""
        found = _nothing_yet(ids)
        with read_transaction(self._engine) as connection:
            statement = text(
                f"SELECT {SELECT_LIST} FROM {evaluations(connection, 'r')}"
                " AND r.parent_id IN :parents ORDER BY r.id"
            ).bindparams(bindparam("parents", expanding=True))
            for parents in _chunks(list(found)):
                for row in connection.execute(statement, {"parents": parents}):
                    stored = stored_record(row)
                    found[RecordId(str(stored.record.parent_id))].append(stored)
        return found


def check_limit(limit: int) -> None:
    """Refuse a page size out of bounds.

    Raises:
        InvalidQuery: it is not between 1 and ``MAX_LIMIT``.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidQuery(f"limit must be between 1 and {MAX_LIMIT}", field="limit")


def _nothing_yet(ids: Sequence[RecordId]) -> dict[RecordId, list[StoredRecord]]:
    return {record_id: [] for record_id in ids}


def behind(span: Span, position: bytes, descending: bool) -> Span:
    """What is left of ``span`` behind the id at ``position``."""
    if descending:
        return Span(span.low, id_text(position))
    following = int.from_bytes(position, "big") + 1
    return Span(id_text(following.to_bytes(16, "big")), span.high)


def _select(
    connection: Connection, where: RecordFilter, span: Span, limit: int, *, descending: bool
) -> Sequence[Any]:
    selection = select(connection, where, span)
    order = "DESC" if descending else "ASC"
    statement = selection.sql(SELECT_LIST, f"ORDER BY {selection.key} {order} LIMIT :limit")
    return connection.execute(text(statement), {**selection.values, "limit": limit}).fetchall()


def _by_ids(connection: Connection, statement: str, ids: Sequence[RecordId]) -> Iterator[Any]:
    """Rows of ``statement``, which ends in the name of an id column, for these ids."""
    completed = _in_ids(connection, statement)
    for chunk in _chunks(list(dict.fromkeys(ids))):
        yield from connection.execute(completed, {"ids": _bound_ids(connection, chunk)}).fetchall()


def _in_ids(connection: Connection, statement: str) -> TextClause:
    if is_postgres(connection):
        return text(f"{statement} = ANY(CAST(:ids AS uuid[]))")
    return text(f"{statement} IN :ids").bindparams(bindparam("ids", expanding=True))


def _bound_ids(connection: Connection, ids: Sequence[RecordId]) -> str | list[bytes]:
    # One text for all: the driver takes longer over a list of UUIDs than the server over the rows.
    if is_postgres(connection):
        return f"{{{','.join(ids)}}}"
    return [id_bytes(record_id) for record_id in ids]


def _chunks(ids: list[RecordId]) -> Iterator[list[RecordId]]:
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[start : start + _IDS_AT_ONCE]
