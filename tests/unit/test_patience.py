"""What hangs is not waited for, nor asked again while it does."""

import threading

import pytest

from analect.telemetry.patience import Patience


def test_answers_come_by_name():
    patience = Patience(60.0)
    assert patience.ask({"one": lambda: 1, "two": lambda: 2}) == {"one": 1, "two": 2}
    assert patience.ask({"one": lambda: 3}) == {"one": 3}
    assert patience.ask({}) == {}


def test_what_a_question_raises_is_raised():
    def raises():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Patience(60.0).ask({"one": raises})


def test_what_hangs_is_left_out_and_holds_one_thread():
    began, mend, asked = threading.Event(), threading.Event(), []

    def hangs():
        asked.append(1)
        began.set()
        mend.wait(60)
        return "late"

    patience = Patience(0.01)
    for _ in range(3):
        assert patience.ask({"one": hangs}) == {}
    assert began.wait(60)
    assert asked == [1]
    mend.set()
    patience.seconds = 60.0
    assert patience.ask({"one": hangs}) == {"one": "late"}
