"""Batches one after the other, while what is before and behind each goes on beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
) -> list[Settled]:
    """``work`` on each batch in this thread, in order; another thread loads the one that comes next
    and settles the one that was, so that neither is waited for. At most two batches are loaded.

    Args:
        batches: what there is to do; a single one is done here, without another thread.
        load: reads a batch.
        work: is given the batch and a function that returns what was loaded, or raises what
            loading raised.
        settle: is given the batch and what ``work`` returned.

    Returns:
        What ``settle`` returned, in order. Every batch is settled before an error of one is raised.
    """
    if len(batches) == 1:
        (only,) = batches
        return [settle(only, work(only, lambda: load(only)))]
    with ThreadPoolExecutor(1, thread_name_prefix="analect-ahead") as beside:
        settling: list[Future[Settled]] = []
        coming = [beside.submit(load, batch) for batch in batches[:1]]
        for number, batch in enumerate(batches):
            loaded = coming.pop()
            coming = [beside.submit(load, following) for following in batches[number + 1 :][:1]]
            settling.append(beside.submit(settle, batch, work(batch, loaded.result)))
    return [one.result() for one in settling]
