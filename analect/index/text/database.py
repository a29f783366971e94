"""One file of the text index: its tables, its connections, its errors.

``words`` is a contentless FTS5 table: it holds which words stand where, and no text. A row's
``rowid`` is the record's ``seq`` in ``facets``. FTS5 can take a row out of such a table only when
it is told the row's words again, so a removed record is first put into ``dead`` (which hides it)
and :mod:`analect.index.text.purging` reads its words back from the index itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analect.index.facets import BASE_COLUMNS
from analect.index.text.tokens import VERSION as TOKEN_RULES
from analect.model.errors import ConfigurationError, Corrupt, EngineUnavailable

LAYOUT = 1
"""Raise it when the tables change."""
VERSION = LAYOUT * 1000 + TOKEN_RULES
BUSY_SECONDS = 30.0
PAGE_BYTES = 4096
LOG_PAGES = 4_000
"""Size at which the log is brought into the file: a merge rewrites the same pages many times."""

SCHEMA = (
    f"CREATE TABLE facets ({BASE_COLUMNS}, digest BLOB NOT NULL)",
    "CREATE VIRTUAL TABLE words USING fts5(body, labels, content='', tokenize='ascii')",
    "CREATE TABLE dead (seq INTEGER PRIMARY KEY)",
    "CREATE TABLE forgotten (id BLOB PRIMARY KEY) WITHOUT ROWID",
)

_GONE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's exceptions into ours.

    Raises:
        Corrupt: the file is damaged.
        EngineUnavailable: it cannot be read or written now.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _GONE:
            raise Corrupt(
                "the text index is damaged: make it again with `analect rebuild text`"
            ) from error
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise EngineUnavailable(f"the text index cannot be used now ({name})") from error


def create(path: Path) -> None:
    """Make an empty file.

    Raises:
        EngineUnavailable: it cannot be written.
    """
    with translated():
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        finally:
            connection.close()


def connect(path: Path, *, cache_kib: int, durable: bool = True) -> sqlite3.Connection:
    """Open an existing file; the connection may go from thread to thread, one at a time.

    ``secure_delete`` is on, so that what is removed is overwritten in the file.

    Raises:
        ConfigurationError: another release made it.
        Corrupt: it is no index file.
        EngineUnavailable: it is not there or cannot be opened.
    """
    with translated():
        connection = sqlite3.connect(
            f"file:{_quoted(path)}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_SECONDS,
        )
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        except sqlite3.Error:
            connection.close()
            raise
    if version != VERSION:
        connection.close()
        raise ConfigurationError(
            f"the text index has format {version}, this release needs {VERSION}: "
            "make it again with `analect rebuild text`",
            field="index.text",
        )
    return connection


def _quoted(path: Path) -> str:
    """A path inside an SQLite URI."""
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: the lock is taken at its start, across processes."""
    with translated():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
