"""One at a time among all processes on a database: an advisory lock, or a lock on a file beside it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, func, select

from analect.model.errors import StoreUnavailable
from analect.store.engine import is_postgres, translating

_NUMBERS = {"erasing": 0x616E616C0003, "retention": 0x616E616C0005, "backing-up": 0x616E616C0006}
"""Advisory locks are a database's own."""


@contextmanager
def alone(engine: Engine, name: str, *, wait: bool = True, shared: bool = False) -> Iterator[None]:
    """Hold the lock of this name in the block; ``shared``, beside others who do so.

    Raises:
        StoreUnavailable: the database does not answer; or, without ``wait``, another one has it.
    """
    if is_postgres(engine):
        with translating(), engine.connect() as connection:
            session = connection.execution_options(isolation_level="AUTOCOMMIT")
            side = "_shared" if shared else ""
            lock = getattr(func, f"pg_{'' if wait else 'try_'}advisory_lock{side}")
            if session.execute(select(lock(_NUMBERS[name]))).scalar() is False:
                raise _busy(name)
            try:
                yield
            finally:
                unlock = getattr(func, f"pg_advisory_unlock{side}")
                session.execute(select(unlock(_NUMBERS[name])))
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


def _busy(name: str) -> StoreUnavailable:
    return StoreUnavailable(f"another process is at it already ({name}); try again when it is done")
