"""Times as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

MICROS = 1_000_000
_MINUTE = 60 * MICROS


def rfc3339(micros: int) -> str:
    """``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(micros // MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(micros: int) -> str:
    """The same with microseconds."""
    return datetime.fromtimestamp(micros / MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def micros_of(text: str) -> int:
    """Either of them as microseconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp() * MICROS)


def next_tick(schedule: str, zone: str, micros: int) -> str | None:
    """When a cron expression, read in a time zone, is next due after this moment; None where it
    never is, or says nothing that is known here.
    """
    return _next_tick(schedule, zone, micros // _MINUTE)


@lru_cache(maxsize=1024)
def _next_tick(schedule: str, zone: str, minute: int) -> str | None:
    """A thousand stores have much the same schedules."""
    try:
        now = datetime.fromtimestamp(minute * _MINUTE // MICROS, ZoneInfo(zone))
        found: datetime = croniter(schedule, now).get_next(datetime)
    except (CroniterError, ZoneInfoNotFoundError, ValueError):
        return None
    return rfc3339(int(found.timestamp()) * MICROS)
