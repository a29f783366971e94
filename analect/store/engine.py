"""Connections to the truth: SQLite or Postgres, with the same few verbs for both.

Every transaction is opened here, and every exception of a driver is translated here, so the code
above sees only :mod:`analect.model.errors`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from analect.model.errors import ConfigurationError
from analect.store.failures import translating

__all__ = [
    "checkpoint",
    "guarded",
    "is_postgres",
    "one_statement",
    "open_engine",
    "read_transaction",
    "translating",
    "write_transaction",
    "writing_held",
]

PAGE_SIZE = 16_384
"""Bytes. A sealed 2 KB row wastes half of a 4 KB page."""
BUSY_TIMEOUT_MS = 10_000
"""How long a process waits for another process's SQLite write transaction."""
CACHE_KIB = 8_192
"""SQLite page cache of one connection: ten may be open, and the system keeps the same pages."""
CONNECTING: Mapping[str, Any] = {"connect_timeout": 5, "application_name": "analect"}
"""What every session of Postgres begins with: seconds, and the name by which its server knows it."""
IDLE_SECONDS = 120.0
"""How long Postgres lets a transaction stand open in which nothing is asked: a process that was
frozen in one would hold its locks, and the change feed of everyone, until it wakes.
"""
WAL_KEEP_BYTES = 64 * 1024 * 1024
"""A WAL file that grew beyond this is cut back when it restarts."""

WAL_KEEP_PAGES = WAL_KEEP_BYTES // PAGE_SIZE
"""A WAL that grew so long is moved whole, so that it begins anew (see
:mod:`analect.store.checkpoints`)."""
_AUTOCHECKPOINT_PAGES = 4 * WAL_KEEP_PAGES
"""Where a commit moves the WAL itself: only when nobody else comes to it."""

Guard = Callable[[Connection], None]
"""Raises where what was begun must not go on."""
_guards: ContextVar[tuple[tuple[Engine, Guard], ...]] = ContextVar("guards", default=())

_BEGIN = "analect_begin"
_WRITER = "analect_writer"


def open_engine(url: str, *, pool_size: int = 8, idle_seconds: float = IDLE_SECONDS) -> Engine:
    """Connect lazily to ``sqlite:///path`` or ``postgresql://...`` (psycopg 3).

    At most ``pool_size`` connections are kept and twice as many opened. The SQLite file's folder
    is made when absent. ``idle_seconds``: see :data:`IDLE_SECONDS`.

    Raises:
        ConfigurationError: the URL is not one of these, the folder cannot be made, or the Postgres
            driver is not installed.
    """
    parsed = _parse(url)
    shared: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": pool_size,
        "pool_timeout": 10,
        "hide_parameters": True,
    }
    if parsed.get_backend_name() == "sqlite":
        _make_folder(Path(parsed.database or "").expanduser().parent)
        engine = create_engine(parsed, **shared)
        _prepare_sqlite(engine)
        _add_writer(engine, create_engine(parsed, **{**shared, "pool_size": 1, "max_overflow": 0}))
        return engine
    try:
        engine = create_engine(
            parsed,
            pool_pre_ping=True,
            connect_args={**CONNECTING},
            **shared,
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "Postgres needs the psycopg driver: pip install 'analect[postgres]'",
            field="database_url",
        ) from error
    _limit_postgres(engine, idle_seconds)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {folder} cannot be made: {error.strerror}; name another one with "
            "home (ANALECT_HOME), or a database with database_url (ANALECT_DATABASE_URL)",
            field="home",
        ) from error


def is_postgres(engine: Engine | Connection) -> bool:
    """Whether statements go to Postgres (else to SQLite)."""
    return engine.dialect.name == "postgresql"


@contextmanager
def read_transaction(engine: Engine) -> Iterator[Connection]:
    """A consistent view on SQLite, READ COMMITTED on Postgres; nothing is written.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    with translating(), engine.connect() as connection:
        yield connection


@contextmanager
def one_statement(engine: Engine) -> Iterator[Connection]:
    """For reads that are one statement: on Postgres it goes without BEGIN and ROLLBACK, two waits
    for the server fewer. On SQLite a :func:`read_transaction`.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    if not is_postgres(engine):
        with read_transaction(engine) as connection:
            yield connection
        return
    with translating(), engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def write_transaction(engine: Engine, *, durable: bool = True) -> Iterator[Connection]:
    """A transaction that may write, committed at the end of the block, rolled back on an error.

    On SQLite it holds the write lock from the start (BEGIN IMMEDIATE); threads of this process
    queue for it instead of polling. ``durable=False`` is for bookkeeping whose loss in a power cut
    is harmless: atomic and ordered as ever, but the disk is not waited for.

    Raises:
        StoreUnavailable: the database cannot be reached or cannot write.
        Conflict: a constraint of the tables was violated.
    """
    if is_postgres(engine):
        with translating(), engine.connect() as connection, connection.begin():
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            for guarded_engine, guard in _guards.get():
                if guarded_engine is engine:
                    guard(connection)
            yield connection
        return
    writer: _Writer = engine.get_execution_options()[_WRITER]
    with (
        translating(),
        writer.lock,
        writer.engine.connect() as connection,
        _synchronous(connection, durable),
        connection.begin(),
    ):
        yield connection


