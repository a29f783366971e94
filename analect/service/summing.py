"""Monthly figures as they are asked for again and again: kept by what they are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from analect.cache.cache import Cache

Figures = list[dict[str, Any]]
Asked = tuple[str, str, str, bool]
"""A family, the first month and the last one, and whether figures are by year."""

KEPT_AS = {
    "queries": "common_questions",
    "interactions": "user_behavior",
    "sessions": "user_behavior",
    "content": "content_performance",
    "performance": "content_performance",
    "business": "business_metrics",
}
"""The cache of each family: its setting says how long the figures live."""
ALWAYS = ("0000-00", "9999-12", False)
_TAG = "summaries"


class KeptSummaries:
    """Figures of a family, computed by ``compute`` when they are not known yet.

    ``warm``: compute those of all time when the process starts.
    """

    def __init__(self, cache: Cache, compute: Callable[[Asked], Figures], *, warm: bool) -> None:
        self._cache = cache
        self._kept = {
            name: cache.keep(
                name,
                tags=lambda asked: (_TAG, f"{_TAG}:{asked[0]}"),
                warm=[
                    (family, *ALWAYS) for family, kept in KEPT_AS.items() if kept == name and warm
                ],
            )(compute)
            for name in sorted(set(KEPT_AS.values()))
        }

    def of(self, family: str, first: str, last: str, *, by_year: bool) -> Figures:
        """From month to month; the caller's own to change."""
        found = self._kept[KEPT_AS[family]]((family, first, last, by_year))
        return [dict(one) for one in found]

    def changed(self) -> None:
        """They were counted again: every process forgets what it knew."""
        self._cache.invalidate(_TAG)
