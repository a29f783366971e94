"""What bringing older data in needs of a store, besides storing it: ids, a look before, a way back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from analect.lifecycle.tiers.reads import TieredReads
from analect.model.ids import Clock, Micros, RecordId, derived_id, month_of
from analect.model.record import Draft, Rejection
from analect.privacy.keys import DataKeys
from analect.privacy.pseudonymise import Pseudonymiser
from analect.service.intake import Intake
from analect.service.retaining import Retaining
from analect.store.aggregates import outdate
from analect.store.purging import purge_ids
from analect.store.reports import Reports

JOB = "migration"


@dataclass(frozen=True, slots=True)
class TakenBack:
    """``removed`` went, ``held`` stay for a legal hold, ``elsewhere`` have left the hot tier."""

    removed: int
    held: int
    elsewhere: tuple[RecordId, ...]


class OlderData:
    """Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        *,
        keys: DataKeys,
        intake: Intake,
        reads: TieredReads,
        pseudonymiser: Pseudonymiser,
        retaining: Retaining,
        processors: Sequence[str],
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._intake = intake
        self._reads = reads
        self._pseudonymiser = pseudonymiser
        self._retaining = retaining
        self._processors = processors
        self._clock = clock
        self._reports = Reports(engine)

    def id_for(self, source: str, key: str, occurred_at: Micros) -> RecordId:
        """The one id of what a source knows by ``key``; nobody without the store's key can test a
        guess at it.
        """
        return derived_id(self._keys.pseudonym_key, source, key, occurred_at)

    def stored_name(self, document_id: str) -> str:
        """A document's id as it is at rest, under which it may be written down."""
        return self._pseudonymiser.text(document_id)

    def check(self, drafts: Sequence[Draft]) -> tuple[Rejection, ...]:
        """What storing these would refuse. Nothing is stored; the drafts are changed in place."""
        return self._intake.check(drafts)

    def present(self, ids: Sequence[RecordId]) -> set[RecordId]:
        """Those that are stored, hot or warm."""
        return self._reads.exists(ids)

    def arrived(self, months: Collection[str]) -> None:
        """Records of past months came: their summaries are counted again by the next daily job."""
        outdate(self._engine, months)

    def take_back(self, ids: Sequence[RecordId]) -> TakenBack:
        """Delete hot records, what was concluded of them, and (soon) what the indexes hold of
        them; never what a legal hold selects.

        Raises:
            StoreUnavailable: the database does not answer; what went is gone, the rest is there.
        """
        removed, held = purge_ids(
            self._engine, ids, self._retaining.held(), self._processors, self._clock()
        )
        outdate(self._engine, {month_of(record_id) for record_id in removed})
        left = self._reads.exists([one for one in ids if one not in removed]) - held
        return TakenBack(len(removed), len(held), tuple(sorted(left)))

    def keep_report(
        self, outcome: str, report: dict[str, Any], times: tuple[Micros, Micros]
    ) -> None:
        """Write down what a migration, or its rollback, did."""
        self._reports.keep(JOB, outcome, report, times)

    def reports(self) -> list[dict[str, Any]]:
        """What the last ones did, newest first."""
        return self._reports.newest(JOB)
