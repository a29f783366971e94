"""What a backup says of itself: signed, and written last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from analect.lifecycle.backup.format import BackupKeys
from analect.lifecycle.places.place import Place
from analect.model.errors import Corrupt, NotFound
from analect.model.ids import Micros

MANIFEST = "manifest"
VERIFIED = "verified"
FORMAT = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TableObject:
    """One table: its object, how many rows, the sum of their keyed hashes, bytes as stored."""

    name: str
    columns: tuple[str, ...]
    rows: int
    hash: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole backup. ``taken_at`` is when its snapshot began."""

    id: str
    store: str
    schema: str
    keyset: bytes
    tables: tuple[TableObject, ...]
    taken_at: Micros
    finished_at: Micros
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill that passed. Times in seconds: ``recovery`` (RTO) is the time to restore and read
    back, ``age`` (RPO) how old the data was by then.
    """

    backup: str
    drilled_at: Micros
    rows: int
    dropped: int
    opened: int
    recovery: float
    age: float


@dataclass(frozen=True, slots=True)
class Listed:
    """A backup in a list: ``VERIFIED`` once a drill restored it, else ``COMPLETED``, or ``BROKEN``."""

    id: str
    state: str
    taken_at: Micros | None
    rows: int
    bytes: int
    problem: str | None = None


class Catalog:
    """The backups of one store in one place."""

    def __init__(self, place: Place, store: str, keys: BackupKeys) -> None:
        self.place = place
        self.store = store
        self.keys = keys

    def path(self, backup: str, name: str = "") -> str:
        """The name of an object of a backup."""
        return f"{self.store}/{backup}/{name}".rstrip("/")

    def ids(self) -> list[str]:
        """Backups that were written to the end, oldest first."""
        return [
            one
            for one in self.place.names(self.store)
            if MANIFEST in self.place.names(self.path(one))
        ]

    def manifest(self, backup: str | None) -> Manifest:
        """A backup's manifest; the newest one's when ``backup`` is None.

        Raises:
            NotFound: there is no such backup.
            Corrupt: the manifest does not verify.
        """
        known = self.ids()
        if not known or (backup is not None and backup not in known):
            raise NotFound("there is no such finished backup of this store in this place")
        found = backup or known[-1]
        manifest = self._read(found, MANIFEST, Manifest)
        if (manifest.id, manifest.store) != (found, self.store) or manifest.format != FORMAT:
            raise Corrupt(f"the manifest of backup {found} is of another backup or format")
        return manifest

    def drill(self, backup: str) -> Drill | None:
        """The last word on whether it was restored once; None when it never was."""
        if VERIFIED not in self.place.names(self.path(backup)):
            return None
        return self._read(backup, VERIFIED, Drill)

    def open(self, path: str) -> BinaryIO:
        """Read an object.

        Raises:
            Corrupt: it is not there.
        """
        try:
            return self.place.open(path)
        except NotFound as error:
            raise Corrupt(f"the backup lacks its object {path}") from error

    def write(self, backup: str, name: str, value: object) -> None:
        """Write a signed object; the name must be free."""
        path = self.path(backup, name)
        with self.place.create(path) as stream:
            stream.write(self.keys.sign(path, value))

    def listed(self) -> Iterator[Listed]:
        """Every finished backup, oldest first."""
        for backup in self.ids():
            try:
                found = self.manifest(backup)
                state = "COMPLETED" if self.drill(backup) is None else "VERIFIED"
            except Corrupt as error:
                yield Listed(backup, "BROKEN", None, 0, 0, str(error))
                continue
            yield Listed(
                backup,
                state,
                found.taken_at,
                sum(table.rows for table in found.tables),
                sum(table.bytes for table in found.tables),
            )

    def _read(self, backup: str, name: str, type_: type[T]) -> T:
        path = self.path(backup, name)
        with self.open(path) as stream:
            return self.keys.verified(path, stream.read(), type_)
