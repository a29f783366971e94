"""Documents: versioned rows whose bodies arrive sealed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    delete,
    or_,
    select,
    tuple_,
    update,
)

from analect.model.errors import Conflict, NotFound
from analect.model.ids import Clock, Micros
from analect.model.query import MAX_LIMIT, Page, PageRequest
from analect.store.append import AppendSql, KeyRace, KeyRow
from analect.store.append_postgres import PostgresAppend
from analect.store.append_sqlite import SqliteAppend
from analect.store.cursor import Cursors, digest
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.reads import check_limit
from analect.store.tables import document_versions, documents
from analect.store.upsert import insert_into

_CREATED = struct.Struct(">q")
_EXPIRE_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """One version of a document; ``body`` is sealed by the data key ``key_id``."""

    kind: str
    id: str
    version: int
    owner: str | None
    status: str | None
    key_id: int
    body: bytes
    created_at: Micros
    updated_at: Micros
    expires_at: Micros | None


_FIELDS = tuple(StoredDocument.__dataclass_fields__)


class Documents:
    """The ``documents`` and ``document_versions`` tables. Thread-safe.

    A document whose ``expires_at`` has passed by ``clock`` is not there any more, even before
    :meth:`expire` takes it away.
    """

    def __init__(self, engine: Engine, cursors: Cursors, clock: Clock) -> None:
        self._engine = engine
        self._cursors = cursors
        self._clock = clock
        self._keys: AppendSql = PostgresAppend() if is_postgres(engine) else SqliteAppend()

    def put(
        self,
        kind: str,
        id: str,
        body: bytes,
        *,
        key_id: int,
        new_keys: Sequence[KeyRow] = (),
        owner: str | None = None,
        status: str | None = None,
        expires_at: Micros | None = None,
        expected_version: int | None = None,
        now: Micros,
    ) -> StoredDocument:
        """Save a new version. ``expected_version``: the version that was read, 0 when it must not
        be there yet, ``None`` when the last writer wins.

        Raises:
            Conflict: it is at another version; the message names it.
            KeyRace: the data key does not stand; seal again and retry. Nothing was saved.
        """
        with write_transaction(self._engine) as connection:
            if new_keys:
                self._keys.add_keys(connection, new_keys)
            if not self._keys.standing_keys(connection, [key_id]):
                raise KeyRace([key_id])
            while True:
                present = _lock(connection, kind, id, now)
                version = 0 if present is None else present.version
                _check_version(version, expected_version)
                created_at = now if present is None else present.created_at
                saved = StoredDocument(
                    kind, id, version + 1, owner, status, key_id, body, created_at, now, expires_at
                )
                if _write(connection, saved):
                    return saved

    def get(self, kind: str, id: str, version: int | None = None) -> StoredDocument | None:
        """The present version, or an earlier one; ``None`` when there is no such document."""
        with read_transaction(self._engine) as connection:
            live = _columns(documents).where(_is(documents, kind, id), self._live())
            present = connection.execute(live).first()
            if present is None or version in {None, present.version}:
                return _document(present)
            earlier = _columns(document_versions).where(
                _is(document_versions, kind, id), document_versions.c.version == version
            )
            return _document(connection.execute(earlier).first())

    def list(
        self,
        kind: str,
        *,
        owner: str | None = None,
        status: str | None = None,
        page: PageRequest = PageRequest(),  # noqa: B008  (frozen)
    ) -> Page[StoredDocument]:
        """A page of the documents of a kind, by time of creation and id.

        Raises:
            InvalidQuery: limit or cursor is wrong.
        """
        check_limit(page.limit)
        query = digest("documents", kind, owner, status, page.descending)
        keys = (documents.c.created_at, documents.c.id)
        statement = _columns(documents).where(documents.c.kind == kind, self._live())
        if owner is not None:
            statement = statement.where(documents.c.owner == owner)
        if status is not None:
            statement = statement.where(documents.c.status == status)
        if page.cursor is not None:
            place = tuple_(*_unpack(self._cursors.read(query, page.cursor)))
            ours = tuple_(*keys)
            statement = statement.where(ours < place if page.descending else ours > place)
        order = [key.desc() if page.descending else key.asc() for key in keys]
        with read_transaction(self._engine) as connection:
            rows = connection.execute(statement.order_by(*order).limit(page.limit + 1)).fetchall()
        items = tuple(StoredDocument(*row) for row in rows[: page.limit])
        if len(rows) <= page.limit:
            return Page(items)
        return Page(items, self._cursors.make(query, _pack(items[-1])))

    def owned_by(self, owner: str) -> Iterator[StoredDocument]:
        """Every document of an owner, kind by kind, in bounded memory."""
        with read_transaction(self._engine) as connection:
            kinds = connection.execute(select(documents.c.kind).distinct()).scalars().all()
        for kind in sorted(kinds):
            page = self.list(kind, owner=owner, page=PageRequest(MAX_LIMIT))
            yield from page.items
            while page.next is not None:
                request = PageRequest(MAX_LIMIT, page.next)
                page = self.list(kind, owner=owner, page=request)
                yield from page.items

    def delete(self, kind: str, id: str, *, expected_version: int | None = None) -> None:
        """Forget a document and all of its versions.

        Raises:
            NotFound: it is not there.
            Conflict: it is at another version than ``expected_version``.
        """
        with write_transaction(self._engine) as connection:
            present = _lock(connection, kind, id, self._clock())
            if present is None:
                raise NotFound("there is no such document", field="id")
            _check_version(present.version, expected_version)
            _forget(connection, [(kind, id)])

    def expire(self, now: Micros) -> int:
        """Forget every document whose time was over at ``now``; how many."""
        due = (
            select(documents.c.kind, documents.c.id)
            .where(documents.c.expires_at <= now)
            .limit(_EXPIRE_AT_ONCE)
            .with_for_update()
        )
        expired = 0
        while True:
            with write_transaction(self._engine) as connection:
                keys = [(kind, id_) for kind, id_ in connection.execute(due)]
                if keys:
                    _forget(connection, keys)
            expired += len(keys)
            if len(keys) < _EXPIRE_AT_ONCE:
                return expired

    def _live(self) -> ColumnElement[bool]:
        return or_(documents.c.expires_at.is_(None), documents.c.expires_at > self._clock())


@dataclass(frozen=True, slots=True)
class _Present:
    version: int
    created_at: Micros


def _lock(connection: Connection, kind: str, id: str, now: Micros) -> _Present | None:
    """The document's row, held until the end of the transaction; one that expired is dropped."""
    columns = (documents.c.version, documents.c.created_at, documents.c.expires_at)
    statement = select(*columns).where(_is(documents, kind, id)).with_for_update()
    row = connection.execute(statement).first()
    if row is None:
        return None
    version, created_at, expires_at = row
    if expires_at is not None and expires_at <= now:
        _forget(connection, [(kind, id)])
        return None
    return _Present(version, created_at)


