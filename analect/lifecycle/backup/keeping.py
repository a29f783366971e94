"""Which backups stay: the last ones, and the last of every day, week, month and year."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from analect.lifecycle.backup.manifest import Catalog, Manifest
from analect.model.errors import Corrupt
from analect.model.ids import to_datetime


@dataclass(frozen=True, slots=True)
class Keeping:
    """How many of each: of days, weeks, months and years that have a backup, the last one of each
    stays. Days end at midnight UTC, weeks on Sunday.
    """

    last: int = 3
    daily: int = 7
    weekly: int = 5
    monthly: int = 12
    yearly: int = 3


_PERIODS: Mapping[str, Callable[[datetime], tuple[int, ...]]] = {
    "daily": lambda day: (day.year, day.month, day.day),
    "weekly": lambda day: tuple(day.isocalendar()[:2]),
    "monthly": lambda day: (day.year, day.month),
    "yearly": lambda day: (day.year,),
}


def kept(backups: Iterable[Manifest], verified: Iterable[str], keeping: Keeping) -> set[str]:
    """The ids that stay: what is to be kept, the newest backup, the newest verified one, and
    whatever those go on from. Ids are in the order in which backups were made, which a clock that
    was wrong is not.
    """
    newest_first = sorted(backups, key=lambda one: one.id, reverse=True)
    parents = {one.id: one.parent for one in newest_first}
    wanted = [one.id for one in newest_first[: max(keeping.last, 1)]]
    for period, of in _PERIODS.items():
        seen: dict[tuple[int, ...], str] = {}
        for one in newest_first:
            seen.setdefault(of(to_datetime(one.taken_at)), one.id)
        wanted += list(seen.values())[: getattr(keeping, period)]
    good = set(verified)
    wanted += [one.id for one in newest_first if one.id in good][:1]
    staying: set[str] = set()
    for link_id in wanted:
        link: str | None = link_id
        while link is not None and link not in staying:
            staying.add(link)
            link = parents.get(link)
    return staying


def to_remove(catalog: Catalog, keeping: Keeping, *, broken: bool = False) -> list[str]:
    """Backups of a place that may go, newest first, so that no link goes before what needs it.
    ``broken``: those as well that nothing can restore any more.

    Raises:
        Corrupt: there is such a one, and it was not said that it may go: it stays for people to look
            at, and all it might need with it; or nothing is left that can be restored.
    """
    whole, damaged = [], []
    for backup, found in catalog.looked().items():
        if isinstance(found, Corrupt):
            damaged.append((backup, found))
        else:
            whole.append(found)
    if damaged and not whole:
        raise Corrupt(f"no backup in this place can be restored: {damaged[0][1]}")
    if damaged and not broken:
        raise Corrupt(
            f"nothing is removed, for backup {damaged[0][0]} is broken: {damaged[0][1]}. Once you "
            "have a backup that `analect backup check` calls whole, `analect backup prune --broken` "
            "removes those that nothing can restore, and goes on"
        )
    verified = [one.id for one in whole if _is_verified(catalog, one.id)]
    staying = kept(whole, verified, keeping)
    gone = [one.id for one in whole if one.id not in staying] + [one for one, _ in damaged]
    return sorted(gone, reverse=True)


def _is_verified(catalog: Catalog, backup: str) -> bool:
    try:
        return catalog.drill(backup) is not None
    except Corrupt:
        return False
