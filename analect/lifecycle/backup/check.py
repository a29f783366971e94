"""Looking every object over, and saying which backups a damaged one breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analect.lifecycle.backup.manifest import Catalog
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
    catalog: Catalog, only: str | None, progress: Progress = lambda _done, _total: None
) -> list[Checked]:
    """Read every object of the backups in a place, or of one backup and what it needs.

    Raises:
        NotFound: there is no such backup.
    """
    backups = catalog.ids()
    if only is not None and only not in backups:
        raise NotFound(f"there is no finished backup {only} of this store in this place")
    wanted = backups if only is None else [only]
    looked: dict[str, str | None] = {}
    found = []
    for number, backup in enumerate(wanted):
        progress(number, len(wanted))
        found.append(_check(catalog, backup, looked))
    return found


def _check(catalog: Catalog, backup: str, looked: dict[str, str | None]) -> Checked:
    for link in _needed(catalog, backup):
        if link not in looked:
            looked[link] = _problem(catalog, link)
        if (problem := looked[link]) is not None:
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
