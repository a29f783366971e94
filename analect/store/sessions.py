"""A session of Postgres that holds a lock, and does not hold it for a process that is frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Engine

if TYPE_CHECKING:
    import psycopg

SILENT_SECONDS = 30.0
"""Who asks the database nothing for so long was frozen: Postgres ends its session."""
_END_SILENT = (
    "SELECT set_config('idle_session_timeout', %s, false) "
    "WHERE current_setting('idle_session_timeout', true) IS NOT NULL"  # since Postgres 14
)


class OwnSession:
    """A session of its own: closing it ends it, and its locks with it. Thread-safe.

    Opening and asking raise what the driver raises.
    """

    def __init__(self, engine: Engine, silent_seconds: float = SILENT_SECONDS) -> None:
        self._connection: Connection = engine.connect()
        self._connection.detach()
        driver = cast("psycopg.Connection[Any]", self._connection.connection.dbapi_connection)
        driver.autocommit = True
        driver.execute(_END_SILENT, (f"{round(silent_seconds * 1000)}ms",))
        self.driver = driver

    @property
    def number(self) -> int:
        """Of the process of Postgres that serves it."""
        return self.driver.info.backend_pid

    def ask(self, statement: str, *values: object) -> Any:
        """The first value of what a statement finds."""
        row = self.driver.execute(statement, values).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        """End it, if Postgres has not done so."""
        self.driver.close()
        self._connection.invalidate()  # nothing is to be rolled back in it or given back
        self._connection.close()
