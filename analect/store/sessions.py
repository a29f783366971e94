"""A session of Postgres that holds a lock, and does not hold it for a process that is frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Engine

from analect.store.engine import CONNECTING

if TYPE_CHECKING:
    import psycopg

SILENT_SECONDS = 30.0
"""Who asks the database nothing for so long was frozen: Postgres ends its session."""
_END_SILENT = (
    "SELECT set_config('idle_session_timeout', %s, false) "
    "WHERE current_setting('idle_session_timeout', true) IS NOT NULL"  # since Postgres 14
)


class OwnSession:
    """A session of its own: closing it ends it, and its locks with it. Thread-safe. It is none of
    the engine's pool: those know the tables already, which whoever goes on with the work has use for.

    Opening and asking raise what the driver raises.
    """

    def __init__(self, engine: Engine, silent_seconds: float = SILENT_SECONDS) -> None:
        arguments, named = engine.dialect.create_connect_args(engine.url)
        opened = engine.dialect.connect(*arguments, **{**named, **CONNECTING})
        self.driver = cast("psycopg.Connection[Any]", opened)
        self.driver.autocommit = True
        self.driver.execute(_END_SILENT, (f"{round(silent_seconds * 1000)}ms",))

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
