"""The truth as one thing: the writer, the reads, the feed, documents, annotations, the outbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import structlog
from sqlalchemy import Engine

from analect.model.ids import Clock
from analect.store.annotations import Annotations
from analect.store.append import AppendResult, KeyRow, Request, SealedDraft, VaultRow
from analect.store.checkpoints import Checkpoints
from analect.store.company import Company
from analect.store.cursor import Cursors
from analect.store.documents import Documents
from analect.store.engine import is_postgres, open_engine
from analect.store.entries import Retry
from analect.store.feed import Beyond, Feed
from analect.store.health import check_writable, size_of
from analect.store.migrate import migrate
from analect.store.outbox import Outbox
from analect.store.partitions import Partitions
from analect.store.pauses import Pauses
from analect.store.reads import RecordReads
from analect.store.writer import Writer, WriterLimits

log = structlog.get_logger(__name__)

Observe = Callable[[int, float], None]
"""Hears of each commit: its rows, its seconds."""


class Store:
    """Everything that is in SQL. Thread-safe; several processes may open the same database.

    The engine is the caller's, migrated (:meth:`open` does both); closing the store disposes it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        cursors: Cursors,
        clock: Clock,
        retry: Retry | None = None,
        followers: Mapping[str, Sequence[str]] | None = None,
        limits: WriterLimits | None = None,
        observe: Observe = lambda _rows, _seconds: None,
        beyond: Beyond = lambda _ids: {},
    ) -> None:
        """``beyond`` finds records that have left the tables for files."""
        self.engine = engine
        self.partitions = Partitions(engine)
        self.reads = RecordReads(engine, cursors)
        self.feed = Feed(engine, cursors, self.reads, beyond)
        self.documents = Documents(engine, cursors, clock)
        self.annotations = Annotations(engine)
        self.outbox = Outbox(engine, retry=retry, followers=followers)
        self.pauses = Pauses(engine)
        self._listeners: list[Callable[[], None]] = [self.feed.notify]
        self.partitions.ensure_ahead(clock())
        self._checkpoints = None if is_postgres(engine) else Checkpoints(engine)
        if self._checkpoints is not None:
            self._listeners.append(self._checkpoints.wake)
        self._writer = Writer(
            engine,
            self.partitions,
            clock=clock,
            limits=limits or WriterLimits(),
            on_commit=self._committed,
            observe=observe,
        )

    @classmethod
    def open(cls, url: str, *, cursors: Cursors, clock: Clock) -> Store:
        """Connect to ``url``, migrate, and compose.

        Raises:
            ConfigurationError: the URL is wrong, or the database is of a newer release.
            StoreUnavailable: the database cannot be reached or written.
        """
        engine = open_engine(url)
        try:
            migrate(engine)
            return cls(engine, cursors=cursors, clock=clock)
        except BaseException:
            engine.dispose()
            raise

    def append(
        self,
        batch: Sequence[SealedDraft],
        *,
        processors: Sequence[str],
        new_keys: Sequence[KeyRow] = (),
        dedupe: bool = False,
        vault_rows: Sequence[VaultRow] = (),
    ) -> Future[AppendResult]:
        """Queue a batch for the next commit.

        Args:
            batch: validated, pseudonymised, sealed.
            processors: who shall hear of what was stored, by name.
            new_keys: rows of data keys that the batch uses and nobody committed yet.
            dedupe: take content that was stored before (with dedupe) as a duplicate.
            vault_rows: (token, key id, sealed value) to keep.

        Returns:
            Done when durable. Its exception is :class:`~analect.store.append.KeyRace` or a
            :class:`~analect.model.errors.StoreUnavailable`; then nothing of the batch was stored.

        Raises:
            Overloaded: too much waits to be written.
            StoreUnavailable: the store is closed.
        """
        request = Request(batch, tuple(processors), new_keys, vault_rows, dedupe)
        return self._writer.append(request)

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each commit of this process, from the writer's thread."""
        self._listeners.append(listener)

    @property
    def company(self) -> Company:
        """Whoever is preparing a batch to append says so here, and commits become fewer."""
        return self._writer.company

    @property
    def queued_bytes(self) -> int:
        """What waits to be written, about."""
        return self._writer.queued_bytes

    def seconds_writing(self) -> float:
        """How long batches were prepared, and how long committed, so far: both at once counts
        twice.
        """
        return self._writer.company.seconds() + self._writer.seconds_writing

    def health(self) -> None:
        """Find out whether it can read and write now.

        Raises:
            StoreUnavailable: it cannot; ``disk_full`` says whether that is why.
        """
        check_writable(self.engine, thorough=self._writer.disk_was_full)
        self._writer.disk_was_full = False

    def size(self) -> int:
        """Bytes of the database, with what waits in its write-ahead log on SQLite."""
        return size_of(self.engine)

    def close(self, timeout: float = 10.0) -> bool:
        """Commit what waits, then let go of the database; False when that took too long."""
        finished = self._writer.close(timeout)
        if not finished:
            log.error("the writer did not finish in time", timeout=timeout)
        if self._checkpoints is not None:
            self._checkpoints.close()
        self.engine.dispose()
        return finished

    def _committed(self) -> None:
        for listener in self._listeners:
            listener()
