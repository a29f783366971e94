"""How fast the built-in text index takes records and answers, and how big it is.

    python benchmarks/text_search.py [--records 100000] [--folder DIR] [--batch 500]

Records are 150 words of Zipf-distributed vocabulary (200,000 words, exponent 1), about 1 KB. The
mix is fixed and every class has the same weight in it; classes in brackets show the worst and stay
out of the mix.

Found on the way (1,000,000 records): BM25 of FTS5 costs 1.2 µs a match and 20 ns for every record
that holds a word, to know how rare the word is. So words in nearly
every record are matched but not scored (BM25 gives them nothing): two to four times faster, scores
the same to 1e-5. Reading ``facets`` for every match instead of every
hit of the page doubled the time. Merging all segments into one made no difference to searches.
Of 75 µs a record when indexing, 59 are FTS5's own and 8 the preparation in Python.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from analect.index.protocols import Facets, TextDocument
from analect.index.text import EmbeddedTextIndex
from analect.model.ids import new_id
from analect.model.query import NumberRange, RecordFilter

VOCABULARY = 200_000
WORDS = 150
START = 1_700_000_000_000_000
STEP = 250_000  # four records a second of record time


def vocabulary() -> np.ndarray:
    """Word n of rank n; frequent words are short, as in a language."""
    letters = "etaoinshrdlu"

    def word(rank: int) -> str:
        out = ""
        while True:
            out += letters[rank % 12]
            rank //= 12
            if rank == 0:
                return out + "x"

    return np.array([word(rank) for rank in range(VOCABULARY)])


def batches(count: int, size: int, words: np.ndarray) -> Iterator[list[TextDocument]]:
    random = np.random.default_rng(7)
    weights = 1 / np.arange(1, VOCABULARY + 1)
    cumulative = np.cumsum(weights / weights.sum())
    for start in range(0, count, size):
        drawn = np.minimum(
            np.searchsorted(cumulative, random.random((size, WORDS))), VOCABULARY - 1
        )
        batch = []
        for offset, row in enumerate(drawn):
            number = start + offset
            at = START + number * STEP
            facets = Facets(
                id=new_id(at, random.bytes),
                occurred_at=at,
                texts={
                    "kind": ("interaction", "incident", "task")[number % 3],
                    "thread_id": f"thread-{number // 10}",
                    "project": f"project-{number % 5}",
                    "service": f"service-{number % 20}",
                },
                tags=(f"a{number % 10}", f"b{number % 100}", f"c{number % 1000}"),
                numbers={"duration_ms": float(number % 5000)},
                success=number % 50 != 0,
                content_hash=random.bytes(16),
            )
            batch.append(TextDocument(facets, " ".join(words[row])))
        yield batch


def questions(words: np.ndarray, count: int) -> dict[str, list[tuple[str, RecordFilter]]]:
    """Rank of a word sets how many records hold it: 1-10 most, 14-60 a half to a tenth."""
    none = RecordFilter()
    week = RecordFilter(since=START + count // 2 * STEP, until=START + (count // 2 + 5000) * STEP)
    middling, common = (300, 450, 700, 1000, 1500), (5, 10, 14, 20, 40, 60)
    rare = (20_000, 40_000, 80_000, 120_000, 160_000)
    w = words
    return {
        "rare word": [(w[r], none) for r in rare],
        "middling word": [(w[r], none) for r in middling],
        "common word": [(w[r], none) for r in common],
        "rare + common": [(f"{w[r]} {w[c]}", none) for r, c in zip(rare, common, strict=False)],
        "common + common": [(f"{w[a]} {w[a + 7]}", none) for a in common],
        "three common": [(f"{w[a]} {w[a + 3]} {w[a + 9]}", none) for a in common],
        "rare OR rare": [(f"{w[r]} OR {w[r + 9]}", none) for r in rare],
        "common OR common": [(f"{w[a]} OR {w[a + 7]}", none) for a in common],
        "common -common": [(f"{w[a]} -{w[a + 7]}", none) for a in common],
        "middling phrase": [(f'"{w[m]} {w[m + 11]}"', none) for m in middling],
        "half-common phrase": [(f'"{w[a]} {w[a + 15]}"', none) for a in (14, 20, 40, 60)],
        "prefix": [(f"{w[r]}*", none) for r in rare],
        "common in a tag": [(w[a], RecordFilter(tags=(f"c{a}",))) for a in common],
        "common in kind+tag": [
            (w[a], RecordFilter(equals={"kind": "task"}, tags=(f"b{a}",))) for a in common
        ],
        "common in a thread": [(w[1], RecordFilter(equals={"thread_id": f"thread-{count // 30}"}))],
        "common in a time": [(w[a], week) for a in common],
        "(worst: common, by a number)": [
            (w[a], RecordFilter(numbers={"duration_ms": NumberRange(4990)})) for a in common
        ],
        "(worst: phrase of the commonest)": [
            (f'"{w[2]} {w[5]}"', none),
            (f'"{w[5]} {w[9]}"', none),
        ],
        "(worst: prefix of two letters)": [("ee*", none), ("ta*", none)],
    }


def fill(index: EmbeddedTextIndex, count: int, size: int) -> None:
    words, spent, cpu = vocabulary(), 0.0, 0.0
    for number, batch in enumerate(batches(count, size, words)):
        begun, worked = time.perf_counter(), time.thread_time()
        index.upsert(batch)
        spent += time.perf_counter() - begun
        cpu += time.thread_time() - worked
        if (number + 1) * size % 100_000 == 0:
            print(
                f"  {(number + 1) * size:>9,} records, {(number + 1) * size / spent:,.0f}/s so far"
            )
    print(f"index rate: {count / spent:,.0f} records/s ({cpu / spent:.0%} of it on the processor)")


def ask(index: EmbeddedTextIndex, classes: dict[str, list[tuple[str, RecordFilter]]], rounds: int):
    mix: list[float] = []
    print(f"{'class':34}{'found':>7}{'p50 ms':>9}{'p95':>9}{'p99':>9}")
    for name, asked in classes.items():
        took: list[float] = []
        found: Sequence[object] = ()
        for _ in range(rounds):
            for query, where in asked:
                begun = time.perf_counter()
                found = index.search(query, where, 20, None)
                took.append((time.perf_counter() - begun) * 1000)
        figures = np.percentile(took, [50, 95, 99])
        print(f"{name:34}{len(found):>7}" + "".join(f"{figure:>9.1f}" for figure in figures))
        if not name.startswith("("):
            mix.extend(np.resize(took, 200))
    figures = np.percentile(mix, [50, 95, 99])
    print(f"{'the mix':41}" + "".join(f"{figure:>9.1f}" for figure in figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="kept, and asked again when it is there")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="analect-text-"))
    index = EmbeddedTextIndex(folder)
    try:
        if index.count() == 0:
            fill(index, options.records, options.batch)
        count = index.count()
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{count:,} records, {size / count:,.0f} bytes a record on disk")
        ask(index, questions(vocabulary(), count), options.rounds)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory of this process: {peak:,.0f} MiB")
    finally:
        index.close()
        if options.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
