"""Words end to end, from the outbox through RQ into OpenSearch, beside the same documents put there
bare; how soon they are found, and what a search costs above OpenSearch's own time.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import msgspec
from opensearchpy import OpenSearch
from opensearchpy.helpers import bulk

from analect.index.opensearch import OpenSearchTextIndex
from analect.index.opensearch.mapping import BODY, facet_values, meta, template, text_fields
from analect.index.projection import facets_of, text_of
from analect.index.text.tokens import searchable
from analect.model.ids import month_of
from analect.model.query import SearchRequest
from analect.model.record import Draft, Record
from analect.service import AnalysisService
from analect.settings import Search
from benchmarks.cluster_world import World, drained, ingested, wait_until
from tests.engines.opensearch.server import OpenSearchServer

RECORDS = 30_000
WORKERS = 2
TURNS = 3
FIRST = 4_000
BATCH = 500
RATE = 100
WATCHED_SECONDS = 20
QUESTIONS = 200
_WORDS = 4_000


def drafts(records: int, seed: int = 1) -> list[Draft]:
    """About 1 KB of words each, rare and common ones as in a language, threads of ten."""
    rng = random.Random(seed)
    vocabulary = [
        "".join(rng.choices("bcdfghklmnprstvz", k=2) + rng.choices("aeiou", k=2)) + str(n % 90)
        for n in range(_WORDS)
    ]
    weights = [1 / (n + 1) for n in range(_WORDS)]
    return [
        Draft(
            input=" ".join(rng.choices(vocabulary, weights, k=75)),
            output=" ".join(rng.choices(vocabulary, weights, k=75)),
            thread_id=f"thread {n // 10}",
            tags=[f"one-{rng.randrange(50)}"],
        )
        for n in range(records)
    ]


def text(world: World) -> dict[str, dict[str, Any]]:
    """A worker for each CPU, and in turn with them one alone; each has worked before, and the store
    is filled while there is no dispatcher. What the server does bare is measured between.
    """
    seen: dict[str, list[float]] = {"bare": [], "floor": [], "one": [], "both": []}
    with searched(world) as server, AnalysisService.open(world.settings()) as service:
        _end_to_end(world, service, drafts(FIRST, seed=4), WORKERS)
        ids = ingested(service, drafts(RECORDS), BATCH)
        parts = service._parts  # noqa: SLF001  (what the worker opens)
        records = parts.opener.open(parts.reads.get(ids))
        _drained_by(world, service, WORKERS)
        _bare(server, records, "warm")
        for turn in range(TURNS):
            seen["bare"].append(_bare(server, records, f"bare{turn}"))
            seen["both"].append(_end_to_end(world, service, drafts(RECORDS, turn), WORKERS))
            seen["floor"].append(_floor(server, records, f"floor{turn}"))
            seen["one"].append(_end_to_end(world, service, drafts(RECORDS, turn), 1))
    rates = {name: RECORDS / statistics.median(found) for name, found in seen.items()}
    note = (
        f"{RECORDS:,} records of about 1 KB, {TURNS} turns, medians: {rates['both']:,.0f}/s through "
        f"{WORKERS} workers, {rates['one']:,.0f}/s through one; a program with the driver's own "
        f"helper {rates['bare']:,.0f}/s, bodies made before {rates['floor']:,.0f}/s, in batches of "
        f"{BATCH}"
    )
    return {"text": {"value": 100 * rates["both"] / rates["bare"], "note": note}}


def _end_to_end(
    world: World, service: AnalysisService, given: Sequence[Draft], workers: int
) -> float:
    """Seconds from stored to indexed, in an index that is as empty as that of the bare."""
    index = cast("OpenSearchTextIndex", service._parts.indexes.text)  # noqa: SLF001
    ids = ingested(service, given, BATCH)
    for month in {month_of(one) for one in ids}:
        index.drop_month(month)
    seconds = _drained_by(world, service, workers)
    wait_until(lambda: index.count() == len(ids))
    return seconds


def _drained_by(world: World, service: AnalysisService, workers: int) -> float:
    """Seconds of so many workers for what waits."""
    working = [world.start("work", "text") for _ in range(workers)]
    try:
        return drained(world, service)
    finally:
        world.stop(*working)


def searching(world: World) -> dict[str, dict[str, Any]]:
    """Ack to found at a steady rate, and then searches in what is there."""
    with searched(world), AnalysisService.open(world.settings()) as service:
        ingested(service, drafts(RECORDS), BATCH)
        processes = world.start("work", "text"), world.start("dispatch")
        wait_until(lambda: not service.store.outbox.depth())
        waits = _waits(service)
        above, own = _above(service)
        world.stop(*processes)
    p99 = statistics.quantiles(waits, n=100)[98]
    return {
        "searchable": {
            "value": p99,
            "note": f"{len(waits)} records looked for one by one among {RATE}/s stored, median "
            f"{statistics.median(waits):.2f} s; found once a second",
        },
        "search": {
            "value": statistics.quantiles(above, n=20)[18],
            "note": f"{QUESTIONS} questions of two words, 20 hits opened and highlighted, in "
            f"{RECORDS:,} records; median {statistics.median(above):.1f} ms above OpenSearch's "
            f"own {statistics.median(own):.1f} ms",
        },
    }


@contextmanager
def searched(world: World) -> Iterator[OpenSearchServer]:
    server = OpenSearchServer(heap="1g", quick_start=False)
    try:
        server.wait()
        world.variables |= {"ANALECT_INDEX__TEXT": "true", "ANALECT_SEARCH__URL": server.url}
        yield server
    finally:
        server.close()


def _bare(server: OpenSearchServer, records: list[Record], name: str) -> float:
    """Seconds of a program that has the same documents in its memory and puts them into indices of
    the same kind with the driver's own helper, which makes the JSON on the way.
    """
    documents = [_document(record) for record in records]
    with _bare_index(server, name) as (client, index):
        began = time.perf_counter()
        actions = ({"_index": index, "_id": one["id"], **one} for one in documents)
        done, _ = bulk(client, actions, chunk_size=BATCH)
        seconds = time.perf_counter() - began
        assert done == len(records)
    return seconds


def _floor(server: OpenSearchServer, records: list[Record], name: str) -> float:
    """The same when all is done before but sending it: what OpenSearch itself takes."""
    with _bare_index(server, name) as (client, index):
        lines = []
        for one in map(_document, records):
            head = {"index": {"_index": index, "_id": one["id"]}}
            lines.append(msgspec.json.encode(head) + b"\n" + msgspec.json.encode(one) + b"\n")
        bodies = [b"".join(lines[start : start + BATCH]) for start in range(0, len(lines), BATCH)]
        began = time.perf_counter()
        for body in bodies:
            assert not client.bulk(body=body, filter_path="errors")["errors"]
        return time.perf_counter() - began


def _document(record: Record) -> dict[str, Any]:
    return {**facet_values(facets_of(record)), BODY: searchable(text_of(record))}


@contextmanager
def _bare_index(server: OpenSearchServer, name: str) -> Iterator[tuple[OpenSearch, str]]:
    """A client, and the name of an index made as ours are."""
    with OpenSearch(hosts=[server.url]) as client:
        body = template(f"{name}-*", text_fields(), meta(), Search(url=server.url))
        client.indices.put_index_template(name=name, body=body)
        yield client, f"{name}-2026"
        client.indices.delete(index=f"{name}-2026")


def _waits(service: AnalysisService) -> list[float]:
    """Seconds from each tenth record's acknowledgement until a search finds it."""
    found: list[float] = []
    waiting: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        # For the oldest that is not found yet: looking for all of them takes what the rest needs.
        while not over.is_set() or waiting:
            word = next(iter(waiting), "")
            if word and service.search(SearchRequest(word, limit=1)).items:
                found.append(time.perf_counter() - waiting.pop(word))
            else:
                time.sleep(0.03)

    looker = threading.Thread(target=look)
    looker.start()
    began = time.perf_counter()
    for n in range(RATE * WATCHED_SECONDS // 10):
        word = f"needle{n}x{int(began)}"
        others = [Draft(input=f"hay number {n}.{m} " * 20) for m in range(9)]
        service.ingest([Draft(input=f"{word} in the hay"), *others])
        waiting[word] = time.perf_counter()
        time.sleep(max(0.0, began + (n + 1) * 10 / RATE - time.perf_counter()))
    over.set()
    looker.join()
    return found


def _above(service: AnalysisService) -> tuple[list[float], list[float]]:
    """Milliseconds of a search through the service above OpenSearch's, and OpenSearch's."""
    index = service._parts.indexes.text  # noqa: SLF001
    assert index is not None
    rng = random.Random(3)
    inputs = [str(one.input).split() for one in drafts(QUESTIONS, seed=2)]
    above, own = [], []
    for words in inputs:
        question = " ".join(rng.sample(words, 2))
        request = SearchRequest(question, limit=20)
        service.search(request)
        began = time.perf_counter()
        index.search(question, request.filter, request.limit + 1, None)
        middle = time.perf_counter()
        service.search(request)
        whole = time.perf_counter() - middle
        own.append((middle - began) * 1000)
        above.append((whole - (middle - began)) * 1000)
    return above, own


MEASURES = {"text": text, "searching": searching}
