"""Batches one after the other, while those before and behind go on beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

Batch = TypeVar("Batch")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")
Settled = TypeVar("Settled")


def in_step(
    batches: Sequence[Batch],
    *,
    load: Callable[[Batch], Loaded],
    work: Callable[[Batch, Callable[[], Loaded]], Result],
    settle: Callable[[Batch, Result], Settled],
    lanes: int = 1,
) -> list[Settled]:
    """``work`` on each batch, in order; meanwhile another thread loads the next one and settles the
    last, so that neither is waited for. One batch more than there are lanes is loaded at most.

    Args:
        batches: what there is to do; a single one is done here, without another thread.
        load: reads a batch.
        work: is given the batch and a function that returns what was loaded, or raises what
            loading raised. It must not raise.
        settle: is given the batch and what ``work`` returned.
        lanes: batches worked on at once.

    Returns:
        What ``settle`` returned, in order. Every batch is settled before an error of one is raised.
    """
    if len(batches) == 1:
        (only,) = batches
        return [settle(only, work(only, lambda: load(only)))]
    worked = [Event() for _ in batches]

    def through(number: int) -> Settled:
        batch = batches[number]
        loaded = _outcome(lambda: load(batch))
        if number >= lanes:
            worked[number - lanes].wait()
        try:
            result = work(batch, loaded.result)
        finally:
            worked[number].set()
        del loaded
        return settle(batch, result)

    with ThreadPoolExecutor(lanes + 1, thread_name_prefix="analect-batch") as threads:
        settling = [threads.submit(through, number) for number in range(len(batches))]
    return [one.result() for one in settling]


def _outcome(call: Callable[[], Loaded]) -> Future[Loaded]:
    """What a call returned or raised, to be asked for."""
    outcome: Future[Loaded] = Future()
    try:
        outcome.set_result(call())
    except Exception as error:
        outcome.set_exception(error)
    return outcome
