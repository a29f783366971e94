"""Label values that callers choose, kept few."""

from __future__ import annotations

MAX_VALUES = 20
OTHER = "other"
UNSET = "unset"


class BoundedLabel:
    """The first :data:`MAX_VALUES` distinct values as they come; every later one is ``other``.

    A value is cut to 64 characters. What comes first stays: a series must not change its name.
    """

    def __init__(self, limit: int = MAX_VALUES) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def of(self, value: str | None) -> str:
        """The label for ``value``; ``unset`` when there is none."""
        if value is None:
            return UNSET
        value = value[:64]
        if value in self._known:
            return value
        # Two threads may overshoot the limit by one each; the bound is against growth.
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(value)
        return value
