"""The one façade that HTTP, the CLI and programs call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import Any, Self

from analect.cache.cache import Cache
from analect.lifecycle.erase import Receipt
from analect.model.errors import AnalectError, InvalidInput, InvalidQuery, NotFound
from analect.model.grouping import Figures
from analect.model.ids import AHEAD, Clock, Micros, RandomBytes, RecordId, parse_id
from analect.model.query import (
    MAX_LIMIT,
    Annotation,
    Change,
    Document,
    Page,
    PageRequest,
    RecordFilter,
    SearchPage,
    SearchRequest,
    Subgraph,
)
from analect.model.record import Draft, IngestResult, Json, Record
from analect.service.drift import DriftWatch
from analect.service.finding import wait_until
from analect.service.intake import IntakeOptions
from analect.service.older import OlderData
from analect.service.retaining import Retaining
from analect.service.status import Health
from analect.service.upkeep import Progress, VerifyReport
from analect.service.wiring import Parts, wall_clock, wire
from analect.settings import Settings
from analect.store.company import Company
from analect.store.outbox import BACKLOG
from analect.store.store import Store
from analect.telemetry.metrics import Telemetry

ERASABLE = ("subject", "session", "thread", "record")


class AnalysisService:
    """Stores, reads, finds, erases. Thread-safe.

    Values come in clear and are pseudonymised here, on the way to the store and in questions
    alike; payloads go out opened.
    """

    def __init__(self, parts: Parts, resources: ExitStack) -> None:
        self._parts = parts
        self._resources = resources

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        clock: Clock = wall_clock,
        random_bytes: RandomBytes = os.urandom,
        telemetry: Telemetry | None = None,
    ) -> AnalysisService:
        """Open (and, the first time, create) the store that ``settings`` name.

        Raises:
            StoreUnavailable: the database does not answer.
            ConfigurationError: a setting is wrong, or the database is of a newer release.
            KeyUnavailable: the key ring or the key that opens it is not there.
        """
        with ExitStack() as stack:
            parts = wire(
                settings,
                stack,
                clock=clock,
                random_bytes=random_bytes,
                telemetry=telemetry or Telemetry(clock=clock),
            )
            return cls(parts, stack.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def telemetry(self) -> Telemetry:
        """The metrics of this process."""
        return self._parts.telemetry

    @property
    def cache(self) -> Cache:
        """Where answers are kept that took long: aggregates, never anyone's text."""
        return self._parts.cache

    @property
    def drift(self) -> DriftWatch:
        """Compares a few records with the indexes now and then; one process of a store does."""
        return self._parts.drift

    @property
    def clock(self) -> Clock:
        """The time as every process of this store has it."""
        return self._parts.clock

    @property
    def store(self) -> Store:
        """The truth itself: for the processes that move work, never for reading values."""
        return self._parts.store

    @property
    def company(self) -> Company:
        """Where to say that a batch is on its way before it is submitted, so that commits are few."""
        return self._parts.store.company

    def begin_keys(self) -> None:
        """Make the shard keys that a new store lacks, now rather than while records wait for them.

        Raises:
            StoreUnavailable: the database or the key ring does not answer.
        """
        self._parts.keys.begin()

    def start(self, *, process: bool = True) -> None:
        """Begin to process in the background; without ``process``, only to keep house there."""
        self._parts.background.start(process=process)
        self._parts.cache.warm_soon()
        self.start_shipping()

    def start_shipping(self) -> None:
        """Begin to send changes to the place of the backups, if the settings name one."""
        if self._parts.shipping is not None:
            self._parts.shipping.start()

    def close(self) -> None:
        """Finish what is under way and release everything."""
        self._resources.close()

    # -- writing ---------------------------------------------------------------------------

    def submit(
        self, drafts: Sequence[Draft], *, omit_payload: bool = False, dedupe: bool = False
    ) -> Future[IngestResult]:
        """Store a batch; the future is done once it is durable.

        Each item stands alone: the refused ones are named in the result, the others are kept.
        The future raises a ``TransientError`` when the store could not take any of them.
        """
        return self._parts.intake.submit(drafts, IntakeOptions(omit_payload, dedupe))

    def ingest(
        self,
        drafts: Sequence[Draft],
        *,
        omit_payload: bool = False,
        dedupe: bool = False,
        wait_indexed: float | None = None,
    ) -> IngestResult:
        """As :meth:`submit`, waiting until it is durable and, for at most ``wait_indexed``
        seconds, until the indexes hold it.
        """
        result = self.submit(drafts, omit_payload=omit_payload, dedupe=dedupe).result()
        if wait_indexed is not None:
            self.wait_indexed([id_ for id_ in result.ids if id_ is not None], wait_indexed)
        return result

    def wait_indexed(self, ids: Sequence[RecordId], timeout: float) -> bool:
        """Wait until the indexes hold these records; false when ``timeout`` seconds were not
        enough. Quarantined records do not hold anyone up.
        """
        names = [name for name, _ in self._parts.indexes.present()]
        return wait_until(lambda: not self._parts.store.outbox.pending(ids, names), timeout)

    def feedback(
        self,
        record_id: str,
        *,
        rating: int | None = None,
        score: float | None = None,
        label: str | None = None,
        comment: str | None = None,
    ) -> RecordId:
        """Say later what a record was worth: a record of kind ``evaluation`` that points at it.

        Raises:
            NotFound: there is no such record.
            InvalidInput: nothing was said, or a value is out of range.
        """
        rated = self.get(record_id)
        if rating is None and score is None and label is None and comment is None:
            raise InvalidInput("give a rating, a score, a label or a comment", field="rating")
        draft = Draft(
            kind="evaluation",
            parent_id=rated.id,
            subject=rated.subject,
            session_id=rated.session_id,
            thread_id=None,
            project=rated.project,
            environment=rated.environment,
            service=rated.service,
            rating=rating,
            name=label,
            measures={} if score is None else {"score": score},
            input=comment,
        )
        result = self.ingest([draft])
        if result.rejected:
            refused = result.rejected[0]
            raise InvalidInput(refused.message, field=refused.field)
        (stored,) = result.ids
        if stored is None:
            raise InvalidInput("the feedback was not stored", field="rating")
        return stored

    # -- reading ---------------------------------------------------------------------------

    def get(self, record_id: str, tier: str | None = None) -> Record:
        """One record, its payload opened: hot or warm, or of the ``tier`` that is named.

        Raises:
            NotFound: there is no such record, or it may be cold, which the message says.
        """
        stored = self._parts.reads.one(parse_id(record_id), tier)
        return self._parts.opener.open([stored])[0]

    def list(self, where: RecordFilter, page: PageRequest) -> Page[Record]:
        """Records that pass the filter, a keyset page at a time."""
        _check_page(page)
        found = self._parts.reads.list(self._stored_form(where), page)
        return Page(tuple(self._parts.opener.open(found.items)), found.next)

    def thread(self, thread_id: str, page: PageRequest, tier: str | None = None) -> Page[Record]:
        """A conversation in order, hot and warm together unless ``tier`` names one.

        Raises:
            NotFound: no record is of this thread.
        """
        _check_page(page)
        found = self._parts.reads.thread(
            self._parts.pseudonymiser.promoted("thread_id", thread_id), page, tier
        )
        if not found.items and page.cursor is None:
            raise NotFound("there is no thread with this id", field="thread")
        return Page(tuple(self._parts.opener.open(found.items)), found.next)

    def aggregate(self, where: RecordFilter, by: Sequence[str] = ()) -> Sequence[Figures]:
        """Counts, tokens, cost, durations and ratings of what passes, hot and warm, by group.

        Args:
            where: which records.
            by: fields, ``hour``, ``day``, ``month`` (UTC) or ``dim.NAME``; none: one group of all.

        Raises:
            InvalidQuery: a name is unknown, or there are too many groups.
        """
        return self._parts.reads.aggregate(self._stored_form(where), by)

    def feedback_of(self, record_ids: Sequence[RecordId]) -> dict[RecordId, Sequence[Record]]:
        """The evaluations that point at these records."""
        found = self._parts.reads.feedback(record_ids)
        return {id_: self._parts.opener.open(stored) for id_, stored in found.items()}

    def annotations(self, record_ids: Sequence[RecordId]) -> dict[RecordId, Sequence[Annotation]]:
        """What processors concluded of these records."""
        return self._parts.conclusions.of(record_ids)

    def changes(self, after: str | None, limit: int) -> Page[Change]:
        """Everything once, in commit order; ``next`` says where to go on and is always there."""
        _check_page(PageRequest(limit))
        page = self._parts.store.feed.changes(after, limit)
        stored = [change.stored for change in page.items if change.stored is not None]
        opened = {record.id: record for record in self._parts.opener.open(stored)}
        items = tuple(
            Change(c.cursor, c.operation, c.record_id, opened.get(c.record_id)) for c in page.items
        )
        return Page(items, page.next)

    def changes_head(self) -> str:
        """The cursor behind everything there is now: where a live tail begins."""
        return self._parts.store.feed.head()

    def wait_for_change(self, timeout: float, after: str | None = None) -> bool:
        """Wait until something is behind the cursor ``after`` (none: behind what is there now),
        at most ``timeout`` seconds.
        """
        return self._parts.store.feed.wait_for_change(timeout, after)

    def search(self, request: SearchRequest, *, wait: float = 10.0) -> SearchPage:
        """Find by words, meaning or both. With ``request.after`` the answer is held back, at most
        ``wait`` seconds, until the indexes hold that record.

        Raises:
            InvalidQuery: the mode, the expression, the filter or the cursor is wrong.
            EngineUnavailable: the index it needs is off or down.
        """
        _check_page(PageRequest(request.limit))
        if request.after is not None:
            self.wait_indexed([parse_id(request.after, field="after")], wait)
        stored_form = replace(
            request,
            query=self._parts.pseudonymiser.text(request.query),
            filter=self._stored_form(request.filter),
        )
        return self._parts.finder.search(stored_form)

    def related(self, record_id: str, depth: int = 1, limit: int = 100) -> Subgraph:
        """What a record is related to, each node and edge naming the records it comes from."""
        return self._parts.relations.related(record_id, depth, limit)

    def path_between(self, source: str, target: str, steps: int = 6) -> Subgraph:
        """One shortest way from a record to another; empty when there is none of so few steps."""
        return self._parts.relations.path(source, target, steps)

    def session_related(self, session_id: str, limit: int = 100) -> Subgraph:
        """What else a session touched: its newest records and what they are related to."""
        stored_form = self._parts.pseudonymiser.promoted("session_id", session_id)
        return self._parts.relations.session(stored_form, limit)

    def process_chain(self, process_id: str, limit: int = 100) -> Subgraph:
        """A process and its records in order, each tied to its parent and to the next."""
        stored_form = self._parts.pseudonymiser.promoted("process_id", process_id)
        return self._parts.relations.process(stored_form, limit)

    def top_tags(self, limit: int = 50) -> Sequence[tuple[str, int]]:
        """The tags on the most records, and on how many."""
        return self._parts.relations.tags(limit)

    # -- documents -------------------------------------------------------------------------

    def put_document(
        self,
        kind: str,
        document_id: str,
        body: Json,
        *,
        owner: str | None = None,
        status: str | None = None,
        expires_at: Micros | None = None,
        expected_version: int | None = None,
    ) -> Document:
        """Save a new version. ``expected_version`` 0: it must not exist yet; ``None``: last wins."""
        return self._parts.papers.put(
            kind,
            document_id,
            body,
            owner=owner,
            status=status,
            expires_at=expires_at,
            expected_version=expected_version,
        )

    def get_document(self, kind: str, document_id: str, version: int | None = None) -> Document:
        """The latest version, or the one asked for."""
        return self._parts.papers.get(kind, document_id, version)

    def list_documents(
        self,
        kind: str,
        *,
        owner: str | None = None,
        status: str | None = None,
        page: PageRequest = PageRequest(),  # noqa: B008  (frozen)
    ) -> Page[Document]:
        """Documents of a kind, newest first."""
        _check_page(page)
        return self._parts.papers.list(kind, owner=owner, status=status, page=page)

    def delete_document(
        self, kind: str, document_id: str, expected_version: int | None = None
    ) -> None:
        """Forget a document and every version of it."""
        self._parts.papers.delete(kind, document_id, expected_version)

    def expire_documents(self) -> int:
        """Drop documents whose time is over; how many."""
        return self._parts.store.documents.expire(self._parts.clock())

    # -- processing ------------------------------------------------------------------------

    def processors(self) -> tuple[str, ...]:
        """The names of the processors that are installed and switched on."""
        return tuple(self._parts.runner.processors)

    def process(self, processor: str | None = None, limit: int | None = None) -> int:
        """Drain what is due in the caller's thread; how many records were handled."""
        return self._parts.runner.drain(processor, limit)

    def process_entries(
        self,
        processor: str,
        job: str,
        seqs: Sequence[int],
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Process the entries of the outbox that came through a queue as one job, batch by batch
        until ``stop`` says so; how many records were in what was begun (0: other workers have
        them, or they are done).

        Raises:
            StoreUnavailable: nothing is known of the entries; they stay where they are.
        """
        return self._parts.runner.take(processor, job, seqs, stop)

    def resting(self, processor: str) -> float:
        """Seconds to leave a processor alone because its engine is away; mostly none."""
        return self._parts.runner.resting(processor)

    def pause(self, processor: str) -> None:
        """Begin nothing of this processor any more, in any process, until :meth:`resume`. What is
        committed for it waits.

        Raises:
            NotFound: no such processor.
        """
        self._check_processors([processor])
        self._parts.store.pauses.pause(processor)

    def resume(self, processor: str) -> None:
        """Let a paused processor go on.

        Raises:
            NotFound: no such processor.
        """
        self._check_processors([processor])
        self._parts.store.pauses.resume(processor)
        self._parts.background.wake()

    def reprocess(self, ids: Sequence[str], processors: Sequence[str] | None = None) -> int:
        """Put records back before processors, quarantined ones too; how many records.

        Raises:
            NotFound: no such record or processor.
        """
        wanted = [parse_id(record_id) for record_id in ids]
        names = list(processors) if processors is not None else list(self.processors())
        self._check_processors(names)
        there = self._parts.reads.exists(wanted)
        if missing := [record_id for record_id in wanted if record_id not in there]:
            raise NotFound(f"{len(missing)} of these records are not stored", field="id")
        self._parts.store.outbox.requeue(wanted, names, self._parts.clock())
        self._parts.background.wake()
        return len(wanted)

    def reprocess_all(self, processors: Sequence[str], where: RecordFilter | None = None) -> int:
        """Put every record that passes before processors, behind what is new: for a processor
        that was added later. How many records.

        Raises:
            NotFound: no such processor.
        """
        self._check_processors(processors)
        queued = 0
        for batch in self._parts.reads.scan(self._stored_form(where or RecordFilter())):
            ids = [stored.record.id for stored in batch]
            self._parts.store.outbox.requeue(ids, processors, self._parts.clock(), BACKLOG)
            queued += len(ids)
        self._parts.background.wake()
        return queued

    def rebuild(self, index: str, progress: Progress | None = None) -> int:
        """Make an index again from the truth while the old one answers. Erasures that it kept from
        ending end then.
        """
        count = self._parts.upkeep.rebuild(index, progress)
        self._parts.eraser.settle()
        return count

    def verify(self, index: str, *, repair: bool = False) -> VerifyReport:
        """Compare an index with the truth; with ``repair``, mend what differs."""
        return self._parts.upkeep.verify(index, repair=repair)

    # -- ageing ----------------------------------------------------------------------------

    @property
    def retention(self) -> Retaining:
        """How records age by policy: plan, run, explain, legal holds."""
        return self._parts.retaining

    # -- arriving --------------------------------------------------------------------------

    @property
    def older(self) -> OlderData:
        """What bringing older data in needs besides storing it."""
        return self._parts.older

    # -- leaving ---------------------------------------------------------------------------

    def erase(self, scope: str, target: str) -> Receipt:
        """Erase for good: destroy the keys, then the rows and index entries.

        Args:
            scope: ``subject``, ``session``, ``thread`` or ``record``.
            target: the value as the caller knows it, its pseudonym, or the record's id.
        """
        return self.erase_many(scope, [target])[0]

    def erase_many(self, scope: str, targets: Sequence[str]) -> Sequence[Receipt]:
        """Erase several of a kind at once, which costs little more than one; a receipt each."""
        if scope not in ERASABLE:
            raise InvalidInput(f"scope must be one of {', '.join(ERASABLE)}", field="scope")
        return self._parts.eraser.erase_many(
            [(scope, self._erasure_target(scope, target)) for target in targets]
        )

    def erasures(self) -> Sequence[Receipt]:
        """Every receipt, newest first."""
        return self._parts.eraser.receipts()

    def export(
        self, where: RecordFilter, *, actor: str | None = None, sealed: bool = False
    ) -> Iterator[Record]:
        """Every record that passes, in order of time, in bounded memory; opened, unless payloads
        stay ``sealed`` (and are then left out). Who it is for, ``actor``, is written to the log of
        accesses before the first one is opened.
        """
        stored_form = self._stored_form(where)
        if actor is not None and not sealed:
            self._parts.revealer.exporting(stored_form, actor)
        for batch in self._parts.reads.scan(stored_form):
            yield from (one.record for one in batch) if sealed else self._parts.opener.open(batch)

    def subject_data(
        self, subject: str, *, actor: str | None = None
    ) -> tuple[Iterator[Record], Iterator[Document]]:
        """Everything that is one person's: records of every tier, the cold ones first, and
        documents they own.
        """
        token = self._parts.pseudonymiser.identifier("subject", subject)
        theirs = RecordFilter(equals={"subject": token})
        ever = replace(theirs, tier="cold", since=0, until=self._parts.clock() + AHEAD)
        records = chain(self.export(ever), self.export(theirs, actor=actor))
        return records, self._parts.papers.owned_by(token)

    def reveal(self, token: str, actor: str) -> str:
        """The value behind a pseudonym, where the vault keeps it; the look is logged.

        Raises:
            NotFound: the vault does not keep it, or its people were erased.
        """
        return self._parts.revealer.reveal(token, actor)

    # -- looking after ---------------------------------------------------------------------

    def health(self) -> Health:
        """Whether it can take records now."""
        try:
            self._parts.store.health()
        except AnalectError as error:
            return Health(ready=False, reasons=(str(error),))
        return Health(ready=True)

    def status(self) -> dict[str, Any]:
        """What an operator wants to see: counts, backlog, sizes, versions."""
        return self._parts.status()

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each commit of this process."""
        self._parts.store.on_commit(listener)

    # -- inside ----------------------------------------------------------------------------

    def _check_processors(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.processors():
                raise NotFound(
                    f"no processor {name!r}; there are: {', '.join(self.processors())}",
                    field="processors",
                )

    def _erasure_target(self, scope: str, target: str) -> str:
        if scope == "record":
            return parse_id(target)
        if scope == "thread":
            return self._parts.pseudonymiser.promoted("thread_id", target)
        return self._parts.pseudonymiser.identifier(scope, target)

    def _stored_form(self, where: RecordFilter) -> RecordFilter:
        """The filter in the form values have at rest."""
        pseudonymiser = self._parts.pseudonymiser
        return replace(
            where,
            equals={name: pseudonymiser.promoted(name, v) for name, v in where.equals.items()},
            tags=tuple(pseudonymiser.text(tag) for tag in where.tags),
            dimensions={
                name: pseudonymiser.dimension(name, v) for name, v in where.dimensions.items()
            },
        )


def _check_page(page: PageRequest) -> None:
    if not 1 <= page.limit <= MAX_LIMIT:
        raise InvalidQuery(f"limit must be between 1 and {MAX_LIMIT}", field="limit")
