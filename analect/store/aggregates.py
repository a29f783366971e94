"""Monthly aggregates in SQL. Each row has figures of what left (``left``) and of what is still hot
or warm (``live``); rows whose ``live`` may be out of date have been computed at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, delete, select, update

from analect.model.ids import Micros
from analect.store.engine import read_transaction, write_transaction
from analect.store.journal import journal_place, months_since
from analect.store.tables import meta, monthly_aggregates
from analect.store.upsert import insert_into

Figures = dict[str, Any]
Key = tuple[str, str, str]
"""Family, month, group as JSON."""
Adding = Callable[[Figures, Figures], Figures]

_C = monthly_aggregates.c
_SEEN = "aggregates_seen"
"""Row of ``meta``: up to which place of the journal records are counted."""


class Aggregates:
    """The table of them. Thread-safe; ``adding`` adds two figures up."""

    def __init__(self, engine: Engine, adding: Adding) -> None:
        self._engine = engine
        self._adding = adding

    def add_left(self, connection: Connection, figures: Mapping[Key, Figures]) -> None:
        """Figures of records that leave hot and warm, in the transaction that lets them go."""
        for key, fresh in figures.items():
            parts = _parts(connection, key)
            left = self._adding(parts.get("left", {}), fresh)
            _save(connection, key, {**parts, "left": left}, 0)

    def set_live(self, month: str, figures: Mapping[Key, Figures], now: Micros) -> None:
        """Figures of all that is hot or warm of a month."""
        with write_transaction(self._engine) as connection:
            wanted = select(_C.family, _C.month, _C.grouped_by).where(_C.month == month)
            there = {(row[0], row[1], row[2]) for row in connection.execute(wanted)}
            for key in sorted(there | figures.keys()):
                parts = _parts(connection, key)
                live = {"live": figures[key]} if key in figures else {}
                left = {"left": parts["left"]} if "left" in parts else {}
                if live or left:
                    _save(connection, key, {**left, **live}, now)
                else:
                    connection.execute(delete(monthly_aggregates).where(*_is(key)))

    def outdated(self) -> set[str]:
        """Months that something left since they were computed."""
        wanted = select(_C.month).where(_C.computed_at == 0).distinct()
        with read_transaction(self._engine) as connection:
            return set(connection.execute(wanted).scalars())

    def months(self) -> set[str]:
        """Months there are figures of."""
        with read_transaction(self._engine) as connection:
            return set(connection.execute(select(_C.month).distinct()).scalars())

    def arrivals(self) -> tuple[set[str] | None, int]:
        """The months of which records were stored since :meth:`seen` (None: nobody ever said it),
        and the place to say it of once they are counted.
        """
        wanted = select(meta.c.value).where(meta.c.name == _SEEN)
        with read_transaction(self._engine) as connection:
            place = journal_place(connection)
            last = connection.execute(wanted).scalar()
            # One that lies ahead is of the database that this one was restored from.
            if last is None or int(last) > place:
                return None, place
            return months_since(connection, int(last)), place

    def seen(self, place: int) -> None:
        """Everything up to here is counted."""
        with write_transaction(self._engine) as connection:
            row = insert_into(connection, meta).values(name=_SEEN, value=str(place))
            new = {"value": str(place)}
            connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=new))

    def of(self, family: str, first: str = "", last: str = "9999-12") -> list[Figures]:
        """Figures of a family from month to month, both included: ``month``, ``group`` and sums."""
        wanted = (
            select(_C.month, _C.grouped_by, _C.figures)
            .where(_C.family == family, _C.month >= first, _C.month <= last)
            .order_by(_C.month, _C.grouped_by)
        )
        with read_transaction(self._engine) as connection:
            rows = connection.execute(wanted).fetchall()
        found = []
        for row in rows:
            parts = msgspec.json.decode(row.figures)
            figures = self._adding(parts.get("left", {}), parts.get("live", {}))
            found.append(
                {"month": row.month, "group": msgspec.json.decode(row.grouped_by), **figures}
            )
        return found

    def drop_before(self, family: str, month: str) -> int:
        """Let go of what is older than a month; how many rows."""
        old = delete(monthly_aggregates).where(_C.family == family, _C.month < month)
        with write_transaction(self._engine) as connection:
            return connection.execute(old).rowcount


def outdate(engine: Engine, months: Collection[str]) -> None:
    """Let these months be counted again by whoever counts next."""
    if months:
        stale = update(monthly_aggregates).where(_C.month.in_(sorted(months)))
        with write_transaction(engine) as connection:
            connection.execute(stale.values(computed_at=0))


def any_figures(engine: Engine) -> bool:
    """Whether there are any."""
    with read_transaction(engine) as connection:
        return connection.execute(select(_C.month).limit(1)).first() is not None


def _is(key: Key) -> tuple[Any, ...]:
    return _C.family == key[0], _C.month == key[1], _C.grouped_by == key[2]


def _parts(connection: Connection, key: Key) -> dict[str, Figures]:
    found = connection.execute(select(_C.figures).where(*_is(key))).scalar()
    return {} if found is None else msgspec.json.decode(found)


def _save(connection: Connection, key: Key, parts: dict[str, Figures], now: Micros) -> None:
    values = {"figures": msgspec.json.encode(parts).decode(), "computed_at": now}
    row = {"family": key[0], "month": key[1], "grouped_by": key[2], **values}
    fresh = insert_into(connection, monthly_aggregates).values(row)
    keys = ["family", "month", "grouped_by"]
    connection.execute(fresh.on_conflict_do_update(index_elements=keys, set_=values))
