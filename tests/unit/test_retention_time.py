"""Days of retention are whole days of a calendar: summer time, leap years, clocks that go back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.lifecycle.retention.ages import day_start, leaves_at
from analect.lifecycle.retention.loading import parse_policy
from analect.lifecycle.retention.rules import rules_at
from analect.model.ids import EARLIEST, Micros, id_floor, to_datetime, to_micros

ZONES = (
    "Etc/UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # its summer time began at midnight: some days have none
    "America/Havana",  # its summer time ends at one: some days have midnight twice
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Pacific/Apia",  # had no 30 December 2011
)
moments = st.integers(EARLIEST, to_micros(datetime(2060, 1, 1, tzinfo=UTC)))
zones = st.sampled_from(ZONES)
ages = st.integers(0, 4000)


def at(text: str, zone: str = "Etc/UTC") -> Micros:
    return to_micros(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))


def day_of(moment: Micros, zone: str) -> date:
    return to_datetime(moment).astimezone(ZoneInfo(zone)).date()


@given(moments, ages, zones)
def test_a_day_begins_where_the_calendar_says(now: Micros, days: int, zone: str) -> None:
    edge = day_start(now, days, zone)
    wanted = day_of(now, zone) - timedelta(days=days)
    assert day_of(edge - 1, zone) < wanted
    # A day that never was (a country went over the date line) begins with the next one.
    assert wanted <= day_of(edge, zone) <= wanted + timedelta(days=1)


@given(moments, ages, zones)
def test_a_record_leaves_at_the_moment_that_is_said(occurred: Micros, days: int, zone: str) -> None:
    leaves = leaves_at(occurred, days, zone)
    assert occurred < day_start(leaves, days, zone)
    assert occurred >= day_start(leaves - 1, days, zone)


@given(moments, moments, ages, zones)
def test_a_clock_that_goes_back_takes_nothing_more(
    one: Micros, other: Micros, days: int, zone: str
) -> None:
    earlier, later = sorted((one, other))
    assert day_start(earlier, days, zone) <= day_start(later, days, zone)


@given(st.lists(moments, min_size=2, max_size=8), ages, zones)
def test_older_records_never_leave_after_younger_ones(
    occurred: list[Micros], days: int, zone: str
) -> None:
    leaving = [leaves_at(one, days, zone) for one in sorted(occurred)]
    assert all(first <= second for first, second in pairwise(leaving))


@pytest.mark.parametrize(
    ("now", "days", "zone", "edge"),
    [
        ("2024-02-29T12:00:00", 365, "Etc/UTC", "2023-03-01T00:00:00"),
        ("2025-03-01T12:00:00", 365, "Etc/UTC", "2024-03-01T00:00:00"),
        ("2025-02-28T12:00:00", 366, "Etc/UTC", "2024-02-28T00:00:00"),
        ("2024-03-01T00:00:00", 1, "Etc/UTC", "2024-02-29T00:00:00"),
        ("2025-03-31T01:00:00", 1, "Europe/Berlin", "2025-03-30T00:00:00"),  # a day of 23 hours
        ("2025-10-27T00:30:00", 1, "Europe/Berlin", "2025-10-26T00:00:00"),  # a day of 25 hours
        ("2025-10-26T02:30:00", 0, "Europe/Berlin", "2025-10-26T00:00:00"),  # this hour comes twice
    ],
)
def test_days_around_leap_years_and_summer_time(now: str, days: int, zone: str, edge: str) -> None:
    assert day_start(at(now, zone), days, zone) == at(edge, zone)


@pytest.mark.parametrize(
    ("occurred", "days", "leaves"),
    [
        ("2024-02-29T00:00:00", 365, "2025-03-01T00:00:00"),
        ("2024-02-29T23:59:59", 0, "2024-03-01T00:00:00"),
        ("2023-02-28T12:00:00", 366, "2024-03-01T00:00:00"),
        ("2024-02-28T12:00:00", 366, "2025-03-01T00:00:00"),
    ],
)
def test_a_record_of_the_leap_day_leaves_once(occurred: str, days: int, leaves: str) -> None:
    assert leaves_at(at(occurred), days, "Etc/UTC") == at(leaves)


def test_days_beyond_the_calendar_are_the_beginning_of_it() -> None:
    assert day_start(at("2024-02-29T12:00:00"), 10_000_000, "Etc/UTC") == EARLIEST


@pytest.mark.parametrize("zone", ZONES)
def test_the_tiers_of_a_policy_follow_each_other_on_every_day_of_four_years(zone: str) -> None:
    stages = {"hotDays": 30, "warmDays": 365, "coldDays": 1095, "then": "delete"}
    policy = parse_policy({"timeZone": zone, "rules": [{"name": "all", **stages}]})
    earlier: dict[str, str] = {}
    for day in range(0, 1462, 3):
        now = at("2023-01-01T03:00:00") + day * 86_400_000_000
        (standing,) = rules_at([policy], [], now).rules
        before = {tier: standing.before(tier) or "" for tier in ("hot", "warm", "cold")}
        assert before["cold"] < before["warm"] < before["hot"] < id_floor(now)
        assert all(earlier.get(tier, "") <= edge for tier, edge in before.items())
        earlier = before