def _check_version(version: int, expected: int | None) -> None:
    if expected is None or expected == version:
        return
    where = f"is at version {version}" if version else "does not exist"
    raise Conflict(
        f"the document {where}, not at {expected}: read it again and repeat the change"
        if expected
        else f"the document exists already: it {where}",
        field="expected_version",
    )


def _write(connection: Connection, saved: StoredDocument) -> bool:
    """Make ``saved`` the present version; false when another process made the document first."""
    values = {name: getattr(saved, name) for name in _FIELDS}
    if saved.version == 1:
        added = insert_into(connection, documents).values(values).on_conflict_do_nothing()
        if connection.execute(added.returning(documents.c.version)).first() is None:
            return False
    else:
        where = _is(documents, saved.kind, saved.id)
        connection.execute(update(documents).where(where).values(values))
    connection.execute(insert_into(connection, document_versions).values(values))
    return True


def _forget(connection: Connection, keys: Sequence[tuple[str, str]]) -> None:
    for table in (documents, document_versions):
        connection.execute(delete(table).where(tuple_(table.c.kind, table.c.id).in_(keys)))


def _columns(table: Table) -> Select[Any]:
    return select(*(table.c[name] for name in _FIELDS))


def _is(table: Table, kind: str, id: str) -> ColumnElement[bool]:
    return and_(table.c.kind == kind, table.c.id == id)


def _document(row: Sequence[Any] | None) -> StoredDocument | None:
    return None if row is None else StoredDocument(*row)


def _pack(document: StoredDocument) -> bytes:
    return _CREATED.pack(document.created_at) + document.id.encode()


def _unpack(position: bytes) -> tuple[Micros, str]:
    return _CREATED.unpack(position[:8])[0], position[8:].decode()
