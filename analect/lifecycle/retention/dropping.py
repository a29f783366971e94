"""Months of which every hot record is deleted go whole, where the database keeps months apart.

The records are counted for the summaries first, while everybody still sees them. Then the month is
detached; what belongs to its records goes with it in one transaction, unless it holds something
else by then, or a legal hold was laid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine

from analect.lifecycle.retention.plan import Line
from analect.lifecycle.retention.rules import Rules
from analect.lifecycle.retention.summaries import Summaries
from analect.lifecycle.tiers.ahead import ahead as made_ahead
from analect.lifecycle.tiers.columns import table_of
from analect.lifecycle.tiers.moving import Step, together
from analect.lifecycle.tiers.summing import Figures, Key, count
from analect.model.ids import Clock, Micros
from analect.store.dropping import IdSum, drop_month, month_rows
from analect.store.holds import Holds
from analect.store.leaving import Leaving, leaving_rows
from analect.store.purged_months import forget_ahead, journal_ahead, purge_month
from analect.store.purging import same_holds
from analect.store.reports import keep_report

_COUNTED_AT_ONCE = 8
"""Batches of rows: every count costs some milliseconds, whatever it counts."""


class WholeMonths:
    """Callers hold the lock of the one retention run. ``receipt`` says what a purge deletes."""

    def __init__(
        self,
        engine: Engine,
        summaries: Summaries,
        receipt: Callable[[Line], Mapping[str, object]],
        *,
        processors: Sequence[str],
        later: Collection[str],
        clock: Clock,
        step: Step,
    ) -> None:
        self._engine = engine
        self._holds = Holds(engine)
        self._summaries = summaries
        self._receipt = receipt
        self._processors = processors
        self._later = later
        self._clock = clock
        self._step = step

    def drop(self, rules: Rules, month: str, lines: Sequence[Line], since: Micros) -> bool:
        """Whether the hot records of a month, of which ``lines`` are all that is due, went whole.

        Raises:
            StoreUnavailable: the database does not answer. The next run goes on.
        """
        rows = month_rows(self._engine, month)
        if any(line.to != "gone" for line in lines) or rows != sum(one.records for one in lines):
            return False
        laid = self._holds.all()
        now_held = replace(rules, holds=(*rules.of_policies, *laid))
        figures: dict[Key, Figures] = {}
        going = IdSum()
        for line in lines:
            leaving = Leaving(
                rules.choices, now_held.held, line.owner, line.kind, month, line.before
            )
            for table in self._tables(leaving):
                going = going.plus(table.column("id").to_pylist())
                count(figures, table)
        if going.count != rows:
            return False
        self._step("month counted")

        def within(connection: Connection) -> bool:
            now = self._clock()
            purge_month(connection, month, self._processors, now, self._later)
            self._summaries.leave_counted(connection, figures)
            for line in lines:
                said = {**self._receipt(line), "records": line.records}
                keep_report(connection, "purge", "final", said, (since, now))
            return same_holds(connection, laid)

        def ahead() -> None:
            journal_ahead(self._engine, month)

        gone = drop_month(self._engine, month, going, self._step, within=within, ahead=ahead)
        if not gone:
            forget_ahead(self._engine)
        return gone

    def _tables(self, leaving: Leaving) -> Iterator[Any]:
        """Everything that leaves, its payloads left out."""
        with closing(
            made_ahead(leaving_rows(self._engine, leaving, None, None, light=True), 1)
        ) as rows:
            while some := [table_of(one) for one in islice(rows, _COUNTED_AT_ONCE)]:
                yield together(some)
