"""Requests that arrive together share a submission; each gets its own answer."""

from __future__ import annotations

import asyncio
import functools
import operator
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from analect.model.errors import InvalidQuery, StoreUnavailable
from analect.model.ids import EARLIEST, RecordId, new_id
from analect.model.record import Draft, IngestResult, Rejection
from analect.store.company import Company
from analect_ingest.decode import Decoded
from analect_ingest.gather import AS_IT_COMES, Gatherer, Options


@dataclass
class Store:
    """Stores what is named ``a...``, has ``b...`` already, refuses ``c...``, chokes on ``!``."""

    submitted: list[list[str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    away: bool = False

    def submit(self, drafts: list[Draft], _options: Options) -> Future[IngestResult]:
        self.gate.wait(10)
        names = [draft.name or "" for draft in drafts]
        self.submitted.append(names)
        answer: Future[IngestResult] = Future()
        if self.away:
            answer.set_exception(StoreUnavailable("away"))
            return answer
        if "!" in names:
            raise ValueError("choked")
        ids = tuple(None if name[0] == "c" else _id(name) for name in names)
        repeats = tuple(place for place, name in enumerate(names) if name[0] == "b")
        rejected = tuple(
            Rejection(place, None, "invalid", name, "name")
            for place, name in enumerate(names)
            if name[0] == "c"
        )
        accepted = len(names) - len(repeats) - len(rejected)
        answer.set_result(IngestResult(accepted, len(repeats), rejected, ids, repeats))
        return answer


def _id(name: str) -> RecordId:
    return new_id(EARLIEST, lambda count: name.encode().ljust(count, b"\0"))


def _decode(names: list[str]):
    def decode() -> Decoded:
        if "?" in names:
            raise InvalidQuery("wrong")
        return Decoded([Draft(name=name) for name in names], list(range(len(names))))

    return decode


def _gathered(store: Store, bodies: list[list[str]], **options):
    """What each body gets when all arrive while the worker is busy with the first."""

    async def ask():
        with ThreadPoolExecutor(1) as executor:
            gatherer = Gatherer(store.submit, executor, company, **options)
            asks = [
                asyncio.ensure_future(gatherer.store(_decode(names), AS_IT_COMES))
                for names in bodies
            ]
            await asyncio.sleep(0)
            assert company.coming(lambda: None)
            store.gate.set()
            return await asyncio.gather(*asks, return_exceptions=True)

    company = Company()
    answers = asyncio.run(ask())
    assert not company.coming(lambda: None)
    return answers


def test_each_gets_its_own_part():
    store = Store()
    answers = _gathered(store, [["a0"], ["a1", "b1"], ["c2"], ["b3", "c3", "a3"], []])
    assert len(store.submitted) < 4
    assert functools.reduce(operator.iadd, store.submitted, []) == [
        "a0",
        "a1",
        "b1",
        "c2",
        "b3",
        "c3",
        "a3",
    ]
    results = [result for _, result in answers]
    assert [(r.accepted, r.duplicates) for r in results] == [(1, 0), (1, 1), (0, 0), (1, 1), (0, 0)]
    assert results[1].ids == (_id("a1"), _id("b1"))
    assert results[1].repeats == (1,)
    assert results[3].ids == (_id("b3"), None, _id("a3"))
    assert [(one.index, one.message) for one in results[3].rejected] == [(1, "c3")]


def test_one_that_cannot_be_read_fails_alone():
    answers = _gathered(Store(), [["a0"], ["?"], ["a2"]])
    assert isinstance(answers[1], InvalidQuery)
    assert [answers[place][1].accepted for place in (0, 2)] == [1, 1]


def test_one_that_chokes_the_store_does_not_fail_the_others():
    answers = _gathered(Store(), [["a0"], ["a1"], ["!"], ["a3"]])
    assert isinstance(answers[2], ValueError)
    assert [answers[place][1].accepted for place in (0, 1, 3)] == [1, 1, 1]


def test_a_store_that_is_away_fails_all_at_once():
    store = Store(away=True)
    answers = _gathered(store, [["a0"], ["a1"], ["a2"]])
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert len(store.submitted) <= 2


@pytest.mark.parametrize("together", [1, 2])
def test_no_more_together_than_allowed(together):
    store = Store()
    _gathered(store, [[f"a{n}"] for n in range(7)], together=together)
    assert max(len(names) for names in store.submitted) <= together
    assert len(functools.reduce(operator.iadd, store.submitted, [])) == 7


def test_different_options_are_not_mixed():
    store = Store()
    store.gate.set()

    async def ask():
        with ThreadPoolExecutor(1) as executor:
            gatherer = Gatherer(store.submit, executor, Company())
            await asyncio.gather(
                *(gatherer.store(_decode([f"a{n}"]), Options(omit=n % 2 == 0)) for n in range(6))
            )

    asyncio.run(ask())
    for names in store.submitted:
        assert len({int(name[1:]) % 2 for name in names}) == 1


def test_who_stopped_waiting_does_not_disturb_the_others():
    store = Store()

    async def ask():
        with ThreadPoolExecutor(1) as executor:
            gatherer = Gatherer(store.submit, executor, Company())
            asks = [
                asyncio.ensure_future(gatherer.store(_decode([f"a{n}"]), AS_IT_COMES))
                for n in range(3)
            ]
            await asyncio.sleep(0)
            asks[1].cancel()
            store.gate.set()
            return await asyncio.gather(*asks, return_exceptions=True)

    answers = asyncio.run(ask())
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [answers[place][1].accepted for place in (0, 2)] == [1, 1]
    assert sorted(functools.reduce(operator.iadd, store.submitted, [])) == ["a0", "a1", "a2"]
