"""One leader at a time, and news of commits: an advisory lock and LISTEN/NOTIFY on Postgres."""

from __future__ import annotations

import threading

import structlog
from sqlalchemy import Engine

from analect.model.errors import AnalectError, ConfigurationError
from analect.store.engine import is_postgres, write_transaction
from analect.store.failures import translating
from analect.store.sessions import SILENT_SECONDS, OwnSession

log = structlog.get_logger(__name__)

_CHANNEL = "analect_outbox"
_LOCK = 0x616E616C656374  # "analect"; advisory locks are a database's own


class Leadership:
    """A session that tries to be the only one; whoever loses the session is no leader any more."""

    def __init__(self, engine: Engine, *, silent_seconds: float = SILENT_SECONDS) -> None:
        """Nothing is asked of the database yet.

        Raises:
            ConfigurationError: it is no Postgres.
        """
        if not is_postgres(engine):
            raise ConfigurationError(
                "the dispatcher needs Postgres: set database_url (ANALECT_DATABASE_URL), or let "
                "`analect serve` process by itself",
                field="database_url",
            )
        self._engine = engine
        self._silent = silent_seconds
        self._own: OwnSession | None = None
        self._leads = False

    def try_lead(self) -> bool:
        """Become the leader, or stay it; false while another one is.

        Raises:
            StoreUnavailable: the database does not answer; the lead is lost.
        """
        try:
            with translating():
                session = self._session()
                if self._leads:
                    session.ask("SELECT 1")
                elif session.ask("SELECT pg_try_advisory_lock(%s)", _LOCK):
                    session.driver.execute(f"LISTEN {_CHANNEL}")
                    self._leads = True
                return self._leads
        except AnalectError:
            self.close()
            raise

    def wait(self, seconds: float) -> bool:
        """Wait until something is committed, at most so long; whether it was.

        Raises:
            StoreUnavailable: the database does not answer; the lead is lost.
        """
        try:
            with translating():
                found = self._session().driver.notifies(timeout=seconds, stop_after=1)
                return bool(list(found))
        except AnalectError:
            self.close()
            raise

    def close(self) -> None:
        """Let another one lead."""
        own, self._own = self._own, None
        self._leads = False
        if own is not None:
            with translating():
                own.close()

    def _session(self) -> OwnSession:
        if self._own is None:
            self._own = OwnSession(self._engine, self._silent)
        return self._own


class Announcer:
    """Tells the leader of commits, a moment after them.

    A NOTIFY within the commit's own transaction would have all commits of a server wait for each
    other; one that gets lost costs no more than the leader's next look.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._news = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="analect-announcer", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something was committed."""
        self._news.set()

    def close(self) -> None:
        """Announce no more."""
        self._stopping = True
        self._news.set()
        self._thread.join()

    def _loop(self) -> None:
        while self._news.wait():
            self._news.clear()
            if self._stopping:
                return
            try:
                with write_transaction(self._engine, durable=False) as connection:
                    connection.exec_driver_sql(f"NOTIFY {_CHANNEL}")
            except AnalectError as error:
                log.warning("commit not announced", code=error.code)
