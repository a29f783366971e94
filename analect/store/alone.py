"""One at a time among all processes on a database: an advisory lock, or a lock on a file beside it.

On Postgres a process that is frozen does not hold the others up for ever: its session falls silent
and is ended. When it wakes it changes nothing any more, for each of its transactions first looks
whether the lock is still its own; and whoever takes the lock waits for those that had looked.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy import Connection, Engine, text

from analect.model.errors import StoreUnavailable
from analect.store.engine import guarded, is_postgres, translating
from analect.store.sessions import SILENT_SECONDS, OwnSession
from analect.telemetry.beating import beating

_NUMBERS = {"erasing": 0x616E616C0003, "retention": 0x616E616C0005, "backing-up": 0x616E616C0006}
"""Advisory locks are a database's own."""
_CHANGING = 0x100
"""Above the number of a lock: held by the transactions of who has it."""
_SPEAKS = 3
"""Times, in the silence that would be taken for its end."""
_HELD = text(
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = :session "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (classid::bigint << 32 | objid::bigint) = :number"
)


@contextmanager
def alone(
    engine: Engine,
    name: str,
    *,
    wait: bool = True,
    shared: bool = False,
    silent_seconds: float = SILENT_SECONDS,
) -> Iterator[None]:
    """Hold the lock of this name in the block; ``shared``, beside others who do so.

    ``silent_seconds``: a process that was frozen for so long has lost it, on Postgres.

    Raises:
        StoreUnavailable: the database does not answer; or, without ``wait``, another one has it; or
            it was lost on the way.
    """
    if is_postgres(engine):
        with _own_session(engine, silent_seconds) as session:
            with translating():
                _lock(session, name, wait=wait, shared=shared)
            holder = partial(_see_held, session=session.number, name=name)
            answers = True
            try:
                speak = partial(_speak, session)
                with beating(speak, silent_seconds / _SPEAKS, name), guarded(engine, holder):
                    yield
            except StoreUnavailable:
                answers = False  # perhaps: then the lock ends when Postgres ends the session
                raise
            finally:
                if answers:
                    # Postgres may take a while to end the session, and the next one has its turn now.
                    with translating():
                        session.ask("SELECT pg_advisory_unlock_all()")
        return
    handle = os.open(f"{engine.url.database}.{name}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise _busy(name) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _own_session(engine: Engine, silent_seconds: float) -> Iterator[OwnSession]:
    with translating():
        session = OwnSession(engine, silent_seconds)
    try:
        yield session
    finally:
        session.close()


def _lock(session: OwnSession, name: str, *, wait: bool, shared: bool) -> None:
    side = "_shared" if shared else ""
    number = _NUMBERS[name]
    if session.ask(f"SELECT pg_{'' if wait else 'try_'}advisory_lock{side}(%s)", number) is False:
        raise _busy(name)
    # What one that lost it was about to commit is over first.
    session.ask(f"SELECT pg_advisory_lock{side}(%s)", number + _CHANGING)
    session.ask(f"SELECT pg_advisory_unlock{side}(%s)", number + _CHANGING)


def _see_held(connection: Connection, session: int, name: str) -> None:
    """Whether the lock is still that session's, until the transaction is over.

    Raises:
        StoreUnavailable: it is not.
    """
    number = _NUMBERS[name]
    fence = text("SELECT pg_advisory_xact_lock_shared(:fence)")
    connection.execute(fence, {"fence": number + _CHANGING})
    if connection.execute(_HELD, {"session": session, "number": number}).first() is None:
        raise StoreUnavailable(
            f"the database took this process to be dead, and another one may be at it ({name}); "
            "try again"
        )


def _speak(session: OwnSession) -> None:
    with translating():
        session.ask("SELECT 1")


def _busy(name: str) -> StoreUnavailable:
    return StoreUnavailable(f"another process is at it already ({name}); try again when it is done")
