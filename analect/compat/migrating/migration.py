"""Bringing older data in: table by table, through the same intake as everything else.

A row keeps one id however often it is read, so that a second run makes duplicates and not twins;
what stands under that id with other content is a conflict. A run that broke off goes on behind the
last batch it had answered for, and all of it can be taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

from analect.compat.documents import Prepared
from analect.compat.migrating.journal import Brought, Journal, unique
from analect.compat.migrating.meaning import DOCUMENTS, INCIDENTS, RECORDS, Meaning, Paper
from analect.compat.migrating.sinks import DryRun, Journaled
from analect.compat.migrating.tables import OlderTables
from analect.model.errors import AnalectError, Conflict, InvalidInput, NotFound
from analect.model.ids import Clock, Micros, RandomBytes, new_id
from analect.service import AnalysisService
from analect.sources.importing import Checkpoint, Importer, OnConflict, Progress, Refusal

log = structlog.get_logger(__name__)

FOLDER = "migrations"
_REMEMBERED = 100
"""Documents between two checkpoints."""


@dataclass(slots=True)
class Counts:
    """What became of a table's rows: of its documents, or of its records. ``expired`` documents
    were over before they came; ``conflicts`` stand already with other content.
    """

    table: str
    into: str
    rows: int
    read: int = 0
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    replaced: int = 0
    refused: int = 0
    expired: int = 0
    resumed_behind: int = 0


@dataclass(slots=True)
class Report:
    """What a migration did, or (``dry_run``) would do. ``waiting`` counts entries of the older
    program's queues, which need not come: every record is processed anew. ``left_alone`` are
    tables that mean nothing here, with their rows. ``outcome``: ``complete``, ``partial`` (rows
    were refused or conflict), ``dry-run``.
    """

    id: str
    migration: str
    started_at: Micros
    finished_at: Micros = 0
    outcome: str = "complete"
    tables: list[Counts] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    left_alone: dict[str, int] = field(default_factory=dict)

    @property
    def refused(self) -> int:
        """Rows that were not taken."""
        return sum(one.refused for one in self.tables)

    @property
    def incomplete(self) -> bool:
        """Whether rows were refused, or hold something else than what is stored."""
        left = sum(one.conflicts - one.replaced for one in self.tables)
        return bool(self.refused or left)

    @property
    def stored(self) -> int:
        """Rows that were taken."""
        return sum(one.stored for one in self.tables)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """``held`` stay for a legal hold; ``erased`` had left the hot tier and were erased there;
    ``changed`` documents have newer versions and stay.
    """

    migration: str
    records: int
    documents: int
    held: int
    erased: int
    changed: int


@dataclass(frozen=True, slots=True)
class Options:
    """``undated`` is the time of rows that say none."""

    dry_run: bool = False
    on_conflict: OnConflict = "skip"
    undated: Micros | None = None
    restart: bool = False


class Migration:
    """One source into one store. ``refused`` is told of rows that were not taken, ``advanced`` of
    how many were read, of how many.
    """

    def __init__(
        self,
        service: AnalysisService,
        tables: OlderTables,
        home: Path,
        options: Options,
        *,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._service = service
        self._options = options
        self._clock = clock
        self._random_bytes = random_bytes
        self.refused: Callable[[Refusal], None] = lambda _: None
        self.advanced: Callable[[int, int | None], None] = lambda _done, _total: None
        self._folder = home / FOLDER
        self._digest = tables.digest
        self._meaning = Meaning(tables, service.older.id_for, options.undated)
        self._journal = Journal(self._folder, self._digest.hex()[:16])
        self._sink: Journaled | DryRun = Journaled(service, self._journal)
        if options.dry_run:
            self._sink = DryRun(service.older)
        self._done = 0

    def run(self) -> Report:
        """Bring everything in; the report is kept in the store (not of a dry run).

        Raises:
            InvalidInput: nothing of the source is known.
            Conflict: a row's id holds other content already and ``on_conflict`` is ``error``.
            StoreUnavailable: the store stopped answering; run it again to go on.
        """
        meaning = self._meaning
        if not meaning.record_tables and not meaning.document_tables:
            known = ", ".join(sorted({*RECORDS, *DOCUMENTS, INCIDENTS}))
            raise InvalidInput(f"nothing in it is known; known are {known}", field="file")
        now = self._clock()
        report = Report(new_id(now, self._random_bytes), self._journal.migration, now)
        report.waiting, report.left_alone = meaning.queues, meaning.left_alone
        steps = [
            *((table, self._documents) for table in meaning.document_tables),
            *((table, self._records) for table in meaning.record_tables),
        ]
        total = sum(meaning.counts[table] for table, _ in steps)
        try:
            for table, step in steps:
                report.tables.append(step(table, total))
                self._done += meaning.counts[table]
        finally:
            self._service.older.arrived(self._sink.months)
        report.finished_at = self._clock()
        self._end(report)
        return report

    def _end(self, report: Report) -> None:
        if self._options.dry_run:
            report.outcome = "dry-run"
            return
        report.outcome = "partial" if report.incomplete else "complete"
        times = (report.started_at, report.finished_at)
        self._service.older.keep_report(report.outcome, asdict(report), times)
        log.info("older data brought in", migration=report.migration, stored=report.stored)

    # -- records ---------------------------------------------------------------------------

    def _records(self, table: str, total: int) -> Counts:
        checkpoint = self._checkpoint(table, "records")
        progress = self._begun(checkpoint)
        resumed = progress.line
        importer = Importer(
            sink=self._sink,
            progress=progress,
            on_conflict=self._options.on_conflict,
            checkpoint=checkpoint,
            refused=self.refused,
            advanced=lambda so_far: self.advanced(self._done + so_far.line, total),
        )
        importer.run(self._meaning.records(table, resumed))
        return _counts(table, "records", self._meaning.counts[table], progress, resumed)

    # -- documents -------------------------------------------------------------------------

    def _documents(self, table: str, total: int) -> Counts:
        checkpoint = self._checkpoint(table, "documents")
        progress = self._begun(checkpoint)
        resumed = progress.line
        for paper in self._meaning.documents(table, resumed):
            self._take(paper, progress, table)
            progress.line = paper.number
            if checkpoint is not None and progress.read % _REMEMBERED == 0:
                checkpoint.save(progress)
                self.advanced(self._done + paper.number, total)
        if checkpoint is not None:
            checkpoint.forget()
        return _counts(table, "documents", self._meaning.counts[table], progress, resumed)

    def _take(self, paper: Paper, progress: Progress, table: str) -> None:
        progress.read += 1
        problem: AnalectError | None = paper.error
        if paper.prepared is not None:
            try:
                self._put(paper.prepared, progress)
            except InvalidInput as error:
                problem = error
        if problem is not None:
            progress.refused += 1
            refusal = Refusal(paper.number, problem.code, str(problem), problem.field, table)
            self.refused(refusal)

    def _put(self, prepared: Prepared, progress: Progress) -> None:
        """Save a document, unless its time is over or it is there already."""
        if prepared.expires_at is not None and prepared.expires_at <= self._clock():
            return
        writing = not self._options.dry_run
        try:
            there = self._service.get_document(prepared.kind, prepared.id)
        except NotFound:
            if writing:
                stored = self._service.older.stored_name(prepared.id)
                self._journal.add(Brought(document=(prepared.kind, stored)))
                self._save(prepared, 0)
            progress.stored += 1
            return
        if there.body == prepared.body:
            progress.duplicates += 1
            return
        progress.conflicts += 1
        if self._options.on_conflict == "error":
            raise Conflict(
                f"a document of kind {prepared.kind} is stored already with another body; use "
                "--on-conflict skip to keep what is stored, or replace to save a newer version",
                field="id",
            )
        if self._options.on_conflict == "replace":
            if writing:
                self._save(prepared, there.version)
            progress.replaced += 1

    def _save(self, prepared: Prepared, expected_version: int) -> None:
        self._service.put_document(
            prepared.kind,
            prepared.id,
            prepared.body,
            owner=prepared.owner,
            status=prepared.status,
            expires_at=prepared.expires_at,
            expected_version=expected_version,
        )

    # -- what is remembered ----------------------------------------------------------------

    def _checkpoint(self, table: str, into: str) -> Checkpoint | None:
        if self._options.dry_run:
            return None
        named = sha256(b"\0".join((self._digest, table.encode(), into.encode()))).digest()
        checkpoint = Checkpoint(self._folder, named)
        if self._options.restart:
            checkpoint.forget()
        return checkpoint

    def _begun(self, checkpoint: Checkpoint | None) -> Progress:
        found = None if checkpoint is None else checkpoint.load()
        return found or Progress(started_at=self._clock())


def _counts(table: str, into: str, rows: int, progress: Progress, resumed: int) -> Counts:
    counts = Counts(table, into, rows, resumed_behind=resumed)
    for name in ("read", "stored", "duplicates", "conflicts", "replaced", "refused"):
        setattr(counts, name, getattr(progress, name))
    if into == "documents":
        answered = counts.stored + counts.duplicates + counts.conflicts + counts.refused
        counts.expired = counts.read - answered
    return counts


def roll_back(
    service: AnalysisService,
    home: Path,
    migration: str,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
) -> RolledBack:
    """Take back what a migration brought in, and nothing that was there before: records are
    deleted with all that was concluded of them, documents with their versions.

    Raises:
        NotFound: nothing is known of such a migration here.
        StoreUnavailable: the store stopped answering; run it again to go on.
    """
    journal = Journal(home / FOLDER, migration)
    began = clock()
    brought = list(journal.batches())
    ids = unique([record_id for one in brought for record_id in one.records])
    taken = service.older.take_back(ids)
    if taken.elsewhere:
        service.erase_many("record", taken.elsewhere)
    documents = changed = 0
    for kind, stored in dict.fromkeys(one.document for one in brought if one.document):
        with suppress(NotFound):
            try:
                service.delete_document(kind, stored, expected_version=1)
                documents += 1
            except Conflict:
                changed += 1
    done = RolledBack(
        migration, taken.removed, documents, taken.held, len(taken.elsewhere), changed
    )
    if not done.held and not done.changed:
        journal.forget()
    report: dict[str, Any] = asdict(done) | {"id": new_id(clock(), random_bytes)}
    service.older.keep_report("rolled-back", report, (began, clock()))
    return done
