"""A Neo4j server: sessions, transactions that are tried again, errors in our own words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

import neo4j
import stamina
from neo4j import Driver, GraphDatabase, Transaction
from neo4j.exceptions import AuthError, ConstraintError, DriverError, Neo4jError
from neo4j.exceptions import ConfigurationError as DriverConfigurationError

from analect.index.breaker import Breaker, Silent, TooLong
from analect.index.neo4j import schema
from analect.index.trust import authority, untrusted
from analect.model.errors import (
    ConfigurationError,
    EngineMisconfigured,
    EngineUnavailable,
    TerminalError,
)
from analect.settings import Graph
from analect.telemetry.patience import Patience

T = TypeVar("T")

_ATTEMPTS = 12
_OLDEST = (5, 23)
"""The first version whose Cypher has everything that is used here."""
_GONE = "Neo.ClientError.Statement.EntityNotFound"
_TOO_LONG = "Neo.ClientError.Transaction.TransactionTimedOut"
"""The beginning of two codes."""
_GRACE_SECONDS = 3.0
"""The server looks every two seconds for what has taken too long: until then it is not silent."""


class Again(EngineUnavailable):
    """Somebody else was at the same nodes; the transaction had no effect and is tried again."""


class Neo4jServer:
    """Nothing is asked before the first transaction. Thread-safe.

    Raises:
        ConfigurationError: the settings contradict each other, or the URL is none of Neo4j's.
    """

    def __init__(self, settings: Graph, breaker: Breaker) -> None:
        self._settings = settings
        self._breaker = breaker
        self._driver = _driver(settings)
        self._bookmarks = GraphDatabase.bookmark_manager()
        self._prepared = False
        self._preparing = Lock()

    def read(self, work: Callable[[Transaction], T]) -> T:
        """``work`` in a transaction that reads.

        Raises:
            EngineUnavailable: the server does not answer, or refuses this user.
            ConfigurationError: the server is too old.
        """
        with self._breaker.guarding():
            return self._run(work, neo4j.READ_ACCESS, self._settings.timeout_seconds)

    def answer(self, work: Callable[[Transaction], T]) -> T:
        """:meth:`read` for somebody who waits, and not for longer than ``graph.answer_seconds``.
        What hangs is left to a thread of its own: the driver itself would wait for minutes.

        Raises:
            EngineUnavailable: the server does not answer, or not in time, or refuses this user.
            ConfigurationError: the server is too old.
        """
        seconds = self._settings.answer_seconds
        patience = Patience[T](seconds + _GRACE_SECONDS)
        with self._breaker.guarding():
            told = patience.ask({"answer": lambda: self._run(work, neo4j.READ_ACCESS, seconds)})
            if not told:
                raise Silent(
                    f"Neo4j said nothing within {patience.seconds:g} s: see whether its server "
                    "hangs",
                    retry_after=5.0,
                )
            return told["answer"]

    def write(self, work: Callable[[Transaction], T]) -> T:
        """``work`` in a transaction that writes: all of it is done, or nothing. It may be called
        several times.

        Raises:
            EngineUnavailable: the server does not answer, or refuses this user, or others were at
                the same nodes again and again.
            ConfigurationError: the server is too old.
            TerminalError: the server refuses what is written.
        """
        with self._breaker.guarding():
            return self._run(work, neo4j.WRITE_ACCESS, self._settings.timeout_seconds)

    def check(self) -> None:
        """See that it answers and that its indexes are online.

        Raises:
            EngineUnavailable: it does not, or one of them has failed.
        """
        states = "SHOW INDEXES YIELD name, state WHERE name STARTS WITH 'analect_' RETURN state"
        found = self.read(lambda transaction: transaction.run(states).value("state"))
        if "FAILED" in found:
            raise EngineUnavailable(
                "an index of Neo4j has failed: drop those whose name begins with analect_, they "
                "are made again"
            )

    def close(self) -> None:
        """Release the connections."""
        self._driver.close()

    def _run(self, work: Callable[[Transaction], T], access: str, seconds: float) -> T:
        self._prepare()
        again = stamina.RetryingCaller(
            attempts=_ATTEMPTS, timeout=seconds, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
        )
        return again(Again, self._once, work, access, seconds)

    def _once(self, work: Callable[[Transaction], T], access: str, seconds: float) -> T:
        with (
            translated(),
            self._session(access) as session,
            session.begin_transaction(timeout=seconds) as transaction,
        ):
            result = work(transaction)
            transaction.commit()
            return result

    def _session(self, access: str) -> neo4j.Session:
        return self._driver.session(
            database=self._settings.database,
            default_access_mode=access,
            bookmark_manager=self._bookmarks,
        )

    def _prepare(self) -> None:
        """Look at the version and make constraints and indexes, once in this process."""
        with self._preparing:
            if self._prepared:
                return
            with translated(), self._session(neo4j.WRITE_ACCESS) as session:
                _check_version(session)
                for statement in schema.STATEMENTS:
                    session.run(statement).consume()
                session.run("CALL db.awaitIndexes(300)").consume()
            self._prepared = True


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's exceptions into Analect's; what the server says may quote a value and is
    left out.
    """
    try:
        yield
    except AuthError as error:
        raise EngineMisconfigured(
            "Neo4j refuses graph.user and graph.password (ANALECT_GRAPH__USER, "
            "ANALECT_GRAPH__PASSWORD)",
            field="graph.password",
        ) from error
    except Neo4jError as error:
        if error.is_retryable() or isinstance(error, ConstraintError) or error.code == _GONE:
            raise Again("Neo4j is busy with the same records; try again", retry_after=1.0) from None
        if (error.code or "").startswith(_TOO_LONG):
            raise TooLong(
                "Neo4j gave it up, for it took too long: ask with less depth or a lower limit, or "
                "raise graph.answer_seconds (ANALECT_GRAPH__ANSWER_SECONDS); for what is written "
                "it is graph.timeout_seconds"
            ) from None
        if (error.code or "").startswith("Neo.ClientError.Statement"):
            raise TerminalError(f"Neo4j refuses what was asked of it: {error.code}") from None
        raise EngineUnavailable(f"Neo4j cannot do it now: {error.code}") from None
    except DriverError as error:
        if untrusted(error):
            raise EngineMisconfigured(
                "Neo4j shows a certificate that is not trusted: name its authority in "
                "graph.ca_file (ANALECT_GRAPH__CA_FILE)",
                field="graph.ca_file",
            ) from error
        raise EngineUnavailable(
            "Neo4j does not answer; see that graph.url (ANALECT_GRAPH__URL) is right and that the "
            "server runs",
            retry_after=5.0,
        ) from error


