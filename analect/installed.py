"""What installed packages offer to take part in."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


def offered(group: str) -> list[EntryPoint]:
    """The entry points of a group, by name. What is installed while the process runs is seen where
    a folder was put on the module path for it.
    """
    found = _installed(tuple(sys.path)).select(group=group)
    return sorted(found, key=lambda point: point.name)


@cache
def _installed(_path: tuple[str, ...]) -> Any:
    """To look through all that is there takes as long as opening a store does otherwise."""
    return entry_points()
