"""What a backup says of itself: signed, and written last.

Backups form chains: a *link* is a full backup, an increment on another one, or a segment of the
log of changes behind either. Each names the link it goes on from, and the digest of what that one
says of itself, so a link that was taken out, put elsewhere or played again is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, TypeVar

from analect.lifecycle.backup.format import BLAKE2B, SHA256, open_object
from analect.lifecycle.backup.keys import BackupKeys
from analect.lifecycle.places.place import Place
from analect.model.errors import Conflict, Corrupt, NotFound
from analect.model.ids import Micros, is_record_id

MANIFEST = "manifest"
VERIFIED = "verified"
LOG = "log"
FILES = "files"
"""Where copies of warm and cold files are, for all backups of a store; and, within a backup, which
segments of its log speak of files.
"""
CHANGES = "changes"
"""The one object of a link that is no full backup; those of a full one are its tables."""
FORMAT = 3
"""Of chains that begin now; an increment has that of the link it goes on from, for the hashes of
a chain are summed."""
HASHED_BY = {2: BLAKE2B, 3: SHA256}
"""The formats that are read, and what each has its rows hashed by: all that they differ in."""

Checkpoint = Callable[[str], None]
"""Called at every named point of a job, for tests that end the process there."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TableContent:
    """What a link holds of a table: ``rows`` with the sum of their keyed hashes, and keys of
    ``removed`` ones; of ``months`` it holds all there are. ``whole``: these are all of its rows, whatever links before this one say.
    ``total``: rows there were then, where all of them were told.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    whole: bool
    rows: int
    hash: str
    removed: int = 0
    total: int | None = None
    months: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """An object of a link and its bytes."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file of the warm or cold tier that a link's rows speak of. ``place``: the tiers it was left
    in; None when a copy goes with the backups. ``lost``: it was nowhere already.
    """

    name: str
    bytes: int
    sha256: str
    place: str | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """One link. ``taken_at`` is when its snapshot began; ``parent`` and ``parent_digest`` say what
    it goes on from; ``months`` are those of its records; ``plain`` the bytes of its rows. ``files``
    are all that stood then; None when they are those of the link before. ``same``: small tables that
    are as links before this one tell them, and the hashes of all their rows.
    """

    id: str
    store: str
    kind: str
    schema: str
    keyset: bytes
    tables: tuple[TableContent, ...]
    objects: tuple[Stored, ...]
    months: tuple[str, ...]
    taken_at: Micros
    finished_at: Micros
    plain: int
    parent: str | None = None
    parent_digest: str | None = None
    format: int = FORMAT
    files: tuple[HeldFile, ...] | None = None
    same: dict[str, str] = field(default_factory=dict)

    @property
    def hashed_by(self) -> str:
        """The function."""
        return HASHED_BY[self.format]

    @property
    def hashes(self) -> Mapping[str, str]:
        """Of all rows of the tables of which that is known, by name."""
        return self.same | {table.name: table.hash for table in self.tables if table.whole}

    @property
    def rows(self) -> int:
        """All of its rows."""
        return sum(table.rows for table in self.tables)

    @property
    def size(self) -> int:
        """As stored."""
        return sum(one.bytes for one in self.objects)


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill that passed, of a backup and of the log behind it as far as ``link``. Times in
    seconds: ``recovery`` (RTO) is the time to restore and read back, ``age`` (RPO) how old the data
    was by then. ``opened``: payloads; ``files`` of the tiers that were read whole; ``found``:
    whether a search found a record, None when no record had a word.
    """

    backup: str
    link: str
    drilled_at: Micros
    rows: int
    dropped: int
    opened: int
    recovery: float
    age: float
    files: int = 0
    found: bool | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A backup in a list: ``VERIFIED`` once a drill restored it, else ``COMPLETED``, or ``BROKEN``.
    ``log_until``: how far the log of changes behind it goes.
    """

    id: str
    state: str
    kind: str
    parent: str | None
    taken_at: Micros | None
    log_until: Micros | None
    rows: int
    bytes: int
    problem: str | None = None
    files: int = 0
    files_lost: int = 0


class Catalog:
    """The backups of one store in one place."""

    def __init__(self, place: Place, store: str, keys: BackupKeys) -> None:
        self.place = place
        self.store = store
        self.keys = keys

    def path(self, link: str, name: str = "") -> str:
        """The name of an object of a link."""
        return f"{self.store}/{link}/{name}".rstrip("/")

    def ids(self) -> list[str]:
        """Backups that were written to the end, oldest first."""
        return [
            one
            for one in self.place.names(self.store)
            if MANIFEST in self.place.names(self.path(one))
        ]

    def unfinished(self) -> list[str]:
        """Backups that have no manifest, as yet or any more, oldest first."""
        there = {*self.ids()}
        names = self.place.names(self.store)
        return [one for one in names if is_record_id(one) and one not in there]

    def segments(self, backup: str) -> list[str]:
        """Links of the log behind a backup, oldest first."""
        links = [f"{backup}/{LOG}/{one}" for one in self.place.names(self.path(backup, LOG))]
        if links and self.place.size(self.path(links[-1], MANIFEST)) is None:
            links.pop()  # it was never finished
        return links

    def newest(self) -> str:
        """The last backup.

        Raises:
            NotFound: there is none.
        """
        known = self.ids()
        if not known:
            raise NotFound("there is no finished backup of this store in this place")
        return known[-1]

    def manifest(self, link: str) -> Manifest:
        """What a link says of itself.

        Raises:
            NotFound: there is no such link.
            Corrupt: its manifest does not verify.
        """
        return self.signed(link)[0]

    def signed(self, link: str) -> tuple[Manifest, str]:
        """The same, and the digest by which others name it."""
        path = self.path(link, MANIFEST)
        try:
            with self.place.open(path) as stream:
                data = stream.read()
        except NotFound as error:
            raise NotFound(
                f"there is no finished backup {link} of this store in this place"
            ) from error
        found = self.keys.verified(path, data, Manifest)
        if (found.id, found.store) != (link, self.store) or found.format not in HASHED_BY:
            raise Corrupt(f"the manifest of {link} is of another backup or format")
        return found, self.keys.digest(data)

    def looked(self) -> dict[str, Manifest | Corrupt]:
        """What every finished backup says of itself, oldest first, or why nothing can restore it:
        its manifest does not verify, or one that it goes on from is not there, or broken itself.
        """
        signed: dict[str, tuple[Manifest, str] | Corrupt] = {}
        for backup in self.ids():
            try:
                signed[backup] = self.signed(backup)
            except NotFound:
                continue  # it was removed meanwhile
            except Corrupt as error:
                signed[backup] = error
        found: dict[str, Manifest | Corrupt] = {}
        for backup, one in signed.items():
            found[backup] = one if isinstance(one, Corrupt) else _on_from(one[0], signed, found)
        return found

    def chain(self, link: str) -> list[Manifest]:
        """A link and all it goes on from, the full backup first.

        Raises:
            NotFound: there is no such link.
            Corrupt: a link is missing, or is another one than it was.
        """
        found = [self.manifest(link)]
        while (parent := found[0].parent) is not None:
            after = found[0]
            try:
                before, digest = self.signed(parent)
            except NotFound as error:
                raise Corrupt(f"{after.id} goes on from {parent}, which is not there") from error
            if digest != after.parent_digest:
                raise Corrupt(
                    f"{after.id} goes on from another {parent} than the one that is there"
                )
            found.insert(0, before)
        return found

    def files(self, link: str) -> tuple[HeldFile, ...] | None:
        """The files that a link's rows speak of; None when no link of its chain says."""
        backup = link.split("/", maxsplit=1)[0]
        if link != backup:
            told = [one for one in self.telling(backup) if one <= link]
            return self.manifest(told[-1]).files if told else self.files(backup)
        found = self.manifest(backup)
        while found.files is None and found.parent is not None:
            found = self.manifest(found.parent)
        return found.files

    def telling(self, backup: str) -> list[str]:
        """Links of the log behind a backup that speak of files."""
        marked = self.place.names(self.path(backup, FILES))
        finished = {one for one in self.place.names(self.path(backup, LOG)) if one in marked}
        return [
            f"{backup}/{LOG}/{one}"
            for one in sorted(finished)
            if self.place.size(self.path(f"{backup}/{LOG}/{one}", MANIFEST)) is not None
        ]

    def mark_telling(self, link: str) -> None:
        """A link of the log is going to speak of files."""
        backup, _, number = link.split("/")
        try:
            with self.place.create(self.path(backup, f"{FILES}/{number}")) as stream:
                stream.write(number.encode())
        except Conflict:
            return  # one that broke off has marked it

    def at(self, moment: Micros) -> str:
        """The last link that was taken by ``moment``.

        Raises:
            NotFound: there was none by then.
        """
        # The log behind a backup goes on until the next backup is whole: look at two of them.
        bases = (one for one in reversed(self.looked().values()) if isinstance(one, Manifest))
        by_then = islice((base for base in bases if base.taken_at <= moment), 2)
        links = [link for base in by_then for link in (base, *self._log_until(base.id, moment))]
        if not links:
            raise NotFound("no backup in this place is so old")
        return max(links, key=lambda link: link.taken_at).id

    def _log_until(self, backup: str, moment: Micros) -> Iterator[Manifest]:
        """The last segment by ``moment``, if any, found by halving."""
        links = self.segments(backup)
        low, high = 0, len(links)
        while low < high:
            middle = (low + high) // 2
            if self.manifest(links[middle]).taken_at <= moment:
                low = middle + 1
            else:
                high = middle
        if low:
            yield self.manifest(links[low - 1])

    def drill(self, backup: str) -> Drill | None:
        """The last word on whether it was restored once; None when it never was."""
        if VERIFIED not in self.place.names(self.path(backup)):
            return None
        path = self.path(backup, VERIFIED)
        with self.open(path) as stream:
            return self.keys.verified(path, stream.read(), Drill)

    def open(self, path: str) -> BinaryIO:
        """Read an object.

        Raises:
            Corrupt: it is not there.
        """
        return open_object(self.place, path)

    def write(self, link: str, name: str, value: object) -> str:
        """Write a signed object, whose name must be free; its digest."""
        path = self.path(link, name)
        signed = self.keys.sign(path, value)
        with self.place.create(path) as stream:
            stream.write(signed)
        return self.keys.digest(signed)

    def listed(self) -> Iterator[Listed]:
        """Every finished backup, oldest first."""
        for backup, found in self.looked().items():
            if isinstance(found, Corrupt):
                yield Listed(backup, "BROKEN", "", None, None, None, 0, 0, str(found))
                continue
            try:
                state = "COMPLETED" if self.drill(backup) is None else "VERIFIED"
                last = self.segments(backup)
                until = self.manifest(last[-1]).taken_at if last else None
            except (Corrupt, NotFound) as error:
                yield Listed(backup, "BROKEN", "", None, None, None, 0, 0, str(error))
                continue
            yield Listed(
                backup,
                state,
                found.kind,
                found.parent,
                found.taken_at,
                until,
                found.rows,
                found.size,
                files=len(found.files or ()),
                files_lost=sum(one.lost for one in found.files or ()),
            )


def _on_from(
    manifest: Manifest,
    signed: Mapping[str, tuple[Manifest, str] | Corrupt],
    looked: Mapping[str, Manifest | Corrupt],
) -> Manifest | Corrupt:
    """The manifest, if the chain behind it stands; of older ones that was ``looked`` at already."""
    if (parent := manifest.parent) is None:
        return manifest
    before = signed.get(parent)
    if before is None:
        return Corrupt(f"{manifest.id} goes on from {parent}, which is not there")
    if isinstance(before, Corrupt):
        return Corrupt(f"{manifest.id} goes on from {parent}, which is broken: {before}")
    if before[1] != manifest.parent_digest:
        return Corrupt(f"{manifest.id} goes on from another {parent} than the one that is there")
    further = looked.get(parent)
    return further if isinstance(further, Corrupt) else manifest


def told_files(chain: Sequence[Manifest]) -> tuple[HeldFile, ...] | None:
    """The files that the last link of a chain speaks of."""
    return next((one.files for one in reversed(chain) if one.files is not None), None)
