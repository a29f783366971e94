"""Logs are JSON lines with the request's id, and hold no value whatever is passed to them."""

from __future__ import annotations

import io
import json
import logging

import pytest
import stamina
import structlog

from analect.telemetry.logs import HIDDEN, MOST_CHARACTERS, configure_logging

PLANTED = "anna.planted@example.org"


@pytest.fixture
def lines():
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging("info", "json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:], root.level = before, level


def test_one_json_object_a_line_with_the_request_id(lines):
    with structlog.contextvars.bound_contextvars(request_id="0123456789abcdef"):
        structlog.get_logger("x").info("stored", count=3)
    structlog.get_logger("x").debug("unheard")
    (line,) = lines()
    assert line["event"] == "stored"
    assert line["count"] == 3
    assert line["request_id"] == "0123456789abcdef"
    assert line["level"] == "info"
    assert line["at"].endswith("Z")


def test_what_is_told_in_another_way_is_left_out(lines):
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream, without=("told",))
    structlog.get_logger("x").warning("told")
    structlog.get_logger("x").warning("kept")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == "kept"


def test_names_that_hold_content_are_hidden_and_long_texts_cut(lines):
    structlog.get_logger("x").info(
        "oops", input=PLANTED, query=PLANTED, token=PLANTED, note="n" * 10_000
    )
    (line,) = lines()
    assert line["input"] == line["query"] == line["token"] == HIDDEN
    assert len(line["note"]) == MOST_CHARACTERS + 1


def test_an_exception_is_told_by_type_and_place_not_by_its_message(lines):
    try:
        int(PLANTED)
    except ValueError:
        structlog.get_logger("x").exception("failed")
    (line,) = lines()
    assert line["error"] == "ValueError"
    assert "test_telemetry_logs.py" in line["trace"][-1]
    assert PLANTED not in json.dumps(line)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_what_is_tried_again_is_told_to_those_who_debug_and_without_its_arguments(lines, level):
    stream = io.StringIO()
    configure_logging(level, "json", stream=stream)
    stamina.instrumentation.set_on_retry_hooks(None)  # its logger keeps the first configuration
    calling = stamina.RetryingCaller(attempts=2, wait_initial=0, wait_jitter=0).on(ValueError)
    with pytest.raises(ValueError, match="invalid literal"):
        calling(int, PLANTED)
    stamina.instrumentation.set_on_retry_hooks(None)
    assert PLANTED not in stream.getvalue()
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [(line["event"], line["error"], line["retry_num"]) for line in said]
    assert told == ([("tried again", "ValueError", 1)] if level == "debug" else [])
    assert lines() == []


def test_libraries_log_the_same_way(lines):
    try:
        int(PLANTED)
    except ValueError:
        logging.getLogger("somelibrary").exception("failed")
    logging.getLogger("somelibrary").info(PLANTED)
    (line,) = lines()
    assert line["event"] == "failed"
    assert line["level"] == "error"
    assert PLANTED not in json.dumps(line)


def test_people_may_have_it_readable():
    stream = io.StringIO()
    configure_logging("warning", "console", stream=stream)
    try:
        structlog.get_logger("x").info("unheard")
        structlog.get_logger("x").warning("heard", code="store_unavailable")
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers.clear()
    assert "heard" in stream.getvalue()
    assert "unheard" not in stream.getvalue()
