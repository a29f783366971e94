"""Looking every object and file over, and saying which backups a damaged one breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from analect.lifecycle.backup.files import OpenPlace, file_problem, nowhere
from analect.lifecycle.backup.manifest import Catalog, HeldFile
from analect.lifecycle.backup.read import LinkReader
from analect.lifecycle.backup.write import Progress
from analect.model.errors import Corrupt, NotFound


@dataclass(frozen=True, slots=True)
class Checked:
    """One backup, with all it needs and the log behind it. ``problem`` names the object that is
    missing or damaged; ``damaged`` the link it is of, which may be another one.
    """

    id: str
    whole: bool
    problem: str | None = None
    damaged: str | None = None


def check(
    catalog: Catalog,
    only: str | None,
    progress: Progress = lambda _done, _total: None,
    open_place: OpenPlace = nowhere,
) -> list[Checked]:
    """Read every object of the backups in a place, or of one backup and what it needs, and every
    file of the tiers that they refer to; ``open_place`` opens the places where files were left.

    Raises:
        NotFound: there is no such backup.
    """
    backups = catalog.ids()
    if only is not None and only not in backups:
        raise NotFound(f"there is no finished backup {only} of this store in this place")
    wanted = backups if only is None else [only]
    looking = _Looking(catalog, open_place)
    found = []
    for number, backup in enumerate(wanted):
        progress(number, len(wanted))
        found.append(looking.check(backup))
    return found


@dataclass(slots=True)
class _Looking:
    """What was looked at is not read again for another backup."""

    catalog: Catalog
    open_place: OpenPlace
    links: dict[str, str | None] = field(default_factory=dict)
    files: dict[HeldFile, str | None] = field(default_factory=dict)

    def check(self, backup: str) -> Checked:
        for link in _needed(self.catalog, backup):
            if link not in self.links:
                self.links[link] = _problem(self.catalog, link)
            if (problem := self.links[link]) is not None:
                return Checked(backup, False, problem, link)
        for link in (backup, *self.catalog.telling(backup)):
            for held in self.catalog.files(link) or ():
                if held not in self.files:
                    self.files[held] = file_problem(self.catalog, held, self.open_place)
                if (problem := self.files[held]) is not None:
                    return Checked(backup, False, problem, link)
        return Checked(backup, True)


def _needed(catalog: Catalog, backup: str) -> Iterator[str]:
    """Every link that a backup goes on from, then itself, then its log."""
    before: list[str] = []
    link: str | None = backup
    while link is not None:
        before.insert(0, link)
        try:
            link = catalog.manifest(link).parent
        except (Corrupt, NotFound):
            link = None
    yield from before
    yield from catalog.segments(backup)


def _problem(catalog: Catalog, link: str) -> str | None:
    """What is wrong with one link, its own objects and what it says of the one before."""
    try:
        manifest = catalog.manifest(link)
        if manifest.parent is not None:
            catalog.chain(link)
        LinkReader(catalog, manifest).check()
    except (Corrupt, NotFound) as error:
        return str(error)
    return None
