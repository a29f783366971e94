"""Removing the backups that are older than what is kept, and what was left of others.

A backup is gone with its manifest, so that goes first, newest backups before those they go on
from: whatever the moment at which this is cut off, no backup is listed that lacks anything. What
has no manifest is of one that was cut off while it was written or removed, and goes with the next
run.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from analect.lifecycle.backup.files import sweep
from analect.lifecycle.backup.keeping import Keeping, to_remove
from analect.lifecycle.backup.manifest import FILES, LOG, MANIFEST, Catalog, Checkpoint
from analect.lifecycle.places.folder import FolderPlace
from analect.model.errors import Corrupt, NotFound
from analect.model.ids import DAY, Clock
from analect.store.alone import alone
from analect.store.backup_references import BackupReferences


@dataclass(frozen=True, slots=True)
class Pruned:
    """Ids of the backups that were ``removed``, newest first, or would be; of those that were cut
    off and whose ``leftovers`` went; and how many copies of files no backup refers to any more.
    """

    removed: list[str]
    dry_run: bool
    leftovers: list[str]
    copies_removed: int


def prune(
    engine: Engine,
    catalog: Catalog,
    keeping: Keeping,
    *,
    clock: Clock,
    broken: bool = False,
    dry_run: bool = False,
    checkpoint: Checkpoint = lambda _name: None,
) -> Pruned:
    """Remove what is not to be kept, while nobody writes backups of this store; ``broken``: and
    what nothing can restore any more.

    Raises:
        Corrupt: a backup is broken and was not to be removed, so nothing is.
        StoreUnavailable: database or place do not answer. The next run goes on.
    """
    if dry_run:
        return Pruned(to_remove(catalog, keeping, broken=broken), dry_run, [], 0)
    with alone(engine, "backing-up"):
        if isinstance(catalog.place, FolderPlace):
            # Not the latest: another store may be writing into the same folder.
            catalog.place.tidy((clock() - DAY) / 1_000_000)
        gone = to_remove(catalog, keeping, broken=broken)
        for backup in gone:
            remove(catalog, backup, checkpoint)
        cut_off = leftovers(catalog)
        for backup in cut_off:
            remove(catalog, backup, checkpoint)
        BackupReferences(engine).keep(catalog.place.address, catalog.ids())
        checkpoint("references kept")
        swept = sweep(catalog, checkpoint)
    return Pruned(gone, dry_run, cut_off, len(swept))


def leftovers(catalog: Catalog) -> list[str]:
    """Backups without a manifest, which nobody can open, newest first. One that another goes on from
    was lost, not left: it stays for people to look at, and so does everything where a manifest
    cannot be read.
    """
    try:
        needed = {catalog.manifest(one).parent for one in catalog.ids()}
    except (Corrupt, NotFound):
        return []
    return [one for one in reversed(catalog.unfinished()) if one not in needed]


def remove(catalog: Catalog, backup: str, checkpoint: Checkpoint = lambda _name: None) -> None:
    """Remove a backup, whole or in part, and the log behind it."""
    path = catalog.path(backup)
    catalog.place.delete(f"{path}/{MANIFEST}")
    checkpoint("manifest removed")
    for number in reversed(catalog.place.names(f"{path}/{LOG}")):
        _empty(catalog, f"{path}/{LOG}/{number}", checkpoint)
    _empty(catalog, f"{path}/{FILES}", checkpoint)
    _empty(catalog, path, checkpoint)
    checkpoint("backup removed")


def _empty(catalog: Catalog, path: str, checkpoint: Checkpoint) -> None:
    for name in catalog.place.names(path):
        # In a folder these stay while a file of a writer that broke off is in them.
        if name not in {LOG, FILES}:
            catalog.place.delete(f"{path}/{name}")
            checkpoint("object removed")