@contextmanager
def guarded(engine: Engine, guard: Guard) -> Iterator[None]:
    """Every :func:`write_transaction` that this thread opens on a Postgres within the block is shown
    to ``guard`` first.
    """
    token = _guards.set((*_guards.get(), (engine, guard)))
    try:
        yield
    finally:
        _guards.reset(token)


@contextmanager
def writing_held(engine: Engine) -> Iterator[None]:
    """On SQLite: no other thread of this process writes within the block."""
    writer: _Writer = engine.get_execution_options()[_WRITER]
    with writer.lock:
        yield


def checkpoint(engine: Engine, mode: str) -> tuple[bool, int]:
    """Move SQLite's WAL into the file: ``PASSIVE`` what is in nobody's way, ``TRUNCATE`` all of it.

    Returns:
        Whether somebody was in the way, and the pages of the WAL.

    Raises:
        StoreUnavailable: the disk does not take it.
    """
    writer: _Writer = engine.get_execution_options()[_WRITER]
    # Two at once are not possible, and SQLite does not let the second one wait.
    with writer.checkpointing, translating(), engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        busy, pages, _ = driver.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return bool(busy), int(pages)


@contextmanager
def _synchronous(connection: Connection, durable: bool) -> Iterator[None]:
    """SQLite's durability of one connection, lowered for the block and put back."""
    driver: Any = connection.connection.dbapi_connection
    if not durable:
        driver.execute("PRAGMA synchronous = NORMAL")
    connection.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
    try:
        yield
    finally:
        if not durable and not connection.invalidated:
            driver.execute("PRAGMA synchronous = FULL")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in {"postgres", "postgresql"}:
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername == "postgresql+psycopg":
            return parsed
        if parsed.drivername == "sqlite" and parsed.database not in {None, "", ":memory:"}:
            return parsed
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise _wrong_url() from error
    raise _wrong_url()


def _wrong_url() -> ConfigurationError:
    return ConfigurationError(
        "database_url must look like sqlite:///folder/file.db or postgresql://user@host/name",
        field="database_url",
    )


def _limit_postgres(engine: Engine, idle_seconds: float) -> None:
    """Nobody holds what others wait for and does nothing."""

    @event.listens_for(engine, "connect")
    def configure(driver: Any, _record: Any) -> None:
        driver.autocommit = True
        driver.execute(f"SET idle_in_transaction_session_timeout = {round(idle_seconds * 1000)}")
        driver.autocommit = False


@dataclass(frozen=True, slots=True)
class _Writer:
    """The one connection of a process that writes to SQLite, and who has it.

    SQLite empties a connection's page cache when another one has written. With writes all over a
    pool every commit began by reading its pages again.
    """

    engine: Engine
    lock: threading.Lock = field(default_factory=threading.Lock)
    checkpointing: threading.Lock = field(default_factory=threading.Lock)


def _add_writer(engine: Engine, writer: Engine) -> None:
    _prepare_sqlite(writer)
    engine.update_execution_options(**{_WRITER: _Writer(writer)})

    @event.listens_for(engine, "engine_disposed")
    def dispose(_engine: Engine) -> None:
        writer.dispose()


def _prepare_sqlite(engine: Engine) -> None:
    """Pragmas on every new connection, and explicit BEGIN."""

    @event.listens_for(engine, "connect")
    def configure(driver: Any, _record: Any) -> None:
        driver.isolation_level = None  # the driver opens no transaction of its own
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            f"page_size = {PAGE_SIZE}",  # takes effect before the first table only
            "journal_mode = WAL",
            "synchronous = FULL",
            f"journal_size_limit = {WAL_KEEP_BYTES}",
            f"wal_autocheckpoint = {_AUTOCHECKPOINT_PAGES}",
            f"cache_size = -{CACHE_KIB}",
            "mmap_size = 0",  # a file cut short by a full disk would kill the process
            "temp_store = MEMORY",
            "secure_delete = ON",
            "foreign_keys = ON",
        ):
            driver.execute(f"PRAGMA {pragma}").fetchall()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
