"""What lifecycle jobs did, kept in SQL: reports of runs, and receipts of what was purged."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, insert, select

from analect.model.errors import NotFound
from analect.model.ids import Micros
from analect.store.engine import read_transaction, write_transaction
from analect.store.tables import lifecycle_reports


@dataclass(frozen=True, slots=True)
class Told:
    """That there is a report: of which job, and what came of it."""

    id: str
    job: str
    outcome: str
    started_at: Micros
    finished_at: Micros


_COLUMNS = [lifecycle_reports.c[one.name] for one in fields(Told)]


class Reports:
    """The table of reports. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(
        self, job: str, outcome: str, report: dict[str, Any], times: tuple[Micros, Micros]
    ) -> None:
        """Write one down; ``report`` has its ``id``, ``times`` are begin and end."""
        with write_transaction(self._engine) as connection:
            keep_report(connection, job, outcome, report, times)

    def before(self, job: str | None, last: str | None, limit: int) -> list[Told]:
        """At most ``limit`` of a job, or of all of them, newest first, made before the one whose id
        is ``last``: ids are in the order of time.
        """
        wanted = select(*_COLUMNS).order_by(lifecycle_reports.c.id.desc()).limit(limit)
        if job is not None:
            wanted = wanted.where(lifecycle_reports.c.job == job)
        if last is not None:
            wanted = wanted.where(lifecycle_reports.c.id < last)
        with read_transaction(self._engine) as connection:
            return [Told(*row) for row in connection.execute(wanted)]

    def get(self, report_id: str) -> tuple[Told, dict[str, Any]]:
        """One of them, and what it says.

        Raises:
            NotFound: there is none with this id.
        """
        wanted = select(*_COLUMNS, lifecycle_reports.c.report)
        with read_transaction(self._engine) as connection:
            row = connection.execute(wanted.where(lifecycle_reports.c.id == report_id)).first()
        if row is None:
            raise NotFound("there is no report with this id", field="id")
        *told, report = row
        return Told(*told), msgspec.json.decode(report)

    def newest(self, job: str, limit: int = 20) -> list[dict[str, Any]]:
        """The last ones of a job."""
        wanted = (
            select(lifecycle_reports.c.report)
            .where(lifecycle_reports.c.job == job)
            .order_by(lifecycle_reports.c.started_at.desc(), lifecycle_reports.c.id.desc())
            .limit(limit)
        )
        with read_transaction(self._engine) as connection:
            return [msgspec.json.decode(text) for text in connection.execute(wanted).scalars()]


def keep_report(
    connection: Connection,
    job: str,
    outcome: str,
    report: dict[str, Any],
    times: tuple[Micros, Micros],
) -> None:
    """The same within a transaction that is open already."""
    row = {
        "id": report["id"],
        "job": job,
        "outcome": outcome,
        "report": msgspec.json.encode(report).decode(),
        "started_at": times[0],
        "finished_at": times[1],
    }
    connection.execute(insert(lifecycle_reports).values(row))
