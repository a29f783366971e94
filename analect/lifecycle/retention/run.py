"""Doing what a plan says, and only that. One run at a time; a second one leaves.

A run that broke off is finished by the next one before it plans anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace

import structlog
from sqlalchemy import Connection, Engine

from analect.lifecycle.places.place import Place
from analect.lifecycle.retention.dropping import WholeMonths
from analect.lifecycle.retention.months import Months
from analect.lifecycle.retention.plan import Line, Plan, Planner
from analect.lifecycle.retention.policy import Policy
from analect.lifecycle.retention.rules import Rules, rules_at
from analect.lifecycle.retention.summaries import Summaries
from analect.lifecycle.tiers.copying import Copier, Going
from analect.lifecycle.tiers.filing import Filer, Filing
from analect.lifecycle.tiers.moving import Mover, Step
from analect.lifecycle.tiers.tables import TierTables
from analect.model.errors import Conflict
from analect.model.ids import Clock, Micros, RandomBytes, new_id
from analect.store.alone import alone
from analect.store.holds import Holds
from analect.store.leaving import Leaving
from analect.store.purging import purge_filed, purge_hot, same_holds, unindex
from analect.store.reports import Reports, keep_report
from analect.store.tier_files import TierFiles

log = structlog.get_logger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with (records done, records in all)."""
_ATTEMPTS = 3


@dataclass(slots=True)
class Report:
    """What a run did. ``archived`` went from hot to warm, ``compressed`` from warm to cold,
    ``deleted`` is gone; ``held`` was due but for a legal hold. ``files_kept`` were taken out of the
    tiers and stay because backups refer to them. ``dropped``: by index, the months that left it
    whole.
    """

    id: str
    started_at: Micros
    finished_at: Micros = 0
    outcome: str = "complete"
    dry_run: bool = False
    planned: int = 0
    archived: int = 0
    compressed: int = 0
    deleted: int = 0
    held: int = 0
    bytes_freed: int = 0
    files_kept: int = 0
    lines: list[Line] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)


