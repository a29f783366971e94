"""Where a migration's records go: into the store, each batch written down before, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence

from analect.compat.migrating.journal import Brought, Journal
from analect.model.ids import RecordId, month_of
from analect.model.record import Draft, IngestResult, Rejection
from analect.service import AnalysisService
from analect.service.older import OlderData


class Journaled:
    """Stores batches; ``months`` are those that something came into."""

    def __init__(self, service: AnalysisService, journal: Journal) -> None:
        self._service = service
        self._journal = journal
        self.months: set[str] = set()

    def ingest(self, drafts: Sequence[Draft]) -> IngestResult:
        """Store a batch durably; each item stands alone."""
        ids = [RecordId(draft.id) for draft in drafts if draft.id is not None]
        there = self._service.older.present(ids)
        if fresh := tuple(one for one in ids if one not in there):
            self._journal.add(Brought(records=fresh))
        result = self._service.ingest(drafts)
        self.months.update(month_of(one) for one in result.ids if one is not None)
        return result

    def erase(self, scope: str, target: str) -> object:
        """Erase what the target names."""
        return self._service.erase(scope, target)


class DryRun:
    """Says what would become of a batch. What is stored already counts as a duplicate, whatever
    its content.
    """

    def __init__(self, older: OlderData) -> None:
        self._older = older
        self.months: set[str] = set()

    def ingest(self, drafts: Sequence[Draft]) -> IngestResult:
        """As if it were stored."""
        rejected: tuple[Rejection, ...] = self._older.check(drafts)
        left_out = {one.index for one in rejected}
        ids = [
            None if place in left_out or draft.id is None else RecordId(draft.id)
            for place, draft in enumerate(drafts)
        ]
        there = self._older.present([one for one in ids if one is not None])
        duplicates = sum(1 for one in ids if one in there)
        accepted = len(drafts) - len(rejected) - duplicates
        return IngestResult(accepted, duplicates, rejected, tuple(ids))

    def erase(self, scope: str, target: str) -> object:
        """Nothing is erased."""
        return (scope, target)
