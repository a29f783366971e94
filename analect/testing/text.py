# ruff: noqa: D102  (a test's name says what it tests)
"""The contract of :class:`~analect.index.protocols.TextIndex`, as tests.

A test module subclasses :class:`TextIndexContract` and gives it a fixture ``index``, an empty index
that is closed afterwards; an index server that shows writes late gives ``settled`` too::

    class TestMine(TextIndexContract):
        @pytest.fixture
        def index(self, tmp_path):
            ...
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from analect.index.protocols import Facets, TextDocument, TextIndex
from analect.model.errors import InvalidQuery
from analect.model.ids import Micros, RecordId, new_id
from analect.model.query import NumberRange, RecordFilter

START: Micros = 1_700_000_000_000_000
LATER: Micros = 4_000_000_000_000_000
"""When a record came that was deleted before and is put in again."""
ALL = RecordFilter()


def document(
    number: int,
    text: str,
    *,
    tags: Sequence[str] = (),
    dimensions: dict[str, str] | None = None,
    numbers: dict[str, float] | None = None,
    success: bool | None = None,
    content_hash: bytes = b"",
    **texts: str,
) -> TextDocument:
    """Record ``number`` of a test: a second later than the one before."""
    at = START + number * 1_000_000
    facets = Facets(
        id=new_id(at, lambda size: number.to_bytes(size, "big")),
        occurred_at=at,
        texts=texts,
        tags=tuple(tags),
        dimensions=dimensions or {},
        numbers=numbers or {},
        success=success,
        content_hash=content_hash,
    )
    return TextDocument(facets, text)


def again(one: TextDocument) -> TextDocument:
    """The same record, received anew after its deletion."""
    return replace(one, facets=replace(one.facets, received_at=LATER))


def number_of(record_id: RecordId) -> int:
    """The ``number`` of :func:`document`."""
    return int(record_id[-8:], 16)


class TextIndexContract:
    """What every text index does."""

    @pytest.fixture
    def index(self) -> TextIndex:
        """An empty index; given by the subclass."""
        raise NotImplementedError

    def settled(self, index: TextIndex) -> None:
        """Return when everything written is findable."""

    def filled(self, index: TextIndex, *documents: TextDocument) -> None:
        """Write and wait."""
        assert index.upsert(documents) == []
        self.settled(index)

    def found(
        self, index: TextIndex, query: str, where: RecordFilter = ALL, limit: int = 100
    ) -> list[int]:
        """Numbers of the documents found, best first."""
        return [number_of(hit.id) for hit in index.search(query, where, limit, None)]

    def test_empty(self, index: TextIndex) -> None:
        assert index.count() == 0
        assert list(index.entries()) == []
        assert index.search("anything", ALL, 10, None) == []
        assert index.upsert([]) == []
        index.delete([])
        index.check()

    def test_words_must_all_match(self, index: TextIndex) -> None:
        self.filled(
            index, document(1, "the red boat"), document(2, "red sky"), document(3, "a boat")
        )
        assert self.found(index, "red boat") == [1]
        assert sorted(self.found(index, "RED")) == [1, 2]
        assert self.found(index, "green") == []

    def test_expressions(self, index: TextIndex) -> None:
        self.filled(
            index,
            document(1, "payment failed with ERR_CONN_42 in foo.bar()"),
            document(2, "payment came through; conn err"),
            document(3, "refund for <email:6f1c0a9b8d7e6f5a> failed"),
            document(4, "repayment plan"),
        )
        assert self.found(index, '"payment failed"') == [1]
        assert self.found(index, '"failed payment"') == []
        assert self.found(index, "payment -failed") == [2]
        assert sorted(self.found(index, "refund OR through")) == [2, 3]
        assert sorted(self.found(index, "(refund OR payment) failed")) == [1, 3]
        assert sorted(self.found(index, "pay*")) == [1, 2]
        assert self.found(index, "ERR_CONN_42") == [1]
        assert self.found(index, "err_conn") == [1]
        assert self.found(index, "foo.bar()") == [1]
        assert self.found(index, "<email:6f1c0a9b8d7e6f5a>") == [3]

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "   ",
            "!!! ???",
            "-only",
            "OR",
            "()",
            '""',
            "a OR -b",
            "x*",
            "(" * 40 + "a",
            "a " * 900,
        ],
    )
    def test_nothing_to_look_for_is_refused(self, index: TextIndex, query: str) -> None:
        with pytest.raises(InvalidQuery) as caught:
            index.search(query, ALL, 10, None)
        assert caught.value.field == "q"

    @pytest.mark.parametrize(
        "query",
        [
            '"open', "a)", "((a", "a AND", "NEAR(a b)", "body:a", "a^b", "{a b}:c", "a + b", "'a'",
            "a\0b", "\ud800a", "labels:a", "*a", "ab**", "-(-a b) a", "NOT a b", "ab:*", 'a"b"c', "%_\\ a",
        ],
    )  # fmt: skip
    def test_no_sign_is_a_syntax_error(self, index: TextIndex, query: str) -> None:
        self.filled(index, document(1, "a b c"))
        assert isinstance(index.search(query, ALL, 10, None), list)

    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("我们在中国喝水", "中国"),
            ("我们在中国喝水", "喝水"),
            ("我们在中国喝水", "水"),
            ("我们在中国喝水", "国"),
            ("我们在中国喝水", '"在中国喝"'),
            ("订单号ABC123已发货", "abc123"),
            ("订单号ABC123已发货", "发货"),
            ("東京タワーへ行きました", "タワー"),
            ("東京タワーへ行きました", "行き"),
            ("ﾀﾜｰ", "タワー"),
            ("한국어는 어렵다", "한국어"),
            ("ภาษาไทยง่าย", "ไทย"),
            ("ພາສາລາວ", "ລາວ"),
            ("ភាសាខ្មែរ", "ខ្មែរ"),
            ("الْعَرَبِيَّة لغة جميلة", "العربيه"),
            ("أحمد إلى آخر", "احمد الي اخر"),
            ("کتاب ۱۲۳", "كتاب 123"),
            ("الطقس جميل", "طقس"),
            ("طقس جميل", "الطَّقْس"),
            ("وصلت والمدرسة مغلقة", "مدرسة"),
            ("للبيت باب", '"البيت باب"'),
            ("كتبت بالقلم", "القل*"),
            ("Crème brûlée à Århus, Straße, Łódź", "creme brulee arhus strasse lodz"),
            ("creme brulee", "Crème BRÛLÉE"),
            ("Ελληνικά ΚΌΣΜΟΣ", "κοσμος"),
            ("Ёлка", "елка"),
            ("नमस्ते दुनिया", "नमस्ते"),
            ("well done 🎉", "🎉"),
            ("it costs 5 € today", "€"),
            ("don’t “quote” me", "quote"),  # noqa: RUF001
            ("full－width ＡＢＣ", "abc"),  # noqa: RUF001
        ],
    )
    def test_scripts(self, index: TextIndex, text: str, query: str) -> None:
        self.filled(index, document(1, text), document(2, "something else"))
        assert self.found(index, query) == [1]
        assert any("<em>" in snippet for snippet in index.highlight(query, text))

    def test_scripts_do_not_match_at_random(self, index: TextIndex) -> None:
        self.filled(index, document(1, "我们在中国喝水"), document(2, "東京タワー"))
        assert self.found(index, "国中") == []
        assert self.found(index, "中水") == []
        assert self.found(index, "京東") == []

    def test_filters(self, index: TextIndex) -> None:
        self.filled(
            index,
            document(1, "word", kind="task", thread_id="t1", tags=["a", "b c"], success=True),
            document(2, "word", kind="task", thread_id="t2", tags=["a"], success=False),
            document(3, "word", kind="event", dimensions={"role": "x"}, numbers={"cost": 2.5}),
        )
        second = 1_000_000
        cases = [
            (RecordFilter(equals={"kind": "task"}), [2, 1]),
            (RecordFilter(equals={"kind": "task", "thread_id": "t1"}), [1]),
            (RecordFilter(equals={"kind": "t1"}), []),
            (RecordFilter(tags=("a",)), [2, 1]),
            (RecordFilter(tags=("a", "b c")), [1]),
            (RecordFilter(tags=("b",)), []),
            (RecordFilter(dimensions={"role": "x"}), [3]),
            (RecordFilter(dimensions={"role": "y"}), []),
            (RecordFilter(numbers={"cost": NumberRange(2, 3)}), [3]),
            (RecordFilter(numbers={"cost": NumberRange(3)}), []),
            (RecordFilter(success=True), [1]),
            (RecordFilter(success=False), [2]),
            (RecordFilter(since=START + 2 * second), [3, 2]),
            (RecordFilter(since=START + 2 * second, until=START + 3 * second), [2]),
            (RecordFilter(until=START), []),
            (RecordFilter(tags=("a",), success=False, since=START), [2]),
        ]
        for where, expected in cases:
            assert sorted(self.found(index, "word", where), reverse=True) == expected, where

    def test_a_label_is_not_a_word(self, index: TextIndex) -> None:
        self.filled(index, document(1, "text", kind="incident", tags=["urgent"]))
        assert self.found(index, "incident") == []
        assert self.found(index, "urgent") == []

    def test_better_matches_come_first(self, index: TextIndex) -> None:
        noise = [document(number, f"filler {number}") for number in range(10, 40)]
        self.filled(
            index,
            document(1, "apple " * 5),
            document(2, "apple and a good deal of other words that make this text long"),
            document(3, "apple pie"),
            *noise,
        )
        assert self.found(index, "apple") == [1, 3, 2]
        scores = [hit.score for hit in index.search("apple", ALL, 10, None)]
        assert scores == sorted(scores, reverse=True)
        assert all(score > 0 for score in scores)

    def test_equal_scores_come_newest_first(self, index: TextIndex) -> None:
        self.filled(index, *[document(number, "same words") for number in (5, 3, 9, 1, 7)])
        assert self.found(index, "same") == [9, 7, 5, 3, 1]

    def test_pages_neither_skip_nor_repeat(self, index: TextIndex) -> None:
        self.filled(
            index, *[document(number, "needle " * (1 + number % 4) + "hay") for number in range(57)]
        )
        whole = index.search("needle", ALL, 1000, None)
        assert len(whole) == 57
        assert [(h.score, h.id) for h in whole] == sorted(
            ((h.score, h.id) for h in whole), reverse=True
        )
        walked = []
        behind: tuple[float, RecordId] | None = None
        while page := index.search("needle", ALL, 10, behind):
            walked.extend(page)
            behind = (page[-1].score, page[-1].id)
        assert walked == whole

    def test_upsert_replaces(self, index: TextIndex) -> None:
        self.filled(index, document(1, "before", kind="task"), document(2, "other"))
        self.filled(index, document(1, "after", kind="event"))
        assert index.count() == 2
        assert self.found(index, "before") == []
        assert self.found(index, "after") == [1]
        assert self.found(index, "after", RecordFilter(equals={"kind": "task"})) == []
        self.filled(index, document(1, "after", kind="event"))
        assert self.found(index, "after") == [1]
        self.filled(index, document(3, "first"), document(3, "second"))
        assert self.found(index, "second") == [3]
        assert self.found(index, "first") == []
        assert index.count() == 3

    def test_delete(self, index: TextIndex) -> None:
        documents = [document(number, f"word number{number}") for number in range(5)]
        self.filled(index, *documents)
        index.delete([documents[1].facets.id, documents[3].facets.id, document(99, "").facets.id])
        self.settled(index)
        assert self.found(index, "word") == [4, 2, 0]
        assert index.count() == 3
        index.purge()
        assert self.found(index, "word") == [4, 2, 0]
        self.filled(index, again(documents[1]))
        assert self.found(index, "number1") == [1]
        index.check()

    def test_entries_are_in_order(self, index: TextIndex) -> None:
        documents = [
            document(number, "x y", content_hash=bytes([number] * 16)) for number in (4, 2, 8, 6)
        ]
        self.filled(index, *documents)
        walked = list(index.entries())
        assert [number_of(id_) for id_, _ in walked] == [2, 4, 6, 8]
        assert [content_hash[0] for _, content_hash in walked] == [2, 4, 6, 8]
        assert [number_of(id_) for id_, _ in index.entries(after=walked[1][0])] == [6, 8]

    def test_odd_texts(self, index: TextIndex) -> None:
        huge = "lorem ipsum " * 90_000 + "needle"
        self.filled(
            index,
            document(1, ""),
            document(2, "nul\0inside"),
            document(3, "surrogate \ud800 here"),
            document(4, huge),
            document(5, "z" * 100_000),
            document(6, "木" * 50_000),
        )
        assert index.count() == 6
        assert self.found(index, "inside") == [2]
        assert self.found(index, "here") == [3]
        assert self.found(index, "needle") == [4]
        assert self.found(index, "木木") == [6]

    def test_a_rebuilt_index_takes_the_place_of_the_old_one(self, index: TextIndex) -> None:
        old = [document(number, f"old text{number}") for number in range(4)]
        self.filled(index, *old)
        with index.rebuilding() as fresh:
            assert fresh.count() == 0
            fresh.upsert(old[:3])
            assert self.found(index, "old") == [3, 2, 1, 0]
            self.filled(index, document(7, "arrived meanwhile"), document(2, "changed meanwhile"))
            index.delete([old[1].facets.id])
            fresh.upsert([old[1], old[2]])  # the copy comes later than the change
            assert self.found(index, "arrived") == [7]
        self.settled(index)
        assert self.found(index, "old") == [0]
        assert sorted(self.found(index, "meanwhile")) == [2, 7]
        assert index.count() == 3
        self.filled(index, document(8, "afterwards"))
        assert self.found(index, "afterwards") == [8]

    def test_a_rebuild_that_fails_changes_nothing(self, index: TextIndex) -> None:
        self.filled(index, document(1, "kept"))
        with pytest.raises(ZeroDivisionError), index.rebuilding() as fresh:  # noqa: PT012
            fresh.upsert([document(2, "dropped")])
            raise ZeroDivisionError
        assert self.found(index, "kept") == [1]
        assert self.found(index, "dropped") == []
        with index.rebuilding() as fresh:
            fresh.upsert([document(3, "again")])
        self.settled(index)
        assert self.found(index, "again") == [3]

    def test_many_writers_and_readers(self, index: TextIndex) -> None:
        failures: list[BaseException] = []

        def work(first: int) -> None:
            try:
                for number in range(first, first + 50, 5):
                    index.upsert(
                        [document(n, f"common word{n}") for n in range(number, number + 5)]
                    )
                    index.search("common", ALL, 10, None)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(part * 50,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.settled(index)
        assert failures == []
        assert index.count() == 200
        assert sorted(self.found(index, "common", limit=500)) == list(range(200))

    def test_highlights(self, index: TextIndex) -> None:
        text = "A <b>bold</b> start. " + "padding words " * 40 + "the bold end & more"
        assert index.highlight("bold", text, 2)[0].startswith("A &lt;b&gt;<em>bold</em>&lt;/b&gt;")
        assert index.highlight("bold", text, 2)[1].endswith("the <em>bold</em> end &amp; more")
        assert len(index.highlight("bold", text, 1)) == 1
        assert index.highlight("absent", text) == ()
        assert index.highlight("-bold padding", "bold padding") == ("bold <em>padding</em>",)
        assert index.highlight('"red boat"', "red car, red boat") == ("red car, <em>red boat</em>",)
        assert index.highlight("boat*", "boats") == ("<em>boats</em>",)
        assert index.highlight("中国", "在中国喝") == ("在<em>中国</em>喝",)
