from __future__ import annotations

import pytest

from analect.pipeline.pacing import FREE, LONGEST, MOST, Away, Pace, Rate


class Times:
    def __init__(self) -> None:
        self.now = 100.0
        self.written = 7.0
        self.pace = Pace(lambda: self.written, clock=lambda: self.now)

    def rest(self, seconds: float, writing: float, worked: float) -> float:
        self.now += seconds
        self.written += writing
        return self.pace.rest(worked)


def test_no_rest_while_the_writer_is_mostly_idle() -> None:
    times = Times()
    assert times.rest(1.0, 0.0, 0.1) == 0
    assert times.rest(1.0, FREE, 0.1) == pytest.approx(0)


def test_the_busier_the_writer_the_longer_the_rest() -> None:
    times = Times()
    half = times.rest(1.0, (1 + FREE) / 2, 0.1)
    assert half == pytest.approx(0.1 * MOST / 2)
    assert times.rest(1.0, 1.0, 0.1) == pytest.approx(0.1 * MOST)


def test_only_what_happened_since_the_last_time_counts() -> None:
    times = Times()
    times.rest(1.0, 1.0, 0.1)
    assert times.rest(1.0, 0.0, 0.1) == 0


def test_a_rest_is_bounded() -> None:
    times = Times()
    assert times.rest(5.0, 5.0, 5.0) == LONGEST
    assert times.rest(0.0, 0.0, 5.0) == 0


def test_a_rate_saves_up_a_second_and_no_more():
    now = [0.0]
    rate = Rate(10, clock=lambda: now[0])
    assert rate.left() == 10
    rate.spend(15)
    assert rate.left() == -5
    now[0] += 0.6
    assert rate.left() == 1
    now[0] += 60
    assert rate.left() == 10


def test_an_engine_that_is_away_is_left_alone_longer_each_time():
    now = [100.0]
    away = Away(clock=lambda: now[0])
    assert away.left() == 0
    rests = []
    for _ in range(8):
        away.failed()
        rests.append(away.left())
        now[0] += away.left()
    assert rests == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    away.answered()
    assert away.left() == 0
