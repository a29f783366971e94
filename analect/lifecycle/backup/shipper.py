"""The log of changes: what changed in the last seconds, in the place of the backups.

Every few seconds a segment with the rows that changed goes there, behind the last backup: so a
store on SQLite can be restored to any of those moments. (On Postgres archiving the write-ahead log
does it.) A segment is an increment like any other, only smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from analect.lifecycle.backup.job import BackupJob, going_on
from analect.lifecycle.backup.manifest import FORMAT, LOG, MANIFEST, HeldFile
from analect.lifecycle.backup.write import SEGMENT, Base, snapshot, write_link
from analect.model.errors import Conflict
from analect.store.changes import Changes, Head, position


@dataclass(slots=True)
class Shipper:
    """Writes the segments of one store into one place. One at a time on a store."""

    job: BackupJob
    _known: Head | None = None
    _digest: str = ""
    _format: int = FORMAT
    _hashes: Mapping[str, str] = field(default_factory=dict)
    _files: tuple[HeldFile, ...] | None = None

    def ship(self) -> bool:
        """Write what changed since the last segment; whether there was anything.

        Raises:
            Conflict: there is no backup in the place that this store can go on from.
            StoreUnavailable: database or place fail; nothing is lost, the next time has it all.
        """
        return going_on(self._ship)

    def _ship(self) -> bool:
        head = self._head()
        if head != self._known:
            head = self._checked(head)
        with snapshot(self.job.engine) as connection:
            if position(connection) == head.last_position:
                return False
        link = f"{head.backup}/{LOG}/{head.number + 1:010d}"
        written = write_link(
            self.job.engine,
            self.job.catalog,
            link,
            kind=SEGMENT,
            clock=self.job.clock,
            base=self._base(head),
            files=self.job.files,
            checkpoint=self.job.checkpoint,
        )
        if written is None:
            return False
        moved = replace(
            head,
            at=written.manifest.taken_at,
            number=head.number + 1,
            log=link,
            log_position=written.position,
        )
        if not Changes(self.job.engine).advance(self.job.catalog.place.address, moved):
            self._ship()  # a backup ended meanwhile: the log goes on behind that one
            return True
        self.job.checkpoint("head moved")
        self._known, self._digest = moved, written.digest
        self._hashes = written.manifest.hashes
        if written.manifest.files is not None:
            self._files = written.manifest.files
        return True

    def _base(self, head: Head) -> Base:
        return Base(
            head.last, self._digest, head.last_position, self._format, self._files, self._hashes
        )

    def _head(self) -> Head:
        found = Changes(self.job.engine).heads().get(self.job.catalog.place.address)
        if found is None:
            raise Conflict(
                "nothing is shipped before there is a backup: run `analect backup create` with the "
                "place that backup.place names"
            )
        return found

    def _checked(self, head: Head) -> Head:
        """Where to go on, when it was not this object that stopped there."""
        if self.job.base() is None:
            raise Conflict(
                "changes since the last backup are not known (the store was restored or upgraded "
                "since): run `analect backup create`"
            )
        catalog = self.job.catalog
        links = catalog.segments(head.backup)
        if (links[-1] if links else None) != head.log:
            # A crash lost the note of a segment, or an older copy of the database was put back:
            # what is there may be of another past. Go on behind a backup of its own.
            self.job.incremental(LOG)
            head = self._head()
        self._clear(f"{head.backup}/{LOG}/{head.number + 1:010d}")
        last, self._digest = catalog.signed(head.last)
        self._hashes, self._format = last.hashes, last.format
        self._files = catalog.files(head.last)
        self._known = head
        return head

    def _clear(self, link: str) -> None:
        """Take away what a crash left of a segment."""
        path = self.job.catalog.path(link)
        for name in self.job.catalog.place.names(path):
            if name != MANIFEST:
                self.job.catalog.place.delete(f"{path}/{name}")
