import os
import signal
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from analect.index.vectors import EmbeddedVectorIndex
from analect.model.errors import ConfigurationError, Corrupt, EngineUnavailable
from analect.model.ids import id_bytes
from analect.model.query import RecordFilter
from analect.testing import vectors

EVERYTHING = RecordFilter()


def opener(folder, **changes):
    given = {"model": vectors.MODEL, "dimension": vectors.DIMENSION, **changes}
    return lambda: EmbeddedVectorIndex(folder, **given)


@pytest.mark.parametrize("exact_limit", [100_000, 0], ids=["exact", "by_signs"])
@pytest.mark.parametrize("case", vectors.CASES, ids=lambda case: case.__name__)
def test_contract(case, exact_limit, tmp_path):
    case(opener(tmp_path, exact_limit=exact_limit))


def test_growing_over_the_limit_keeps_answers_and_deletions(tmp_path):
    rows = vectors.unit_vectors(300)
    with closing(opener(tmp_path, exact_limit=200)()) as index:
        index.upsert(vectors.documents(rows[:150]))
        index.delete([vectors.record_id(5)])
        assert index.search(rows[10], EVERYTHING, 1)[0].id == vectors.record_id(10)
        index.upsert(vectors.documents(rows[150:], 150))
        for number in (10, 250):
            assert index.search(rows[number], EVERYTHING, 1)[0].id == vectors.record_id(number)
        assert vectors.record_id(5) not in {h.id for h in index.search(rows[5], EVERYTHING, 300)}


@pytest.mark.parametrize("changes", [{"model": "another/2"}, {"dimension": 128}])
def test_another_model_is_refused_until_it_is_rebuilt(tmp_path, changes):
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(vectors.unit_vectors(3)))
    with closing(opener(tmp_path, **changes)()) as other:
        dimension = changes.get("dimension", vectors.DIMENSION)
        row = np.ones(dimension, np.float32)
        document = vectors.VectorDocument(vectors.facets(1), row)
        for use in (
            other.count,
            other.check,
            other.purge,
            lambda: other.upsert([document]),
            lambda: other.search(row, EVERYTHING, 1),
        ):
            with pytest.raises(ConfigurationError, match="analect rebuild vectors"):
                use()
        with other.rebuilding() as fresh:
            # Somebody's write during the build must not fail because the old one is unusable.
            other.upsert([document])
            fresh.upsert([document])
        assert other.count() == 1


@pytest.mark.parametrize("suffix", ["db", "rows", "signs"])
def test_damage_is_found_and_mended_by_a_rebuild(tmp_path, suffix):
    rows = vectors.unit_vectors(400)
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(rows))
    (path,) = tmp_path.glob(f"vectors.*.{suffix}")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = b"\x5a" * 2000
    path.write_bytes(data)
    with closing(opener(tmp_path)()) as index:
        with pytest.raises(Corrupt, match="analect rebuild vectors"):
            index.check()
        with index.rebuilding() as fresh:
            fresh.upsert(vectors.documents(rows))
        index.check()
        assert index.count() == 400


@pytest.mark.parametrize("suffix", ["rows", "signs"])
def test_a_file_cut_short_is_found(tmp_path, suffix):
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(vectors.unit_vectors(10)))
    (path,) = tmp_path.glob(f"vectors.*.{suffix}")
    os.truncate(path, 100)
    with closing(opener(tmp_path)()) as index, pytest.raises(Corrupt):
        index.check()


@pytest.mark.parametrize("suffix", ["db", "rows", "signs"])
def test_a_missing_file_is_found_and_mended_by_a_rebuild(tmp_path, suffix):
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(vectors.unit_vectors(10)))
    (path,) = tmp_path.glob(f"vectors.*.{suffix}")
    path.unlink()
    with closing(opener(tmp_path)()) as index:
        with pytest.raises(Corrupt, match="analect rebuild vectors"):
            index.check()
        with pytest.raises(Corrupt):
            index.upsert(vectors.documents(vectors.unit_vectors(1)))
        with index.rebuilding() as fresh:
            fresh.upsert(vectors.documents(vectors.unit_vectors(3)))
        index.check()
        assert index.count() == 3


@pytest.mark.parametrize("damage", [b"\x00what", b"\xfe\xff\x80", b""])
def test_a_damaged_pointer_is_said_and_mended(tmp_path, damage):
    (tmp_path / "vectors.current").write_bytes(damage)
    (tmp_path / "vectors.building").write_bytes(b"7")
    with closing(opener(tmp_path)()) as index:
        with pytest.raises(Corrupt):
            index.count()
        with index.rebuilding() as fresh:
            fresh.upsert(vectors.documents(vectors.unit_vectors(1)))
        assert index.count() == 1


