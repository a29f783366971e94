"""Making a backup: full or what changed, for the place and the kind that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy import Engine

from analect.lifecycle.backup.files import FilesOut
from analect.lifecycle.backup.manifest import Catalog, Checkpoint, Manifest
from analect.lifecycle.backup.write import Base, Overtaken, Progress, write_link
from analect.model.errors import Conflict, NotFound, StoreUnavailable
from analect.model.ids import Clock, RandomBytes, id_millis, is_record_id, new_id
from analect.store.changes import Changes, Head, head_of
from analect.store.engine import read_transaction
from analect.store.migrate import version_of

log = structlog.get_logger(__name__)
T = TypeVar("T")

_ATTEMPTS = 5

MANUAL = "manual"
KINDS = {MANUAL: False, "daily": True, "weekly": False, "monthly": False}
"""What a backup is made for, and whether what changed is enough when there is a full one."""


def going_on(write: Callable[[], T]) -> T:
    """What ``write`` returns, which goes on from the last backup of a place; begun again when another
    one ended there meanwhile.

    Raises:
        StoreUnavailable: others are always faster.
    """
    for _ in range(_ATTEMPTS):
        with suppress(Overtaken):
            return write()
    raise StoreUnavailable("other backups keep ending before this one begins; try again")


@dataclass(frozen=True, slots=True)
class BackupJob:
    """Backs one store up into one place."""

    engine: Engine
    catalog: Catalog
    clock: Clock
    random_bytes: RandomBytes
    progress: Progress = lambda _done, _total: None
    checkpoint: Checkpoint = lambda _name: None
    files: FilesOut | None = None

    def full(self, kind: str = MANUAL) -> Manifest:
        """A backup that needs no other one.

        Raises:
            StoreUnavailable: database or place fail, or the place is full.
        """
        Changes(self.engine).begin(new_id(self.clock(), self.random_bytes))
        self.checkpoint("changes noted")
        return self._write(kind, None)

    def incremental(self, kind: str = MANUAL) -> Manifest:
        """What changed since the last backup in this place.

        Raises:
            Conflict: there is none to go on from; make a full one.
            StoreUnavailable: database or place fail, the place is full, or others are always faster.
        """
        return going_on(lambda: self._incremental(kind))

    def of_kind(self, kind: str) -> Manifest:
        """A full backup or an increment, as the kind has it."""
        if KINDS[kind] and self.base() is not None:
            return self.incremental(kind)
        return self.full(kind)

    def base(self) -> Base | None:
        """The last backup, if changes since it are known."""
        with read_transaction(self.engine) as connection:
            head = head_of(connection, self.catalog.place.address)
            schema = version_of(connection)
        if head is None:
            return None
        try:
            manifest, digest = self.catalog.signed(head.backup)
        except NotFound:
            return None
        if manifest.schema != schema:
            return None
        files = self.catalog.files(head.backup)
        return Base(
            head.backup,
            digest,
            head.position,
            manifest.format,
            files,
            manifest.hashes,
            manifest.schema,
        )

    def _incremental(self, kind: str) -> Manifest:
        base = self.base()
        if base is None:
            raise Conflict(
                "there is no backup in this place that this store can go on from: make a full one "
                "(without --incremental)"
            )
        return self._write(kind, base)

    def _fresh_id(self) -> str:
        """The last of all in the place, wherever the clock has gone: the last backup is the newest."""
        there = [one for one in self.catalog.place.names(self.catalog.store) if is_record_id(one)]
        behind = (id_millis(max(there)) + 1) * 1000 if there else 0
        return new_id(max(self.clock(), behind), self.random_bytes)

    def _write(self, kind: str, base: Base | None) -> Manifest:
        link = self._fresh_id()
        written = write_link(
            self.engine,
            self.catalog,
            link,
            kind=kind,
            clock=self.clock,
            base=base,
            files=self.files,
            progress=self.progress,
            checkpoint=self.checkpoint,
        )
        if written is None:
            raise AssertionError  # only a segment of the log may have nothing to say
        if written.log_id is not None:
            head = Head(written.log_id, link, written.position, written.manifest.taken_at)
            Changes(self.engine).advance(self.catalog.place.address, head)
            self.checkpoint("head moved")
        return written.manifest
