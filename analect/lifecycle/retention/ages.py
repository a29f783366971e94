"""Ages and days: where a number of days back begins, in the policy's time zone."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from analect.model.ids import EARLIEST, Micros, to_datetime, to_micros


def day_start(now: Micros, days: int, time_zone: str) -> Micros:
    """The beginning of the day that lies ``days`` before today: what is earlier is older.

    Whole days of the calendar, so a change to summer time or a 29th of February moves nothing.
    """
    zone = ZoneInfo(time_zone)
    today = to_datetime(now).astimezone(zone).date()
    try:
        day = today - timedelta(days=days)
    except OverflowError:
        return EARLIEST
    return to_micros(datetime.combine(day, time.min, zone).astimezone(UTC))


def leaves_at(occurred_at: Micros, days: int, time_zone: str) -> Micros:
    """The first moment at which a record is older than ``days``."""
    zone = ZoneInfo(time_zone)
    day = to_datetime(occurred_at).astimezone(zone).date() + timedelta(days=days + 1)
    return to_micros(datetime.combine(day, time.min, zone).astimezone(UTC))
