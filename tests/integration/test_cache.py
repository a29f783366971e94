"""Two levels of answers: in memory, and in a real Valkey that two processes share or that is away."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from analect.cache.cache import Cache
from analect.cache.shared import HEARD_SECONDS, REST_SECONDS, SharedLevel
from analect.model.errors import ConfigurationError
from analect.settings import Cache as CacheSettings

pytest.importorskip("redis", reason="needs the extra `engines`")

from redis import Redis

from tests.valkey import valkey_server

NAMES = ("common_questions", "user_behavior", "content_performance", "business_metrics")


class Heard:
    def __init__(self):
        self.answers = []

    def answered(self, name, where):
        self.answers.append((name, where))

    def took(self):
        found, self.answers = [where for _, where in self.answers], []
        return found


class Process:
    """What one process has: its memory and a connection; ``asked`` are the computations."""

    def __init__(self, port, now):
        self.heard = Heard()
        self.asked = []
        self.connection = Redis(port=port, socket_timeout=5)
        self.shared = SharedLevel(self.connection, "test", timer=lambda: now[0])
        self.cache = Cache(
            CacheSettings(), shared=self.shared, heard=self.heard, timer=lambda: now[0]
        )

        @self.cache.keep("business_metrics", tags=lambda what, **_: [f"thread:{what}"])
        def look(what, *, more=None):
            self.asked.append(what)
            return {"what": what, "count": len(self.asked)}

        self.look = look

    def close(self):
        self.cache.close()


@pytest.fixture(scope="module")
def valkey():
    with valkey_server() as server:
        yield server


@pytest.fixture
def two(valkey):
    now = [1000.0]
    one, other = Process(valkey.port, now), Process(valkey.port, now)
    one.connection.flushall()
    yield one, other, now
    one.close()
    other.close()


def test_an_answer_is_computed_once_for_all_processes(two):
    one, other, _ = two
    assert one.look("a", more={"x", "y"}) == {"what": "a", "count": 1}
    assert one.look("a", more={"y", "x"}) == {"what": "a", "count": 1}
    assert other.look("a", more={"x", "y"}) == {"what": "a", "count": 1}
    assert other.look("a", more={"x", "y"}) == {"what": "a", "count": 1}
    assert one.heard.took() == ["computed", "memory"]
    assert other.heard.took() == ["shared", "memory"]
    assert other.asked == []


def test_what_it_lives_is_said_by_its_name_and_ends_in_both_levels(two):
    one, _, now = two
    one.look("a")
    (place,) = one.connection.keys("test:*")
    assert 3_590_000 < one.connection.pttl(place) <= 3_600_000
    now[0] += 3599
    one.look("a")
    one.connection.delete(place)
    now[0] += 2
    one.look("a")
    assert one.heard.took() == ["computed", "memory", "computed"]


@pytest.mark.parametrize("tag", ["thread:a", "business_metrics"])
def test_what_changed_is_forgotten_here_at_once_and_elsewhere_soon(two, tag):
    one, other, now = two
    for process in (one, other):
        process.look("a")
        process.look("b")
    one.cache.invalidate(tag)
    one.look("a")
    other.look("a")
    now[0] += HEARD_SECONDS
    other.look("a")
    one.look("b")
    assert one.heard.took()[2] == "computed"
    assert one.asked[:3] == ["a", "b", "a"]
    assert len(one.asked) == (4 if tag == "business_metrics" else 3)
    assert other.heard.took() == ["shared", "shared", "memory", "shared"]


def test_many_who_ask_at_once_wait_for_one(two):
    one, other, _ = two
    begun, go_on = threading.Event(), threading.Event()
    counts = []

    def slow(process):
        @process.cache.keep("common_questions")
        def look(_what):
            counts.append(1)
            begun.set()
            assert go_on.wait(30)
            return len(counts)

        return look

    looks = [slow(one), slow(other)] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(look, "x") for look in looks]
        assert begun.wait(30)
        go_on.set()
        assert {answer.result(30) for answer in answers} == {1}


def test_an_error_is_not_kept_and_lets_the_next_one_try(two):
    one, other, _ = two

    def failing(process, results):
        @process.cache.keep("user_behavior")
        def look(_what):
            found = results.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        return look

    first, second = failing(one, [ValueError("no"), 1]), failing(other, [2])
    with pytest.raises(ValueError, match="no"):
        first("x")
    assert second("x") == 2
    assert first("x") == 2


def test_coroutine_functions_too(two):
    one, other, _ = two

    def looking(process):
        @process.cache.keep("content_performance")
        async def look(what):
            process.asked.append(what)
            await asyncio.sleep(0)
            return [what, len(process.asked)]

        return look

    async def ask():
        first, second = looking(one), looking(other)
        answers = await asyncio.gather(*(first("x") for _ in range(3)))
        return [*answers, await second("x"), await second("x")]

    assert asyncio.run(ask()) == [["x", 1]] * 5
    assert (one.asked, other.asked) == (["x"], [])
    assert other.heard.took() == ["shared", "memory"]


def test_what_json_cannot_hold_stays_in_memory(two):
    one, other, _ = two
    found = []
    for process in (one, other):

        @process.cache.keep("common_questions")
        def look(_what):
            return (1, 2)

        found += [look("pair"), look("pair")]
    assert found == [(1, 2)] * 4
    assert one.heard.took() == other.heard.took() == ["computed", "memory"]


def test_without_redis_there_is_the_memory_and_no_error():
    now = [0.0]
    with valkey_server() as server:
        process = Process(server.port, now)
        process.look("a")
    process.look("a")
    process.cache.invalidate("thread:a")
    process.look("a")
    process.look("b")
    assert process.heard.took() == ["computed", "memory", "computed", "computed"]
    now[0] += REST_SECONDS + 1
    process.look("b")
    assert process.heard.took() == ["memory"]
    process.close()


def test_it_is_warm_at_the_start_and_a_failure_there_is_no_one_s_trouble(two):
    one, _, _ = two

    @one.cache.keep("business_metrics", warm=["week", "broken", "day"])
    def look(span):
        if span == "broken":
            raise ValueError(span)
        return span

    assert one.cache.warm() == 2
    one.heard.took()
    assert look("day") == "day"
    assert one.heard.took() == ["memory"]


def test_a_name_without_a_life_is_refused():
    with pytest.raises(ConfigurationError, match="rumours_seconds"):
        Cache(CacheSettings()).keep("rumours")


def test_the_lives_are_those_that_were_asked_for():
    settings = CacheSettings()
    lives = [getattr(settings, f"{name}_seconds") for name in NAMES]
    assert lives == [300, 600, 900, 3600]
