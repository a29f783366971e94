"""How quick, how right and how large the embedded vector index is.

    python benchmarks/vector_search.py                  100,000 records
    python benchmarks/vector_search.py 1000000          a million (about 3 minutes, 6 GB of memory)
    python benchmarks/vector_search.py --hnsw           beside a graph of neighbours (usearch)

Two sets of vectors: `clusters` are random ones around 1,000 centres; `texts` are embeddings of
texts put together from a vocabulary by topic, and mixtures of two of them. Recall is against every
vector compared in single precision. Memory is what opening the index and 300 searches add.

Findings (2 cores, with other work on them):
- Up to the exact limit the time is that of one product over all vectors: 3 ms for 100,000 when the
  machine is quiet.
- Above it, a third each go to the comparison of signs, the choice of candidates, and reading them.
  For embeddings of texts 500 candidates have the same recall as all; the others are for vectors
  with less structure.
- Over 100,000 records with an exact limit of 100,000 and of 50,000, in turn on a busy machine: recall
  1.000 both ways, p50 4 to 8 and 10 ms without a filter (which is dearer than either scan), 68 and 1
  to 20 MB. The limit is 50,000: the vectors of 100,000 were the most that an index ever held.
- Candidates read through a mapping made for the one search: 3.9 ms instead of 7.9 for 3,000 rows where
  the file was written in one go and the machine busy, but 6.2 instead of 3.5 where it grew by small
  synced appends, as ours do, with up to 400 MiB of it counted as memory meanwhile. A call a row stays.
- Over 1,000,000, recall / rows read, with 20,000 rows left after the signs and 2,000 read of them:
  clusters 1.000, texts 0.993, 100 clusters without structure inside 0.959. With 1,000 read: 1.000,
  0.993, 0.881. Reading by steps of 500 while one brings one of the best 20: 1.000 / 1,280, 0.993 /
  1,005, 0.961 / 2,180. Of 250: 0.996, 0.992, 0.87. With 6,000 rows left instead of 20,000 the same
  recall, 2 of 10.5 ms less.
- Building (23,000 records/s when quiet) is bound by the label table of the filters and by the sync
  of each batch.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from analect.index.embed import WordLlamaEmbedder
from analect.index.protocols import Facets, VectorDocument
from analect.index.vectors import EmbeddedVectorIndex
from analect.model.ids import id_millis, id_text
from analect.model.query import RecordFilter

DIMENSION = 256
BATCH = 500
QUERIES = 100
START = 1_700_000_000_000
WORDS = 4000


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clusters(count, rng):
    centres = rng.standard_normal((1000, DIMENSION), dtype=np.float32)
    rows = rng.standard_normal((count, DIMENSION), dtype=np.float32) * 0.7
    rows += centres[rng.integers(0, len(centres), count)]
    return unit(rows)


def texts(count, rng):
    source = random.Random(1)
    letters = "abcdefghijklmnoprstuvwyz"
    words = ["".join(source.choices(letters, k=source.randint(3, 9))) for _ in range(WORDS)]
    topics = [source.choices(words, k=40) for _ in range(300)]
    made = [" ".join(source.choices(source.choice(topics), k=60)) for _ in range(10_000)]
    began = time.perf_counter()
    rows = WordLlamaEmbedder().embed(made)
    size = sum(map(len, made)) / len(made)
    print(
        f"  embedded {len(made) / (time.perf_counter() - began):,.0f} texts/s of {size:.0f} bytes"
    )
    one, other = rows[rng.integers(0, len(rows), (2, count))]
    share = rng.random((count, 1), dtype=np.float32)
    return unit(one * share + other * (1 - share))


def documents(rows, start):
    for number, row in enumerate(rows, start):
        record_id = id_text((START + number).to_bytes(6, "big") + b"\x70\x00\x80" + bytes(7))
        texts_of = {
            "kind": "interaction",
            "thread_id": f"thread-{number // 10}",
            "service": f"service-{number % 7}",
        }
        facets = Facets(
            record_id,
            id_millis(record_id) * 1000,
            texts_of,
            ("all", f"tag-{number % 50}"),
            content_hash=bytes(16),
        )
        yield VectorDocument(facets, row)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def exact(rows, queries):
    return [np.argsort(-(rows @ query))[:10] for query in queries]


def timed(ask, queries):
    times = []
    for query in queries:
        began = time.perf_counter()
        ask(query)
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return f"p50 {times[len(times) // 2]:.1f} ms, p95 {times[int(len(times) * 0.95)]:.1f} ms"


def run(name, rows, queries, folder):
    def opened():
        return closing(EmbeddedVectorIndex(folder, model="benchmark", dimension=DIMENSION))

    with opened() as index:
        began = time.perf_counter()
        for start in range(0, len(rows), BATCH):
            index.upsert(list(documents(rows[start : start + BATCH], start)))
        print(f"{name}: built {len(rows) / (time.perf_counter() - began):,.0f} records/s", end=", ")
    print(f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.0f} MB on disk")
    truth = exact(rows, queries)
    before = resident()
    with opened() as index:
        began = time.perf_counter()
        index.search(queries[0], RecordFilter(), 10)
        print(f"  first search {(time.perf_counter() - began) * 1000:.0f} ms", end="; ")
        filters = {
            "no filter": RecordFilter(),
            "by service (1 of 7)": RecordFilter(equals={"service": "service-3"}),
            "by tag (1 of 50)": RecordFilter(tags=("tag-3",)),
            "by thread (10 records)": RecordFilter(equals={"thread_id": "thread-5"}),
        }
        for label, where in filters.items():
            print(f"{label} {timed(lambda q, w=where: index.search(q, w, 10), queries)}", end="; ")
        print(f"memory {resident() - before:.0f} MB")
        hits = 0
        for query, best in zip(queries, truth, strict=True):
            found = [id_millis(hit.id) - START for hit in index.search(query, RecordFilter(), 10)]
            hits += len(set(found) & set(best.tolist()))
        print(f"  recall@10 {hits / 10 / len(queries):.3f}")


def compare(rows, queries):
    from usearch.index import Index

    before = resident()
    index = Index(ndim=DIMENSION, metric="cos", dtype="i8")
    began = time.perf_counter()
    index.add(np.arange(len(rows)), rows)
    print(f"  usearch HNSW i8: built {len(rows) / (time.perf_counter() - began):,.0f}/s", end=", ")
    print(f"memory {resident() - before:.0f} MB", end=", ")
    hits = sum(
        len(set(index.search(query, 10).keys.tolist()) & set(best.tolist()))
        for query, best in zip(queries, exact(rows, queries), strict=True)
    )
    print(timed(lambda q: index.search(q, 10), queries), end=", ")
    print(f"recall@10 {hits / 10 / len(queries):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", type=int, nargs="?", default=100_000)
    parser.add_argument("--hnsw", action="store_true", help="build a usearch index beside it")
    options = parser.parse_args()
    for name, make in (("clusters", clusters), ("texts", texts)):
        rows = make(options.records + QUERIES, np.random.default_rng(1))
        rows, queries = rows[QUERIES:], rows[:QUERIES]
        folder = Path(tempfile.mkdtemp())
        try:
            run(name, rows, queries, folder)
        finally:
            shutil.rmtree(folder)
        if options.hnsw:
            compare(rows, queries)


if __name__ == "__main__":
    main()