class Retention:
    """Plans and runs. The policies given have their values in the stored form."""

    def __init__(
        self,
        engine: Engine,
        place: Place,
        *,
        clock: Clock,
        random_bytes: RandomBytes,
        processors: Sequence[str] = (),
        months: Months | None = None,
        step: Step = lambda _name: None,
    ) -> None:
        """``processors`` hear of what is deleted; ``months`` settles what whole months leave;
        ``step`` is called between the steps.
        """
        self._engine = engine
        self._files = TierFiles(engine)
        self._holds = Holds(engine)
        self._reports = Reports(engine)
        self._clock = clock
        self._random_bytes = random_bytes
        self._processors = processors
        self._months = months
        self._later: Collection[str] = months.names if months is not None else ()
        self._step = step
        tables = TierTables(self._files, place)
        self._planner = Planner(engine, tables)
        self._mover = Mover(
            engine,
            self._files,
            place,
            clock=clock,
            random_bytes=random_bytes,
            step=step,
        )
        self._copier = Copier(
            engine,
            self._files,
            self._mover,
            clock=clock,
            processors=processors,
            later=self._later,
            step=step,
        )
        self._filer = Filer(self._mover, self._files, tables)
        self._summaries = Summaries(engine, tables)
        self._whole = WholeMonths(
            engine,
            self._summaries,
            self._receipt,
            processors=processors,
            later=self._later,
            clock=clock,
            step=step,
        )

    def plan(self, policies: Sequence[Policy]) -> Plan:
        """What :meth:`run` would do now.

        Raises:
            StoreUnavailable: the database or the place of the files does not answer.
        """
        return self._planner.plan(self._rules(policies))

    def run(
        self, policies: Sequence[Policy], progress: Progress = lambda _done, _total: None
    ) -> Report:
        """Do it; a policy with ``dryRun`` is planned and reported only.

        Raises:
            StoreUnavailable: another run is under way, or database or place do not answer. What
                was begun is finished by the next run.
            Corrupt: a file did not read back as it was written; nothing was removed for it.
        """
        with alone(self._engine, "retention", wait=False):
            self._mover.settle()
            now = self._clock()
            rules = self._rules(policies)
            plan = self._planner.plan(rules)
            report = Report(
                id=new_id(now, self._random_bytes),
                started_at=now,
                planned=plan.records,
                held=plan.held,
                lines=list(plan.lines),
                dry_run=all(policy.dry_run for policy in policies),
            )
            dry = {policy.name for policy in policies if policy.dry_run}
            lines = [line for line in plan.lines if line.policy not in dry]
            # Files first: what is written to them in this run moves on in the next one.
            self._files_on(rules, lines, report, progress)
            self._hot_on(rules, lines, report, progress, plan.records)
            touched = sorted({line.month for line in lines})
            if self._months is not None:
                report.dropped = self._months.settle(touched)
            self._summaries.refresh(set(touched), self._clock())
            report.files_kept = len(self._mover.delete_retired())
            report.finished_at = self._clock()
            times = (report.started_at, report.finished_at)
            self._reports.keep("retention", report.outcome, asdict(report), times)
        log.info(
            "retention run",
            archived=report.archived,
            compressed=report.compressed,
            deleted=report.deleted,
            held=report.held,
        )
        return report

    # -- inside ----------------------------------------------------------------------------

    def _rules(self, policies: Sequence[Policy]) -> Rules:
        return rules_at(policies, self._holds.all(), self._clock())

    def _hot_on(
        self, rules: Rules, lines: Sequence[Line], report: Report, progress: Progress, total: int
    ) -> None:
        hot = [line for line in lines if line.tier == "hot"]
        for month in sorted({line.month for line in hot}):
            mine = [line for line in hot if line.month == month]
            if self._whole.drop(rules, month, mine, report.started_at):
                report.deleted += sum(line.records for line in mine)
            else:
                self._month_on(rules, mine, report)
            report.bytes_freed += sum(line.bytes for line in mine)
            progress(report.archived + report.compressed + report.deleted, total)

    def _month_on(self, rules: Rules, lines: Sequence[Line], report: Report) -> None:
        going = []
        for line in lines:
            standing = rules.rules[line.owner]
            leaving = Leaving(
                rules.choices, rules.held, line.owner, line.kind, line.month, line.before
            )
            if line.to == "gone":
                self._purge_hot(leaving, line, report)
            else:
                indexed = standing.policy.warm_indexed
                going.append(Going(leaving, standing.rule.anonymise, indexed, line.records))
        if going:
            report.archived += self._copier.copy(going)
            self._mover.remove_copied(going[0].leaving.month)
            self._mover.delete_retired()

    def _purge_hot(self, leaving: Leaving, line: Line, report: Report) -> None:
        done, receipt = 0, self._receipt(line)
        while done < line.records:
            gone = purge_hot(
                self._engine,
                leaving,
                self._processors,
                self._clock(),
                self._summaries.leave,
                later=self._later,
            )
            self._step("batch purged")
            done += gone
            if not gone:
                break  # what is left was held or erased meanwhile
        report.deleted += done
        receipt |= {"records": done}
        self._reports.keep("purge", "final", receipt, (report.started_at, self._clock()))

    def _files_on(
        self, rules: Rules, lines: Sequence[Line], report: Report, progress: Progress
    ) -> None:
        # Cold first, so that what cools in this run is not purged in it.
        for tier in ("cold", "warm"):
            mine = [line for line in lines if line.tier == tier]
            for kind, month in sorted({(line.kind, line.month) for line in mine}):
                here = [line for line in mine if (line.kind, line.month) == (kind, month)]
                chosen = _only(rules, here)
                filing = self._advance(tier, (kind, month), chosen, here)
                report.compressed += filing.cooled
                report.deleted += sum(map(len, filing.gone.values()))
                report.bytes_freed += filing.bytes_freed
                progress(report.compressed + report.deleted, report.planned)

    def _advance(
        self, tier: str, of: tuple[str, str], rules: Rules, lines: Sequence[Line]
    ) -> Filing:
        for _ in range(_ATTEMPTS):
            laid = self._holds.all()
            now_held = replace(rules, holds=(*rules.of_policies, *laid))

            def within(connection: Connection, filing: Filing) -> bool:
                if not same_holds(connection, laid):  # noqa: B023  (called before the next turn)
                    return False
                self._summaries.leave_counted(connection, filing.left)
                now = self._clock()
                unindex(connection, filing.unindexed, self._processors, now, self._later)
                for owner, gone in filing.gone.items():
                    purge_filed(connection, gone, self._processors, now, self._later)
                    line = next(one for one in lines if (one.owner, one.to) == (owner, "gone"))
                    receipt = self._receipt(line) | {"records": len(gone)}
                    keep_report(connection, "purge", "final", receipt, (rules.now, now))
                return True

            try:
                return self._filer.advance(tier, of, now_held, within)
            except Conflict:
                self._mover.settle()
        raise Conflict("legal holds keep changing under this run; run it again")

    def _receipt(self, line: Line) -> dict[str, object]:
        """What a purge deletes, without a word of what was in it."""
        return {
            "id": new_id(self._clock(), self._random_bytes),
            "policy": line.policy,
            "rule": line.rule,
            "tier": line.tier,
            "kind": line.kind,
            "month": line.month,
            "oldest_at": line.oldest,
            "newest_at": line.newest,
        }


def _only(rules: Rules, lines: Sequence[Line]) -> Rules:
    """The same rules, of which only those of ``lines`` move anything."""
    moving = {line.owner for line in lines}
    return replace(
        rules,
        rules=tuple(
            standing if number in moving else replace(standing, moves={})
            for number, standing in enumerate(rules.rules)
        ),
    )
