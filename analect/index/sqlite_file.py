"""One SQLite file of an index: connections, transactions and errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock

from analect.model.errors import ConfigurationError, Corrupt, EngineUnavailable

BUSY_SECONDS = 30.0
"""How long to wait for another process that writes."""

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # The outbox forgets an entry once it is processed, so what was processed must be on disk.
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA cache_size = -8192",
    "PRAGMA journal_size_limit = 16777216",
)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteFile:
    """Any thread may use it. ``name`` is the index's, for messages; with ``create`` the file is made
    when it is not there, without it is opened at first use.

    Raises (from every method):
        Corrupt: the file is damaged, or missing though it should be there.
        ConfigurationError: it was written by another format than ``version``.
        EngineUnavailable: anything else the file system or SQLite says.
    """

    def __init__(
        self, path: Path, name: str, schema: Sequence[str], version: int, *, create: bool = True
    ) -> None:
        if not create and not path.exists():
            raise missing(name)
        self._path = path
        self._name = name
        self._schema = schema
        self._version = version
        self._create = create
        self._prepared = False
        self._closed = False
        self._lock = Lock()
        self._writing = Lock()
        self._idle: list[sqlite3.Connection] = []
        if create:
            with translated(name):
                self._prepare()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection in a read transaction: everything read is of one moment."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.rollback()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in the one write transaction there is, over all threads and processes."""
        with self._writing, self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def check(self) -> None:
        """Read every page."""
        if self._prepared and not self._path.exists():
            raise missing(self._name)  # an open file outlives its name, but nobody finds it again
        with self._connection() as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise Corrupt(f"the {self._name} index is damaged: run `analect rebuild {self._name}`")

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with translated(self._name):
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise EngineUnavailable(f"the {self._name} index is closed")
            if self._idle:
                return self._idle.pop()
            if not self._prepared:
                self._prepare()
        return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        mode = "rwc" if self._create else "rw"
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        if self._create:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0 and self._create:
                for statement in self._schema:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {self._version}")
            connection.commit()
        if found == 0 and not self._create:
            raise Corrupt(f"the {self._name} index is empty: run `analect rebuild {self._name}`")
        if found not in (0, self._version):
            raise ConfigurationError(
                f"the {self._name} index is of format {found}, this release writes format "
                f"{self._version}: run `analect rebuild {self._name}`",
                field=f"index.{self._name}",
            )
        self._prepared = True


def missing(name: str) -> Corrupt:
    """The error for a file that is not there."""
    return Corrupt(f"a file of the {name} index is missing: run `analect rebuild {name}`")


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of SQLite and of the file system as this project's own."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the primary code, what is above it only refines.
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGED:
            raise Corrupt(f"the {name} index is damaged: run `analect rebuild {name}`") from error
        kind = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise EngineUnavailable(f"the {name} index does not answer ({kind})") from error
    except OSError as error:
        kind = error.strerror or type(error).__name__
        raise EngineUnavailable(f"the files of the {name} index: {kind}") from error
