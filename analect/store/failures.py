"""What a driver's exception means: the one place where they become Analect's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from analect.model.errors import (
    AnalectError,
    ConfigurationError,
    Conflict,
    Corrupt,
    InvalidInput,
    StoreUnavailable,
    TerminalError,
)

_DISK_FULL = "the disk of the database is full; free some space, then try again"
_DOWN = "the database does not answer; try again"
_NO_ENTRY = "the database refused the user or password: mend database_url (ANALECT_DATABASE_URL)"
_REFUSED = "the database refused a value"
_TAKEN = "a row of the same key is there already"
_FENCED = (
    "the store takes no writes: its mode is ReadOnly or Stopped; they are taken again once it is "
    "Active (`analect mode`)"
)
_DAMAGED = "the database file is damaged; restore a backup"
_NO_TABLES = "the database lacks a table or column; run `analect migrate`"

_FENCED_SECONDS = 30.0
_UNAVAILABLE_CLASSES = frozenset({"08", "25", "40", "53", "55", "57", "58"})
"""Postgres SQLSTATE classes (appendix A of its manual): connection, transaction state, rollback,
resources, object state, operator intervention, system error."""
_UNAVAILABLE_SQLITE = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_IOERR",
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
    "SQLITE_PROTOCOL",
    "SQLITE_NOMEM",
    "SQLITE_INTERRUPT",
    "SQLITE_SCHEMA",
)


@contextmanager
def translating() -> Iterator[None]:
    """Turn exceptions of SQLAlchemy and its drivers into :mod:`analect.model.errors`.

    Raises:
        StoreUnavailable: no connection, a lock that was not released, an I/O error, a full disk.
        Conflict: a constraint was violated.
        InvalidInput: a value does not fit its column.
        ConfigurationError: the tables are not there.
        Corrupt: the file is damaged.
        TerminalError: anything else the database refuses.
    """
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable("every database connection is busy; try again") from error
    except DBAPIError as error:
        raise translate(error.orig or error) from error
    except SQLAlchemyError as error:
        raise TerminalError(f"the database layer failed ({type(error).__name__})") from error
    except (OverflowError, UnicodeError) as error:
        raise InvalidInput(_REFUSED) from error  # a driver binding a value that fits no column
    except Exception as error:
        if type(error).__module__.split(".")[0] in {"sqlite3", "psycopg"}:
            raise translate(error) from error
        raise


def translate(error: BaseException) -> AnalectError:
    """The Analect error of a driver's exception."""
    name = getattr(error, "sqlite_errorname", None)
    if name is not None:
        return _of_sqlite(name, error)
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return _of_postgres(state)
    kind = type(error).__name__
    if "authentication failed" in str(error):
        return StoreUnavailable(_NO_ENTRY)
    if kind in {"OperationalError", "ConnectionTimeout", "InterfaceError"}:
        return StoreUnavailable(_DOWN)
    if kind in {"DataError", "OverflowError"}:
        return InvalidInput(_REFUSED)
    return TerminalError(f"the database refused a statement ({kind})")


def _of_sqlite(name: str, error: BaseException) -> AnalectError:
    if name == "SQLITE_FULL":
        return StoreUnavailable(_DISK_FULL, disk_full=True, retry_after=10.0)
    if name.startswith(_UNAVAILABLE_SQLITE):
        return StoreUnavailable(f"{_DOWN} ({name})")
    if name == "SQLITE_CONSTRAINT_TRIGGER":
        return StoreUnavailable(_FENCED, retry_after=_FENCED_SECONDS)
    if name.startswith("SQLITE_CONSTRAINT"):
        return Conflict(_TAKEN)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Corrupt(_DAMAGED)
    if name in {"SQLITE_TOOBIG", "SQLITE_MISMATCH", "SQLITE_RANGE"}:
        return InvalidInput(_REFUSED)
    if str(error).startswith(("no such table", "no such column")):
        return ConfigurationError(_NO_TABLES, field="database_url")
    return TerminalError(f"the database refused a statement ({name})")


def _of_postgres(state: str) -> AnalectError:
    if state == "53100":
        return StoreUnavailable(_DISK_FULL, disk_full=True, retry_after=10.0)
    if state == "AN001":  # what the triggers of analect.store.fence raise
        return StoreUnavailable(_FENCED, retry_after=_FENCED_SECONDS)
    if state[:2] in _UNAVAILABLE_CLASSES:
        return StoreUnavailable(f"{_DOWN} (SQLSTATE {state})")
    if state[:2] == "23":
        return Conflict(_TAKEN)
    if state[:2] in {"22", "54"}:
        return InvalidInput(_REFUSED)
    if state in {"XX001", "XX002"}:
        return Corrupt(_DAMAGED)
    if state in {"42P01", "42703"}:
        return ConfigurationError(_NO_TABLES, field="database_url")
    return TerminalError(f"the database refused a statement (SQLSTATE {state})")
