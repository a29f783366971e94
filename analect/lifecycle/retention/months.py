"""Months that nothing is indexed of any more are dropped from the indexes that keep months apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog
from sqlalchemy import Engine

from analect.index.protocols import Monthly
from analect.model.errors import AnalectError
from analect.model.ids import Clock, RecordId
from analect.store.deferred import forget_month, release
from analect.store.erasure import split_ids
from analect.store.leaving import month_batches
from analect.store.tier_files import TierFiles

log = structlog.get_logger(__name__)

Requeue = Callable[[Sequence[RecordId], Sequence[str]], object]
"""Have these records processed again by the processors of these names."""


class Months:
    """What retention does with ``indexes``, by the names of their processors, in place of deleting
    one record after the other.
    """

    def __init__(
        self, engine: Engine, indexes: Mapping[str, Monthly], requeue: Requeue, clock: Clock
    ) -> None:
        self._engine = engine
        self._files = TierFiles(engine)
        self._indexes = indexes
        self._requeue = requeue
        self._clock = clock

    @property
    def names(self) -> frozenset[str]:
        """Processors that hear of deletions later: perhaps they need not."""
        return frozenset(self._indexes)

    def settle(self, months: Iterable[str]) -> dict[str, list[str]]:
        """After a run that took records of these months away: drop the months that are empty, and
        let the other records be deleted now; which months were dropped, by index.

        An engine that does not answer keeps nothing up: there, too, they are deleted one by one.
        """
        dropped: dict[str, list[str]] = {name: [] for name in self._indexes}
        for month in months:
            if self._hot(month) or self._filed(month):
                continue
            for name, index in self._indexes.items():
                if self._drop(name, index, month):
                    dropped[name].append(month)
        if self._indexes:
            release(self._engine, self.names, self._clock())
        return dropped

    def _drop(self, name: str, index: Monthly, month: str) -> bool:
        try:
            if not index.drop_month(month):
                return False
        except AnalectError as error:
            log.warning("month not dropped", index=name, month=month, code=error.code)
            return False
        forget_month(self._engine, name, month, self._clock())
        # What came between the look and the drop may have been in the index already.
        for ids in self._batches(month):
            self._requeue(ids, [name])
        log.info("month dropped", index=name, month=month)
        return True

    def _hot(self, month: str) -> bool:
        return any(True for _ in self._batches(month))

    def _filed(self, month: str) -> bool:
        """Whether warm files hold records of the month that stay indexed."""
        return any(file.indexed for file in self._files.standing("warm", month=month))

    def _batches(self, month: str) -> Iterable[list[RecordId]]:
        for rows in month_batches(self._engine, month):
            yield split_ids(rows.ids)