def test_purge_leaves_no_byte(tmp_path):
    rows = vectors.unit_vectors(200)
    gone = range(50, 120)
    half = rows.astype(np.float16)
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(rows))
        index.delete([vectors.record_id(n) for n in gone])
        index.purge()
        raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert half[3].tobytes() in raw
        assert id_bytes(vectors.record_id(3)) in raw
        for number in gone:
            assert half[number].tobytes() not in raw
            assert id_bytes(vectors.record_id(number)) not in raw
        index.check()


def test_a_vector_is_gone_from_the_rows_as_soon_as_it_is_deleted_or_replaced(tmp_path):
    rows = vectors.unit_vectors(3)
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(rows[:2]))
        index.delete([vectors.record_id(0)])
        index.upsert([vectors.VectorDocument(vectors.facets(1), rows[2])])
        (path,) = tmp_path.glob("vectors.*.rows")
        raw = path.read_bytes()
        for number in (0, 1):
            assert rows[number].astype(np.float16).tobytes() not in raw


def test_a_file_removed_under_an_open_index_is_found(tmp_path):
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(vectors.unit_vectors(10)))
        (path,) = tmp_path.glob("vectors.*.db")
        path.unlink()
        with pytest.raises(Corrupt, match="missing"):
            index.check()


def test_one_rebuild_at_a_time(tmp_path):
    with closing(opener(tmp_path)()) as index, closing(opener(tmp_path)()) as other:
        with (
            index.rebuilding(),
            pytest.raises(EngineUnavailable, match="already"),
            other.rebuilding(),
        ):
            pass
        with other.rebuilding():
            pass


BUILDER = """
import sys, time
from pathlib import Path
from analect.index.vectors import EmbeddedVectorIndex
from analect.testing import vectors
index = EmbeddedVectorIndex(
    Path(sys.argv[1]), model=vectors.MODEL, dimension=vectors.DIMENSION
)
with index.rebuilding() as fresh:
    fresh.upsert(vectors.documents(vectors.unit_vectors(5)))
    print("building", flush=True)
    sys.stdin.read()
"""


def test_a_builder_that_dies_leaves_the_old_index_and_nothing_else(tmp_path):
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(vectors.unit_vectors(3)))
        with subprocess.Popen(
            [sys.executable, "-c", BUILDER, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as builder:
            assert builder.stdout.readline() == b"building\n"
            index.upsert(vectors.documents(vectors.unit_vectors(1, seed=8), 50))
            builder.send_signal(signal.SIGKILL)
        index.upsert(vectors.documents(vectors.unit_vectors(1, seed=9), 51))
        assert index.count() == 5
        assert {path.name.split(".")[1] for path in tmp_path.iterdir()} == {"1", "current"}
        with index.rebuilding() as fresh:
            fresh.upsert(vectors.documents(vectors.unit_vectors(2)))
        assert index.count() == 2


def test_another_process_rebuilds_and_this_one_follows(tmp_path):
    with closing(opener(tmp_path)()) as index:
        index.upsert(vectors.documents(vectors.unit_vectors(3)))
        with subprocess.Popen(
            [sys.executable, "-c", BUILDER, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as builder:
            assert builder.stdout.readline() == b"building\n"
            added = vectors.unit_vectors(1, seed=8)
            index.upsert(vectors.documents(added, 50))
            builder.stdin.close()
            assert builder.wait(30) == 0
        assert index.count() == 6
        assert index.search(added[0], EVERYTHING, 1)[0].id == vectors.record_id(50)


def test_a_closed_index_says_so(tmp_path):
    index = opener(tmp_path)()
    index.upsert(vectors.documents(vectors.unit_vectors(1)))
    index.close()
    index.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        index.count()


def test_the_nearest_are_found_among_many(tmp_path):
    rows = np.random.default_rng(4).standard_normal((30_000, vectors.DIMENSION))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    with closing(opener(tmp_path, exact_limit=0)()) as index:
        for start in range(0, len(rows), 5000):
            index.upsert(vectors.documents(rows[start : start + 5000], start))
        found = 0
        for asked in vectors.unit_vectors(10, seed=11):
            best = {vectors.record_id(int(n)) for n in np.argsort(-(rows @ asked))[:10]}
            found += len(best & {hit.id for hit in index.search(asked, EVERYTHING, 10)})
        # Vectors without any structure are the hardest case.
        assert found >= 85
