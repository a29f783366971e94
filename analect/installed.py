"""What installed packages offer to take part in."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points


def offered(group: str) -> list[EntryPoint]:
    """The entry points of a group, by name. What is installed while the process runs is not seen."""
    return sorted(_installed().select(group=group), key=lambda point: point.name)


# To look through all that is installed takes as long as opening a store does otherwise.
_installed = cache(entry_points)
