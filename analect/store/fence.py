"""Whether the truth takes anything new: held by the database itself, against every process.

A store that is `ReadOnly` or `Stopped` has triggers that refuse new records and new versions of
documents. Raising them waits for the writes that are under way, so that from then on nothing comes
in, whichever process sends it and whatever release that is. An `Active` store has none and pays
nothing. Reading, indexing, erasing and ageing go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, cast

from sqlalchemy import Connection, Engine, delete, select

from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.tables import meta
from analect.store.upsert import insert_into

Mode = Literal["Active", "ReadOnly", "Stopped"]

REFUSED_STATE = "AN001"
"""The SQLSTATE of a refusal; classes that begin with a letter from I on are nobody's."""

_FENCED: Mapping[str, Sequence[str]] = {
    "records": ("insert",),
    "documents": ("insert", "update"),
    "document_versions": ("insert",),
}
_ROW = "mode"
_FUNCTION = "analect_refuse"
_LONGEST_WAIT = "SET LOCAL lock_timeout = '60s'"


def mode(engine: Engine) -> Mode:
    """What the store is now.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with read_transaction(engine) as connection:
        return _mode(connection)


def set_mode(engine: Engine, wanted: Mode) -> Mode:
    """Make it so, once every write under way is through; what it was before.

    Raises:
        StoreUnavailable: the database does not answer, or somebody writes for over a minute.
    """
    with write_transaction(engine) as connection:
        if is_postgres(connection):
            connection.exec_driver_sql(_LONGEST_WAIT)
        before = _mode(connection)
        _set(connection, wanted)
        return before


@contextmanager
def lowered(connection: Connection) -> Iterator[None]:
    """Within one transaction that is to write all the same, as a restore is; the store is then
    what it was before.
    """
    before = _mode(connection)
    _set(connection, "Active")
    yield
    _set(connection, before)


def _set(connection: Connection, wanted: Mode) -> None:
    _lower(connection)
    connection.execute(delete(meta).where(meta.c.name == _ROW))
    if wanted != "Active":
        connection.execute(insert_into(connection, meta).values(name=_ROW, value=wanted))
        _raise(connection)


def _mode(connection: Connection) -> Mode:
    found = connection.execute(select(meta.c.value).where(meta.c.name == _ROW)).scalar()
    return cast("Mode", found or "Active")


def _raise(connection: Connection) -> None:
    postgres = is_postgres(connection)
    if postgres:
        connection.exec_driver_sql(
            f"CREATE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" RAISE EXCEPTION 'the store takes no writes' USING ERRCODE = '{REFUSED_STATE}'; END $$"
        )
    for table, events in _FENCED.items():
        for event in events:
            head = f"CREATE TRIGGER {_trigger(table, event)} BEFORE {event.upper()} ON {table}"
            body = (
                f"FOR EACH STATEMENT EXECUTE FUNCTION {_FUNCTION}()"
                if postgres
                else "BEGIN SELECT RAISE(ABORT, 'the store takes no writes'); END"
            )
            connection.exec_driver_sql(f"{head} {body}")


def _lower(connection: Connection) -> None:
    postgres = is_postgres(connection)
    for table, events in _FENCED.items():
        for event in events:
            on = f" ON {table}" if postgres else ""
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {_trigger(table, event)}{on}")
    if postgres:
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {_FUNCTION}()")


def _trigger(table: str, event: str) -> str:
    return f"analect_fence_{table}_{event}"