def _driver(settings: Graph) -> Driver:
    url = settings.url or ""
    scheme = urlsplit(url).scheme
    trust: dict[str, Any] = {}
    if settings.ca_file is not None:
        # The driver takes a certificate of one's own with the plain schemes only.
        authority(settings.ca_file, "graph.ca_file")
        url = url.replace(scheme, scheme.partition("+")[0], 1)
        trusted = neo4j.TrustCustomCAs(str(settings.ca_file))
        trust = {"encrypted": True, "trusted_certificates": trusted}
    try:
        return GraphDatabase.driver(
            url,
            auth=settings.credentials(),
            max_connection_pool_size=settings.pool_size,
            connection_timeout=settings.connect_seconds,
            connection_acquisition_timeout=settings.timeout_seconds,
            connection_write_timeout=settings.timeout_seconds,
            # A restarted server leaves connections behind that look alive.
            liveness_check_timeout=1.0,
            notifications_min_severity="OFF",
            telemetry_disabled=True,
            user_agent="analect",
            **trust,
        )
    except (DriverConfigurationError, ValueError) as error:
        raise ConfigurationError(
            "graph.url (ANALECT_GRAPH__URL) must be like bolt://host:7687, bolt+s:// or neo4j+s:// "
            "for TLS, neo4j:// for a cluster",
            field="graph.url",
        ) from error


def _check_version(session: neo4j.Session) -> None:
    names = "CALL dbms.components() YIELD name, versions RETURN name, versions[0] AS version"
    found = next((row["version"] for row in session.run(names) if "Kernel" in row["name"]), "0.0")
    if numbers_of(found) < _OLDEST:
        raise ConfigurationError(
            f"Neo4j {found} is too old: the graph needs 5.26 or newer", field="graph.url"
        )


def numbers_of(version: str) -> tuple[int, ...]:
    """The first two numbers; a hosted server says more than numbers (``5.27-aura``)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
