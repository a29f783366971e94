"""Retention as the façade offers it: policies come in clear, and are asked in their stored form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from analect.cache.cache import Cache
from analect.index.protocols import Monthly
from analect.lifecycle.retention.loading import load_policies
from analect.lifecycle.retention.policy import Policy, Selector
from analect.lifecycle.retention.rules import choice_of, rules_at
from analect.lifecycle.tiers.opening import need_archive, tiers_place
from analect.model.errors import InvalidInput
from analect.model.ids import Clock, RandomBytes
from analect.model.query import Page, PageRequest
from analect.model.record import Record
from analect.privacy.pseudonymise import Pseudonymiser
from analect.service.summing import KEPT_AS, Asked, Figures, KeptSummaries
from analect.settings import Settings
from analect.store.aggregates import any_figures
from analect.store.choosing import Choice
from analect.store.cursor import Cursors, digest
from analect.store.holds import Hold, Holds
from analect.store.reads import check_limit
from analect.store.reports import Reports, Told
from analect.store.tier_files import TierFiles
from analect.telemetry.tiers import TierState

if TYPE_CHECKING:
    from analect.lifecycle.retention.archive import Archived
    from analect.lifecycle.retention.explain import Explanation
    from analect.lifecycle.retention.months import Requeue
    from analect.lifecycle.retention.plan import Plan
    from analect.lifecycle.retention.run import Progress, Report, Retention

_FIELDS = {
    "kinds": "kind",
    "services": "service",
    "statuses": "status",
    "threads": "thread_id",
    "sessions": "session_id",
    "subjects": "subject",
}
"""Lists of a selector and the fields they are about."""


class Retaining:
    """Plans, runs, explains; lays and releases holds. ``monthly``: indexes that drop whole months."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        pseudonymiser: Pseudonymiser,
        *,
        processors: Sequence[str],
        monthly: Mapping[str, Monthly],
        requeue: Requeue,
        expire_documents: Callable[[], int],
        cache: Cache,
        cursors: Cursors,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._pseudonymiser = pseudonymiser
        self._processors = processors
        self._monthly = monthly
        self._requeue = requeue
        self._expire_documents = expire_documents
        self._cursors = cursors
        self._clock = clock
        self._random_bytes = random_bytes
        self._holds = Holds(engine)
        self._reports = Reports(engine)
        self._files = TierFiles(engine)
        self._summaries = KeptSummaries(cache, self._summed, warm=any_figures(engine))

    def policies(self, paths: Sequence[Path] = ()) -> tuple[Policy, ...]:
        """The policies of these files, else of the settings, else the shipped one.

        Raises:
            ConfigurationError: one of them is wrong.
            Conflict: one would delete what another holds.
        """
        named = list(paths) or [Path(one) for one in self._settings.retention.policies]
        return load_policies(named)

    def plan(self, policies: Sequence[Policy]) -> Plan:
        """What :meth:`run` would do now."""
        return self._retention().plan(self._stored(policies))

    def run(self, policies: Sequence[Policy], progress: Progress) -> Report:
        """Do it."""
        report = self._retention().run(self._stored(policies), progress)
        self._summaries.changed()
        return report

    def archive(self, policies: Sequence[Policy], progress: Progress) -> Archived:
        """The daily job: :meth:`run`, expired documents, summaries, a check of the files.

        Raises:
            StoreUnavailable: a run is under way, or database or place do not answer.
        """
        retention = self._retention()
        from analect.lifecycle.retention.archive import Archiver

        archiver = Archiver(
            self._engine,
            tiers_place(self._settings),
            retention,
            expire_documents=self._expire_documents,
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        archived = archiver.run(self._stored(policies), progress)
        self._summaries.changed()
        return archived

    def summaries(
        self, family: str, first: str, last: str, *, by_year: bool = False
    ) -> list[dict[str, Any]]:
        """Monthly or yearly figures of a family (``interactions``, ``queries``, ``content``,
        ``performance``, ``business``, ``sessions``) from month to month, ``YYYY-MM``. They are
        kept for a while, until a run counts them again.

        Raises:
            InvalidInput: there is no such family.
        """
        need_archive()
        if family not in KEPT_AS:
            raise InvalidInput(f"family must be one of {', '.join(KEPT_AS)}", field="family")
        return self._summaries.of(family, first, last, by_year=by_year)

    def explain(self, record: Record, policies: Sequence[Policy]) -> Explanation:
        """Why a record is in its tier, and when it moves next."""
        need_archive()
        from analect.lifecycle.retention.explain import explain

        rules = rules_at(self._stored(policies), self._holds.all(), self._clock())
        return explain(record, rules, self._engine)

    def reports(self, job: str) -> list[dict[str, Any]]:
        """The last reports of a job (``retention``, ``archive``), or receipts (``purge``)."""
        return self._reports.newest(job)

    def report_page(self, job: str | None, page: PageRequest) -> Page[Told]:
        """A page of what jobs reported, newest first, or one of them.

        Raises:
            InvalidQuery: limit or cursor is wrong.
        """
        check_limit(page.limit)
        query = digest("reports", job)
        last = None if page.cursor is None else self._cursors.read(query, page.cursor).decode()
        found = self._reports.before(job, last, page.limit + 1)
        items = tuple(found[: page.limit])
        if len(found) <= page.limit:
            return Page(items)
        return Page(items, self._cursors.make(query, items[-1].id.encode()))

    def report(self, report_id: str) -> tuple[Told, dict[str, Any]]:
        """One of them, and all that it says.

        Raises:
            NotFound: there is none with this id.
        """
        return self._reports.get(report_id)

    def look(self) -> TierState:
        """The tiers and their jobs, for metrics."""
        totals = self._files.totals()
        now = self._clock()
        newest = {job: self._reports.newest(job, 1) for job in ("retention", "archive")}
        checked = newest["archive"]
        return TierState(
            records={tier: totals.get(tier, (0, 0))[0] for tier in ("warm", "cold")},
            sizes={tier: totals.get(tier, (0, 0))[1] for tier in ("warm", "cold")},
            ages={
                job: max(0.0, (now - found[0]["finished_at"]) / 1_000_000)
                for job, found in newest.items()
                if found
            },
            damaged=len(checked[0]["damaged"]) if checked else None,
        )

    def held(self) -> list[Choice]:
        """What the legal holds of the settings' policies and those laid by hand select."""
        rules = rules_at(self._stored(self.policies()), self._holds.all(), self._clock())
        return rules.held

    def holds(self) -> list[Hold]:
        """The holds that were laid by hand."""
        return self._holds.all()

    def hold(self, name: str, selector: Selector) -> Hold:
        """Lay a legal hold: from now on nothing of what it selects is moved or removed by policy.

        Raises:
            InvalidInput: the selector selects everything, or by an age.
            Conflict: there is a hold of this name.
        """
        if selector == Selector():
            raise InvalidInput(
                "say what is held: kinds, tags, services, threads, ...", field="selector"
            )
        if selector.older_than is not None or selector.newer_than is not None:
            raise InvalidInput("a hold that is laid by hand has no ages", field="selector")
        hold = Hold(name, choice_of(self._selector(selector), 0), self._clock())
        self._holds.lay(hold)
        return hold

    def release(self, name: str) -> None:
        """Release a hold.

        Raises:
            NotFound: there is none of this name.
        """
        self._holds.release(name)

    def _summed(self, asked: Asked) -> Figures:
        from analect.lifecycle.retention.summaries import Summaries
        from analect.lifecycle.tiers.tables import TierTables

        tables = TierTables(self._files, tiers_place(self._settings))
        family, first, last, by_year = asked
        return Summaries(self._engine, tables).of(family, first, last, by_year=by_year)

    def _retention(self) -> Retention:
        need_archive()
        from analect.lifecycle.retention.months import Months
        from analect.lifecycle.retention.run import Retention

        return Retention(
            self._engine,
            tiers_place(self._settings),
            clock=self._clock,
            random_bytes=self._random_bytes,
            processors=self._processors,
            months=Months(self._engine, self._monthly, self._requeue, self._clock),
        )

    def _stored(self, policies: Sequence[Policy]) -> list[Policy]:
        """The same with the values that selectors name as they are at rest."""
        return [
            policy.model_copy(
                update={
                    "rules": tuple(
                        rule.model_copy(update={"selector": self._selector(rule.selector)})
                        for rule in policy.rules
                    ),
                    "legal_holds": tuple(
                        hold.model_copy(update={"selector": self._selector(hold.selector)})
                        for hold in policy.legal_holds
                    ),
                }
            )
            for policy in policies
        ]

    def _selector(self, selector: Selector) -> Selector:
        promoted = self._pseudonymiser.promoted
        stored: dict[str, tuple[str, ...]] = {
            name: tuple(promoted(field, one) for one in getattr(selector, name))
            for name, field in _FIELDS.items()
        }
        stored["tags"] = tuple(self._pseudonymiser.text(tag) for tag in selector.tags)
        return selector.model_copy(update=stored)
