"""When an engine is given a rest, and who is let through to it."""

import pytest
from prometheus_client import CollectorRegistry

pytest.importorskip("pybreaker", reason="needs the extra `engines`")

from analect.index.breaker import Breaker, Silent, TooLong
from analect.model.errors import EngineUnavailable
from analect.telemetry.engines import EngineMetrics


def breaker(rest_seconds):
    metrics = EngineMetrics(CollectorRegistry())
    return Breaker("engine", metrics, failures=3, rest_seconds=rest_seconds)


def ask(breaker, error=None):
    with breaker.guarding():
        if error is not None:
            raise error


def test_some_failures_in_a_row_open_it():
    resting = breaker(60.0)
    for _ in range(3):
        assert resting.state == "closed"
        with pytest.raises(EngineUnavailable, match="failed"):
            ask(resting, EngineUnavailable("failed"))
    with pytest.raises(EngineUnavailable, match="asked again within 60 s"):
        ask(resting)


def test_one_silence_opens_it():
    resting = breaker(60.0)
    with pytest.raises(EngineUnavailable, match="silent"):
        ask(resting, Silent("silent"))
    with pytest.raises(EngineUnavailable, match="asked again"):
        ask(resting)


def test_a_question_that_took_too_long_is_no_failure():
    asked = breaker(60.0)
    for _ in range(5):
        with pytest.raises(EngineUnavailable, match="long"):
            ask(asked, TooLong("long"))
    ask(asked)
    assert asked.state == "closed"


def test_when_it_has_rested_one_question_at_a_time_is_let_through():
    rested = breaker(0.0)
    with pytest.raises(EngineUnavailable, match="silent"):
        ask(rested, Silent("silent"))
    with rested.guarding(), pytest.raises(EngineUnavailable, match="asked again"):
        ask(rested)
    assert rested.state == "closed"
    ask(rested)


def test_a_trial_that_fails_lets_the_next_one_try():
    rested = breaker(0.0)
    for _ in range(3):
        with pytest.raises(EngineUnavailable, match="silent"):
            ask(rested, Silent("silent"))
    assert rested.state == "open"
    ask(rested)
    assert rested.state == "closed"
