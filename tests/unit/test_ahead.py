from __future__ import annotations

import threading

import pytest

from analect.pipeline.ahead import in_step

PATIENCE = 20


def test_the_next_is_loaded_and_the_last_settled_while_one_is_worked_on():
    loaded = {n: threading.Event() for n in range(4)}
    settled = {n: threading.Event() for n in range(4)}
    at_work = threading.Lock()

    def load(n):
        loaded[n].set()
        return n * 10

    def work(n, ready):
        assert at_work.acquire(blocking=False)
        assert ready() == n * 10
        if n < 3:
            assert loaded[n + 1].wait(PATIENCE)
        if n > 0:
            assert settled[n - 1].wait(PATIENCE)
        assert not any(loaded[later].is_set() for later in range(n + 2, 4))
        at_work.release()
        return n * 100

    def settle(n, result):
        settled[n].set()
        return n + result

    assert in_step(range(4), load=load, work=work, settle=settle) == [0, 101, 202, 303]


def test_as_many_are_worked_on_at_once_as_there_are_lanes():
    both = threading.Barrier(2, timeout=PATIENCE)
    third = threading.Event()
    begun = []

    def work(n, ready):
        begun.append(ready())
        if n < 2:
            both.wait()
            if n == 1:
                assert third.wait(PATIENCE)  # the first lane is free for it
        else:
            third.set()
        return n

    found = in_step([0, 1, 2], load=int, work=work, settle=lambda _n, result: result, lanes=2)
    assert found == [0, 1, 2]
    assert sorted(begun[:2]) == [0, 1]


def test_what_loading_raises_is_raised_to_who_works():
    def load(n):
        if n == 1:
            raise OSError(n)
        return n

    def work(_n, ready):
        try:
            return ready()
        except OSError:
            return "not loaded"

    found = in_step([0, 1, 2], load=load, work=work, settle=lambda _n, result: result)
    assert found == [0, "not loaded", 2]


def test_every_batch_is_settled_before_an_error_is_raised():
    settled = []

    def settle(n, _result):
        settled.append(n)
        if n == 0:
            raise OSError(n)

    with pytest.raises(OSError, match="0"):
        in_step([0, 1, 2], load=int, work=lambda _n, ready: ready(), settle=settle)
    assert settled == [0, 1, 2]


def test_a_single_batch_needs_no_other_thread():
    threads = []

    def note(*_):
        threads.append(threading.current_thread())

    in_step([0], load=note, work=lambda _n, ready: ready(), settle=note)
    assert threads == [threading.current_thread()] * 2
