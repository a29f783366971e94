"""One time for all processes of a store: the database server's.

Leases, retries and ages compare what one process wrote with what another reads. Where the clocks
of two machines differ by minutes, work would wait that long, or be taken from a worker that is at
it.
"""

from __future__ import annotations

import structlog
from sqlalchemy import BigInteger, Engine, cast, extract, func, select

from analect.model.errors import AnalectError
from analect.model.ids import Clock, Micros
from analect.store.engine import is_postgres, read_transaction

log = structlog.get_logger(__name__)

_TELLING = 1_000_000
"""A clock that is off by more than a second is worth a line."""


class SharedClock:
    """This machine's clock, put right by the database's. On SQLite, which is one machine's, it is
    this machine's clock.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        """
        Raises:
            StoreUnavailable: the database does not answer.
        """
        self._engine = engine
        self._clock = clock
        self._ahead: Micros = 0
        self._ahead = self._measured()
        if abs(self._ahead) > _TELLING:
            log.warning("clock differs from the database's", seconds=self._ahead / 1_000_000)

    def __call__(self) -> Micros:
        """Microseconds since the epoch."""
        return self._clock() + self._ahead

    def adjust(self) -> None:
        """Look at the database's clock again; what was known stays when it does not answer."""
        try:
            self._ahead = self._measured()
        except AnalectError as error:
            log.warning("clock not compared with the database's", code=error.code)

    def _measured(self) -> Micros:
        if not is_postgres(self._engine):
            return 0
        theirs = cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
        with read_transaction(self._engine) as connection:
            connection.execute(select(1))  # what connecting takes is not the clock's
            before = self._clock()
            now = int(connection.execute(select(theirs)).scalar_one())
            return now - (before + self._clock()) // 2
