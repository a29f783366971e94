"""Warm and cold files in a backup: a copy of each beside it, or a word on where they were left.

The rows of a backup speak of these files; without them the records in them are gone. By copy, a
file is copied once, by the first backup that speaks of it. By reference, it is looked at and left
where it is: then whoever loses the place of the tiers loses the records in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from analect.lifecycle.backup.copies import FileCopies, copy_file, kept_beside, names_below
from analect.lifecycle.backup.manifest import Catalog, Checkpoint, HeldFile
from analect.lifecycle.places.hashing import hash_of
from analect.lifecycle.places.opening import is_bucket
from analect.lifecycle.places.place import Place
from analect.lifecycle.tiers.opening import tiers_place
from analect.model.errors import Conflict, Corrupt, NotFound
from analect.settings import Settings
from analect.store.tier_files import TierFile, manifest_name

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]
OpenPlace = Callable[[str], Place]
"""Opens the place of an address."""


def nowhere(address: str) -> Place:
    """An :data:`OpenPlace` that opens none.

    Raises:
        NotFound: always.
    """
    raise NotFound(f"{address} is not looked at")


def same_place(one: str, other: str) -> bool:
    """Whether what loses one address probably loses the other: one bucket, or one folder in the
    other.
    """
    if is_bucket(one) or is_bucket(other):
        return is_bucket(one) and is_bucket(other) and urlsplit(one)[1] == urlsplit(other)[1]
    first, second = Path(one).resolve(), Path(other).resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def files_out(settings: Settings, catalog: Catalog, choice: str | None = None) -> FilesOut:
    """As the settings have it, or as is chosen: ``copy``, ``reference``, or ``auto``: a reference
    only where what loses the backups loses the tiers as well.
    """
    tiers = tiers_place(settings)
    choice = choice or settings.backup.files
    apart = not same_place(tiers.address, catalog.place.address)
    return FilesOut(catalog, tiers, copies=apart if choice == "auto" else choice == "copy")


class FileGone(Conflict):
    """A file went while a backup was made of it."""


@dataclass(frozen=True, slots=True)
class FilesOut:
    """Takes files into the backups of one place; ``copies``, or leaves them where they are."""

    catalog: Catalog
    tiers: Place
    copies: bool
    checkpoint: Checkpoint = lambda _name: None

    def take(
        self,
        files: Sequence[TierFile],
        known: Mapping[str, HeldFile],
        standing: Callable[[], Iterable[TierFile]],
    ) -> tuple[HeldFile, ...]:
        """What a backup is to say of these files. ``known`` is what the one before said; files
        that it has looked at and left are not hashed again. ``standing`` asks what stands now.

        A file that is lost or damaged does not keep the rest from being backed up: it is told as
        ``lost``, and logged.

        Raises:
            FileGone: one was taken out of the tiers meanwhile: begin again with what stands now.
            StoreUnavailable: a place does not answer, or is full.
        """
        taken = []
        for file in files:
            held = HeldFile(file.name, file.bytes, file.sha256)
            if not self.copies:
                held = replace(held, place=self.tiers.address)
            try:
                self._take(file, held, known.get(file.name))
            except (NotFound, Corrupt) as error:
                if isinstance(error, NotFound) and file.name not in {f.name for f in standing()}:
                    raise FileGone(f"{file.name} was moved on while it was backed up") from error
                log.warning(
                    "a file of the tiers is lost to backups", file=file.name, why=str(error)
                )
                held = replace(held, lost=True)
            taken.append(held)
        return tuple(taken)

    def _take(self, file: TierFile, held: HeldFile, known: HeldFile | None) -> None:
        if self.copies:
            copies = FileCopies(self.catalog)
            if not copies.has(file.name):
                copies.make(file, self.tiers)
                self.checkpoint("file copied")
        elif known == held:
            if (size := self.tiers.size(file.name)) != file.bytes:
                raise NotFound(file.name) if size is None else _changed(file, self.tiers)
        elif hash_of(self.tiers, file.name) != (file.bytes, file.sha256):
            raise _changed(file, self.tiers)


@dataclass(frozen=True, slots=True)
class FilesIn:
    """Brings the files of a backup back into the place of the tiers. ``skip``: go on without those
    that are nowhere any more. ``replace``: whatever else is in the place is given up.
    """

    tiers: Place
    open_place: OpenPlace
    skip: bool = False
    replace: bool = False
    checkpoint: Checkpoint = lambda _name: None

    def check(self, catalog: Catalog, held: Sequence[HeldFile]) -> None:
        """Raises:
        Conflict: the place holds files that no backup knows: another store may live there.
        """
        known = {one.name for one in (*held, *_of_all(catalog))}
        known |= {manifest_name(name) for name in known}
        other = next((name for name in names_below(self.tiers) if name not in known), None)
        if other is not None and not self.replace:
            raise Conflict(
                f"{self.tiers.address} holds {other}, which no backup knows: name another "
                "place with tiers.place (ANALECT_TIERS__PLACE), or say --replace to give up what "
                "is there"
            )

    def bring(
        self,
        catalog: Catalog,
        held: Sequence[HeldFile],
        progress: Progress = lambda _done, _total: None,
    ) -> set[str]:
        """Bring those that are not there; the names of those that are nowhere (with ``skip``). What
        breaks off is gone on with by the next one.

        Raises:
            Corrupt: a file is nowhere any more, or is not what it was.
            StoreUnavailable: a place does not answer, or is full.
        """
        lost = set()
        done, total = 0, sum(one.bytes for one in held)
        for one in held:
            progress(done, total)
            try:
                self._bring(catalog, one)
            except (Corrupt, NotFound) as error:
                if not self.skip:
                    raise Corrupt(
                        f"the records of {one.name} cannot be restored: {error}. Restore another "
                        "backup, or go without them with --skip-missing-files"
                    ) from error
                lost.add(one.name)
            done += one.bytes
        return lost

    def _bring(self, catalog: Catalog, held: HeldFile) -> None:
        if self._is_there(held):
            return
        if held.lost or held.place == self.tiers.address:
            raise Corrupt(f"it is not in {self.tiers.address}, and there is no copy of it")
        if held.place is None:
            with FileCopies(catalog).open(held) as (beside, parts):
                _write(self.tiers, held.name, parts)
        else:
            source = self.open_place(held.place)
            with self.tiers.create(held.name) as out:
                copy_file(source, held.name, held.sha256, out)
            beside = kept_beside(source, held.name)
        if beside and self.tiers.size(manifest_name(held.name)) is None:
            _write(self.tiers, manifest_name(held.name), [beside])
        self.checkpoint("file brought")

    def _is_there(self, held: HeldFile) -> bool:
        """Whether the file is there as it should be; a damaged one is taken away."""
        if self.tiers.size(held.name) is None:
            return False
        if hash_of(self.tiers, held.name) == (held.bytes, held.sha256):
            return True
        self.tiers.delete(held.name)
        return False


def file_problem(catalog: Catalog, held: HeldFile, open_place: OpenPlace) -> str | None:
    """What is wrong with a file that a backup refers to, read whole."""
    if held.lost:
        return f"{held.name} was lost already when this backup was made"
    try:
        if held.place is None:
            with FileCopies(catalog).open(held) as (_, parts):
                for _ in parts:
                    continue
        elif hash_of(open_place(held.place), held.name) != (held.bytes, held.sha256):
            return f"{held.name} in {held.place} is not what it was"
    except NotFound:
        return f"{held.name} is not in {held.place} any more, and there is no copy of it"
    except Corrupt as error:
        return str(error)
    return None


def sweep(catalog: Catalog, checkpoint: Checkpoint = lambda _name: None) -> list[str]:
    """Remove copies that no backup refers to any more; the names of their files. Callers see that
    nobody writes backups there meanwhile.

    Raises:
        Corrupt: a backup cannot be read, so nothing is removed.
    """
    needed = {
        held.name
        for backup in catalog.ids()
        for link in (backup, *catalog.telling(backup))
        for held in catalog.manifest(link).files or ()
    }
    copies = FileCopies(catalog)
    gone = sorted(copies.names() - needed)
    for name in gone:
        copies.remove(name)
        checkpoint("copy removed")
    return gone


def _of_all(catalog: Catalog) -> Iterator[HeldFile]:
    """The files of every backup that can be read."""
    for backup in catalog.ids():
        with suppress(Corrupt, NotFound):
            yield from catalog.manifest(backup).files or ()


def _changed(file: TierFile, tiers: Place) -> Corrupt:
    return Corrupt(f"{file.name} in {tiers.address} is not the file that was written")


def _write(place: Place, name: str, parts: Iterable[bytes]) -> None:
    with place.create(name) as out:
        for part in parts:
            out.write(part)
