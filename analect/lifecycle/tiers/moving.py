"""From one tier to the next: copy, read back, count and hash, publish, then remove.

Every step can be repeated. A file that was written and not published is nobody's and is deleted;
one that stands as ``removing`` has its hot rows removed by whoever runs next; a ``retired`` one has
its object deleted. ``step`` is called between the steps, with the name of the one that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import structlog
from sqlalchemy import Connection, Engine

from analect.lifecycle.places.place import Place
from analect.lifecycle.tiers.cold import COLD, verify_cold, write_cold
from analect.lifecycle.tiers.columns import SCHEMA
from analect.lifecycle.tiers.part import WARM, Written, open_part, verify_part, write_part
from analect.lifecycle.tiers.tables import TierTables
from analect.model.errors import Conflict
from analect.model.ids import Clock, RandomBytes, RecordId
from analect.store.backup_references import BackupReferences
from analect.store.dropping import IdSum, drop_month, month_rows, reattach
from analect.store.engine import write_transaction
from analect.store.leaving import remove_copied
from analect.store.purged_months import forget_ahead
from analect.store.tier_files import (
    LIVE,
    REMOVING,
    RETIRED,
    TierFile,
    TierFiles,
    manifest_name,
    publish,
)

log = structlog.get_logger(__name__)

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Filed:
    """A file that is written and verified, and its locator."""

    file: TierFile
    locator: bytes


class Mover:
    """Writes files and lets them stand. Callers hold the lock of the one retention run."""

    def __init__(
        self,
        engine: Engine,
        files: TierFiles,
        place: Place,
        *,
        clock: Clock,
        random_bytes: RandomBytes,
        step: Step = lambda _name: None,
    ) -> None:
        self._engine = engine
        self._files = files
        self._place = place
        self._tables = TierTables(files, place)
        self._references = BackupReferences(engine)
        self._clock = clock
        self._random_bytes = random_bytes
        self._step = step

    def settle(self) -> None:
        """Finish what a run that broke off has left."""
        reattach(self._engine)
        forget_ahead(self._engine)
        for month in sorted({file.month for file in self._files.in_state(REMOVING)}):
            self.remove_copied(month)
        self.delete_retired()
        self._delete_unknown()

    def remove_copied(self, month: str) -> int:
        """Remove the hot rows of a month that stand in warm files; how many there were."""
        files = [file for file in self._files.in_state(REMOVING) if file.month == month]
        gone = self._drop_month(month, files)
        if gone is None:
            return sum(self._remove(file) for file in files)
        for file in files:
            self._files.set_live(file.name)
        return gone

    def load(self, file: TierFile) -> Any:
        """All of a file."""
        return together(list(self._tables.tables(file)))

    def ids(self, file: TierFile) -> list[RecordId]:
        """The ids of a file, in order."""
        with open_part(self._place, file.name) as part:
            return list(part.read(columns=["id"]).column("id").to_pylist())

    def write(
        self,
        groups: Iterable[Any],
        tier: str,
        of: tuple[str, str],
        *,
        indexed: bool,
        state: str = LIVE,
    ) -> Filed:
        """Write row groups of one kind and month (``of``), read them back, and say what stands for
        them once it is published.
        """
        name = self._name(tier, *of)
        if tier == COLD:
            written = write_cold(self._place, name, groups)
        else:
            written = write_part(self._place, name, groups)
        self._step("file written")
        (verify_cold if tier == COLD else verify_part)(self._place, written)
        self._step("file verified")
        file = TierFile(
            name=name,
            tier=tier,
            kind=of[0],
            month=of[1],
            state=state,
            rows=written.rows,
            bytes=written.size,
            sha256=written.sha256,
            first_id=written.first_id,
            last_id=written.last_id,
            indexed=indexed,
            written_at=self._clock(),
        )
        self._manifest(file, written)
        self._step("manifest written")
        return Filed(file, written.locator.pack())

    def publish(
        self,
        filed: Sequence[Filed],
        retired: Sequence[TierFile],
        within: Callable[[Connection], bool] = lambda _: True,
    ) -> None:
        """Let files stand for the retired ones.

        Raises:
            Conflict: one of these does not stand any more, or ``within``, asked in the transaction
                that publishes, does not agree. Nothing was changed.
        """
        with write_transaction(self._engine) as connection:
            rows = [(one.file, one.locator) for one in filed]
            agreed = within(connection)
            if not agreed or not publish(connection, rows, [one.name for one in retired]):
                raise Conflict("the files of a tier, or the holds, changed meanwhile; run it again")
        self._step("published")

    def delete_retired(
        self, at_once: Callable[[TierFile], bool] = lambda _file: False
    ) -> Mapping[str, Sequence[str]]:
        """Delete the objects of files that others took the place of. Those that backups refer to
        stay for as long as these are kept, but for those that must go ``at_once``.

        Returns:
            The files that stayed, and that went although backups refer to them, with the backups.
        """
        retired = self._files.in_state(RETIRED)
        waiting = self._references.waiting(retired) if retired else {}
        going = [file for file in retired if file.name not in waiting or at_once(file)]
        for file in going:
            self._delete(file.name)
            self._step("object deleted")
        if going:
            self._files.forget([file.name for file in going])
        return waiting

    # -- inside ----------------------------------------------------------------------------

    def _drop_month(self, month: str, files: Sequence[TierFile]) -> int | None:
        """Drop the partition if it holds nothing but what is in the files."""
        rows = month_rows(self._engine, month)
        if rows is None or not files or rows > sum(file.rows for file in files):
            return None
        ids = IdSum()
        for file in files:
            ids = ids.plus(self.ids(file))
        if ids.count != rows:
            return None
        return rows if drop_month(self._engine, month, ids, self._step) else None

    def _remove(self, file: TierFile) -> int:
        gone = remove_copied(self._engine, self.ids(file), self._step)
        self._step("rows removed")
        self._files.set_live(file.name)
        self._step("file live")
        return gone

    def _name(self, tier: str, kind: str, month: str) -> str:
        unique = self._random_bytes(8).hex()
        end = f"records-{unique}.jsonl.zst" if tier == COLD else f"part-{unique}.parquet"
        return f"{tier}/kind={kind}/month={month}/{end}"

    def _manifest(self, file: TierFile, written: Written) -> None:
        """Beside the file: what it must hold, for who has the folder alone."""
        said = {
            "file": file.name.rsplit("/", 1)[-1],
            "rows": file.rows,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "first_id": file.first_id,
            "last_id": file.last_id,
        }
        if written.digests:
            said["groups"] = [one.hex() for one in written.digests]
        with self._place.create(manifest_name(file.name)) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(said)))

    def _delete(self, name: str) -> None:
        self._place.delete(name)
        self._place.delete(manifest_name(name))

    def _delete_unknown(self) -> None:
        """Objects that were written by a run that broke off before it published them."""
        known = self._files.names()
        known |= {manifest_name(name) for name in known}
        for tier in (WARM, COLD):
            for kind in self._place.names(tier):
                for month in self._place.names(f"{tier}/{kind}"):
                    folder = f"{tier}/{kind}/{month}"
                    for end in self._place.names(folder):
                        if f"{folder}/{end}" not in known:
                            self._place.delete(f"{folder}/{end}")
                            log.warning("an unfinished file was deleted", tier=tier)


def together(tables: Iterable[Any]) -> Any:
    """One table of several, in their order."""
    every = list(tables)
    return pa.concat_tables(every).combine_chunks() if every else SCHEMA.empty_table()


def merge_tables(tables: Sequence[Any]) -> Any:
    """In the order of ids, each once; of two of an id the first one stays."""
    if len(tables) == 1:
        return tables[0]
    whole = pa.concat_tables(tables)
    ids = whole.column("id").to_pylist()
    first: dict[str, int] = {}
    for place, record_id in enumerate(ids):
        first.setdefault(record_id, place)
    return whole.take([first[record_id] for record_id in sorted(first)]).combine_chunks()
