"""What every :class:`~analect.index.protocols.VectorIndex` must do, as cases to run.

    @pytest.mark.parametrize("case", vectors.CASES, ids=lambda case: case.__name__)
    def test_contract(case, tmp_path):
        case(lambda: MyIndex(tmp_path, model=vectors.MODEL, dimension=vectors.DIMENSION))

A case gets a function that opens the index, which is empty at first; called again, it opens the
same one once more, as another process would. A case asserts; it leaves what it opened closed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from analect.index.protocols import Facets, VectorDocument, VectorIndex
from analect.model.errors import InvalidQuery
from analect.model.ids import EARLIEST, RecordId, new_id
from analect.model.query import NumberRange, RecordFilter

if TYPE_CHECKING:
    from analect.index.protocols import Vector

MODEL = "contract/1"
LATER = 4_000_000_000_000_000
"""When a record came that was deleted before and is put in again."""
DIMENSION = 96

Open = Callable[[], VectorIndex]
EVERYTHING = RecordFilter()


def record_id(number: int) -> RecordId:
    """The id of a record ``number`` seconds after the earliest accepted time."""
    return new_id(EARLIEST + number * 1_000_000, random.Random(number).randbytes)  # noqa: S311  (a fixture, not a secret)


def facets(number: int, **changes: object) -> Facets:
    """Facets of a record: its kind, a thread of ten, a tag of three, and its number."""
    given: dict[str, object] = {
        "id": record_id(number),
        "occurred_at": EARLIEST + number * 1_000_000,
        "texts": {"kind": "interaction", "thread_id": f"thread-{number // 10}"},
        "tags": ("all", f"third-{number % 3}"),
        "dimensions": {"language": "en" if number % 2 else "de"},
        "numbers": {"turn": float(number)},
        "success": bool(number % 2),
        "content_hash": number.to_bytes(16, "big"),
    }
    return Facets(**{**given, **changes})  # type: ignore[arg-type]


def unit_vectors(count: int, seed: int = 1) -> Vector:
    """Shape (count, DIMENSION), rows of length one."""
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    scaled: Vector = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def documents(rows: Vector, start: int = 0) -> list[VectorDocument]:
    """A record a row."""
    return [VectorDocument(facets(n), row) for n, row in enumerate(rows, start)]


def again(rows: Vector, start: int) -> list[VectorDocument]:
    """A record a row, received anew after its deletion."""
    return [VectorDocument(facets(n, received_at=LATER), row) for n, row in enumerate(rows, start)]


@contextmanager
def _filled(open_index: Open, count: int) -> Iterator[tuple[VectorIndex, Vector]]:
    rows = unit_vectors(count)
    with closing(open_index()) as index:
        assert not index.upsert(documents(rows))
        yield index, rows


def _numbers(index: VectorIndex, asked: Vector, where: RecordFilter, limit: int) -> list[int]:
    return [_number(hit.id) for hit in index.search(asked, where, limit)]


def _number(found: RecordId) -> int:
    return (int(found[:8] + found[9:13], 16) - EARLIEST // 1000) // 1000


def _stop() -> None:
    """What a person does who has waited long enough."""
    raise KeyboardInterrupt


def _nearest(rows: Vector, asked: Vector, allowed: Sequence[int]) -> list[int]:
    return sorted(allowed, key=lambda n: -float(rows[n] @ asked))


def _filters(count: int) -> list[tuple[RecordFilter, range]]:
    """Filters and the records that pass them."""
    second = 1_000_000
    return [
        (RecordFilter(equals={"kind": "interaction"}), range(count)),
        (RecordFilter(equals={"kind": "task"}), range(0)),
        (RecordFilter(equals={"thread_id": "thread-4"}), range(40, 50)),
        (RecordFilter(equals={"thread_id": "thread-4"}, success=True), range(41, 50, 2)),
        (RecordFilter(tags=("all", "third-2")), range(2, count, 3)),
        (RecordFilter(dimensions={"language": "en"}), range(1, count, 2)),
        (RecordFilter(numbers={"turn": NumberRange(10, 12)}), range(10, 13)),
        (RecordFilter(success=False), range(0, count, 2)),
        (RecordFilter(since=EARLIEST + 20 * second, until=EARLIEST + 30 * second), range(20, 30)),
    ]


def an_empty_index_finds_nothing(open_index: Open) -> None:
    """Nor does it hold anything."""
    with closing(open_index()) as index:
        assert index.search(unit_vectors(1)[0], EVERYTHING, 10) == []
        assert index.count() == 0
        assert list(index.entries()) == []
        index.delete([record_id(1)])
        index.purge()
        index.check()


def the_nearest_come_first(open_index: Open) -> None:
    """With their cosine."""
    with _filled(open_index, 500) as (index, rows):
        for asked in unit_vectors(5, seed=2):
            assert _numbers(index, asked, EVERYTHING, 10) == _nearest(rows, asked, range(500))[:10]
        best = index.search(rows[7], EVERYTHING, 1)[0]
        assert best.id == record_id(7)
        assert abs(best.score - 1.0) < 1e-3


def a_filter_leaves_only_what_passes(open_index: Open) -> None:
    """Texts, tags, dimensions, numbers, success and time, alone and together."""
    with _filled(open_index, 300) as (index, rows):
        asked = unit_vectors(1, seed=3)[0]
        for where, allowed in _filters(300):
            expected = _nearest(rows, asked, allowed)[:10]
            assert _numbers(index, asked, where, 10) == expected, where


def equal_scores_are_ordered_by_id(open_index: Open) -> None:
    """The later id first, and a longer list begins with the shorter one."""
    row = unit_vectors(1)[0]
    with closing(open_index()) as index:
        # Put in another order than that of their ids.
        for number in (5, 1, 9, 3, 7, 2, 8):
            index.upsert([VectorDocument(facets(number), row)])
        assert _numbers(index, row, EVERYTHING, 10) == [9, 8, 7, 5, 3, 2, 1]
        assert _numbers(index, row, EVERYTHING, 3) == [9, 8, 7]


def putting_again_replaces(open_index: Open) -> None:
    """Vector and facets, in another call and in the same one."""
    with _filled(open_index, 20) as (index, rows):
        moved = unit_vectors(3, seed=5)
        changed = facets(3, tags=("moved",), content_hash=b"changed" + bytes(9))
        index.upsert([VectorDocument(changed, row) for row in moved])
        assert index.count() == 20
        assert _numbers(index, moved[2], RecordFilter(tags=("moved",)), 5) == [3]
        assert abs(index.search(moved[2], EVERYTHING, 1)[0].score - 1.0) < 1e-3
        assert index.search(rows[3], EVERYTHING, 1)[0].score < 0.99
        assert dict(index.entries())[record_id(3)] == changed.content_hash


def what_is_deleted_is_not_found(open_index: Open) -> None:
    """Until it is put in again; to delete what is not there is fine."""
    with _filled(open_index, 30) as (index, rows):
        index.delete([record_id(4), record_id(5), record_id(400)])
        assert index.count() == 28
        assert {4, 5}.isdisjoint(_numbers(index, rows[4], EVERYTHING, 30))
        index.purge()
        assert index.count() == 28
        assert {4, 5}.isdisjoint(_numbers(index, rows[4], EVERYTHING, 30))
        index.upsert(again(rows[4:5], 4))
        assert _numbers(index, rows[4], EVERYTHING, 1) == [4]
        index.check()


def a_vector_of_zeros_is_never_found(open_index: Open) -> None:
    """But its record is held, so that nothing seems to be missing."""
    with _filled(open_index, 5) as (index, rows):
        index.upsert([VectorDocument(facets(9), np.zeros(DIMENSION, np.float32))])
        assert index.count() == 6
        assert record_id(9) in dict(index.entries())
        assert 9 not in _numbers(index, rows[0], EVERYTHING, 10)
        assert index.search(np.zeros(DIMENSION, np.float32), EVERYTHING, 10) == []
        index.check()


def wrong_vectors_are_refused_one_by_one(open_index: Open) -> None:
    """And so are questions."""
    good = unit_vectors(1)[0]
    bad = good.copy()
    bad[3] = np.nan
    with closing(open_index()) as index:
        failures = index.upsert(
            [
                VectorDocument(facets(1), good[:-1]),
                VectorDocument(facets(2), good),
                VectorDocument(facets(3), bad),
            ]
        )
        assert [failure.id for failure in failures] == [record_id(1), record_id(3)]
        assert not any(failure.transient for failure in failures)
        assert [entry for entry, _ in index.entries()] == [record_id(2)]
        for question in (good[:-1], bad):
            try:
                index.search(question, EVERYTHING, 1)
            except InvalidQuery:
                continue
            raise AssertionError("a question of the wrong form was answered")


def entries_are_in_order_of_id(open_index: Open) -> None:
    """From any place on."""
    rows = unit_vectors(1200)
    with closing(open_index()) as index:
        index.upsert(documents(rows)[::-1])
        found = list(index.entries())
        assert found == [(record_id(n), n.to_bytes(16, "big")) for n in range(1200)]
        assert [id_ for id_, _ in index.entries(after=record_id(1197))] == [
            record_id(1198),
            record_id(1199),
        ]


def a_second_opening_sees_what_the_first_writes(open_index: Open) -> None:
    """Additions, deletions, a purge and a rebuild, each at the next search."""
    with _filled(open_index, 50) as (index, rows), closing(open_index()) as other:
        assert _numbers(other, rows[7], EVERYTHING, 1) == [7]
        added = unit_vectors(1, seed=6)
        index.upsert(documents(added, 60))
        assert _numbers(other, added[0], EVERYTHING, 1) == [60]
        index.delete([record_id(7)])
        assert _numbers(other, rows[7], EVERYTHING, 1) != [7]
        index.purge()
        assert other.count() == 50
        other.upsert(again(rows[7:8], 7))
        assert _numbers(index, rows[7], EVERYTHING, 1) == [7]
        with index.rebuilding() as fresh:
            fresh.upsert(documents(added, 60))
        assert _numbers(other, rows[7], EVERYTHING, 5) == [60]


def the_old_answers_while_the_new_is_built(open_index: Open) -> None:
    """What is written meanwhile, through any opening, is in the new one; the switch is whole."""
    with _filled(open_index, 40) as (index, rows), closing(open_index()) as other:
        with index.rebuilding() as fresh:
            assert fresh.count() == 0
            other.upsert(documents(unit_vectors(1, seed=7), 90))
            other.delete([record_id(2)])
            fresh.upsert(documents(rows[:20]))
            assert _numbers(index, rows[30], EVERYTHING, 1) == [30]
            assert other.count() == 40
        expected = [record_id(n) for n in (*range(2), *range(3, 20), 90)]
        for opened in (index, other):
            assert [id_ for id_, _ in opened.entries()] == expected
            assert _numbers(opened, rows[30], EVERYTHING, 1) != [30]
        other.upsert(again(rows[2:3], 2))
        assert _numbers(index, rows[2], EVERYTHING, 1) == [2]
        index.check()


def a_failed_build_changes_nothing(open_index: Open) -> None:
    """And the next one succeeds."""
    with _filled(open_index, 10) as (index, rows):
        try:
            with index.rebuilding() as fresh:
                fresh.upsert(documents(rows[:1]))
                _stop()
        except KeyboardInterrupt:
            assert index.count() == 10
        with index.rebuilding() as fresh:
            fresh.upsert(documents(rows[:2]))
        assert index.count() == 2


def it_is_there_when_opened_again(open_index: Open) -> None:
    """Closed and opened, it answers the same."""
    with _filled(open_index, 100) as (index, rows):
        before = index.search(rows[3], EVERYTHING, 10)
    with closing(open_index()) as index:
        assert index.search(rows[3], EVERYTHING, 10) == before


def many_may_write_and_ask_at_once(open_index: Open) -> None:
    """Threads of two openings; nothing is lost, and every answer is of records that are there."""
    rows = unit_vectors(400)
    with ExitStack() as stack, ThreadPoolExecutor(6) as pool:
        openings = [stack.enter_context(closing(open_index())) for _ in range(2)]

        def write(start: int) -> None:
            index = openings[start // 20 % 2]
            index.upsert(documents(rows[start : start + 20], start))
            index.delete([record_id(start)])

        def ask(number: int) -> None:
            for hit in openings[number % 2].search(rows[number], EVERYTHING, 5):
                assert 0 <= _number(hit.id) < 400

        futures = [pool.submit(write, start) for start in range(0, 400, 20)]
        futures += [pool.submit(ask, number) for number in range(40)]
        for future in futures:
            future.result(timeout=60)
        expected = [record_id(n) for n in range(400) if n % 20]
        for index in openings:
            assert [id_ for id_, _ in index.entries()] == expected
            assert _numbers(index, rows[399], EVERYTHING, 1) == [399]
            assert 20 not in _numbers(index, rows[20], EVERYTHING, 5)


CASES: tuple[Callable[[Open], None], ...] = (
    an_empty_index_finds_nothing,
    the_nearest_come_first,
    a_filter_leaves_only_what_passes,
    equal_scores_are_ordered_by_id,
    putting_again_replaces,
    what_is_deleted_is_not_found,
    a_vector_of_zeros_is_never_found,
    wrong_vectors_are_refused_one_by_one,
    entries_are_in_order_of_id,
    a_second_opening_sees_what_the_first_writes,
    the_old_answers_while_the_new_is_built,
    a_failed_build_changes_nothing,
    it_is_there_when_opened_again,
    many_may_write_and_ask_at_once,
)
