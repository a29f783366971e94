"""Monthly summaries: what is hot or warm is counted again, what left was counted when it left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine

from analect.lifecycle.retention.policy import Policy
from analect.lifecycle.tiers.columns import SCHEMA, table_of
from analect.lifecycle.tiers.part import WARM
from analect.lifecycle.tiers.summing import FAMILIES, added, figures_of, percentile
from analect.lifecycle.tiers.tables import TierTables
from analect.model.ids import DAY, Micros, RecordId, id_floor, month_of
from analect.store.aggregates import Aggregates, Figures
from analect.store.leaving import hot_months, load_rows, month_batches
from analect.store.tier_files import REMOVING, TierFile

_COUNTED = [name for name in SCHEMA.names if name not in {"payload", "content_hash", "tags"}]


class Summaries:
    """Keeps ``monthly_aggregates`` up to date."""

    def __init__(self, engine: Engine, tables: TierTables) -> None:
        self._engine = engine
        self._tables = tables
        self._aggregates = Aggregates(engine, added)

    def leave(self, connection: Connection, ids: Sequence[RecordId]) -> None:
        """Count hot rows that are deleted in this transaction."""
        rows = pa.concat_tables([table_of(some) for some in load_rows(connection, ids)])
        self._aggregates.add_left(connection, figures_of(rows))

    def leave_counted(self, connection: Connection, figures: dict[Any, Figures]) -> None:
        """The same of what was counted already."""
        self._aggregates.add_left(connection, figures)

    def refresh(self, months: Iterable[str], now: Micros) -> int:
        """Count these months again, and those that something left since; how many."""
        wanted = sorted({*months, *self._aggregates.outdated()})
        for month in wanted:
            parts = [part.select(_COUNTED) for part in self._of_month(month)]
            whole = pa.concat_tables(parts) if parts else SCHEMA.empty_table().select(_COUNTED)
            self._aggregates.set_live(month, figures_of(whole), now)
        return len(wanted)

    def catch_up(self, now: Micros) -> int:
        """Count the months again of which records came since the last time, however old they are,
        and those that were never counted; how many.
        """
        arrived, place = self._aggregates.arrivals()
        hot = set(hot_months(self._engine))
        never = ({file.month for file in self._tables.standing(WARM)} | hot) - (
            self._aggregates.months()
        )
        counted = self.refresh(never | (hot if arrived is None else arrived), now)
        self._aggregates.seen(place)
        return counted

    def drop_old(self, policies: Sequence[Policy], now: Micros) -> int:
        """Let go of what the policies keep no longer; how many rows. Of several the longest holds."""
        dropped = 0
        for family in FAMILIES:
            said = [policy.aggregates.get(family) for policy in policies]
            days = [one for one in said if one is not None]
            if days and len(days) == len(said):
                edge = month_of(id_floor(max(now - max(days) * DAY, 0)))
                dropped += self._aggregates.drop_before(family, edge)
        return dropped

    def of(self, family: str, first: str, last: str, *, by_year: bool = False) -> list[Figures]:
        """A family's figures from month to month, or of the years they make up (``year`` in place
        of ``month``), with percentiles for people.
        """
        found = self._aggregates.of(family, first, last)
        told = []
        for figures in _years(found) if by_year else found:
            if (durations := figures.pop("durations", None)) is not None:
                figures["duration_p50"] = percentile(durations, 0.5)
                figures["duration_p95"] = percentile(durations, 0.95)
            told.append(figures)
        return told

    def _of_month(self, month: str) -> Iterator[Any]:
        files = [
            file
            for file in self._tables.standing(WARM)
            if file.month == month and file.state != REMOVING
        ]
        warm: Any = None
        for rows in month_batches(self._engine, month):
            table = table_of(rows)
            if files:  # what was sent again is hot and warm until the next run
                warm = self._ids(files) if warm is None else warm
                table = table.filter(pc.invert(pc.is_in(table.column("id"), warm)))
            yield table
        for file in files:
            yield from self._tables.tables(file, _COUNTED)

    def _ids(self, files: Iterable[TierFile]) -> Any:
        tables = [one for file in files for one in self._tables.tables(file, ["id"])]
        return pa.concat_tables(tables).column("id").combine_chunks()


def _years(months: Iterable[Figures]) -> Iterator[Figures]:
    """The same by year and group, in that order."""
    years: dict[tuple[str, str], Figures] = {}
    groups: dict[str, Any] = {}
    for figures in months:
        month, group = figures.pop("month"), figures.pop("group")
        groups[str(group)] = group
        key = (month[:4], str(group))
        years[key] = added(years[key], figures) if key in years else figures
    for year, name in sorted(years):
        yield {"year": year, "group": groups[name], **years[year, name]}
