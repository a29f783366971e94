import multiprocessing
import sqlite3
import threading

import pytest

from analect.index.text import EmbeddedTextIndex
from analect.index.text.database import VERSION
from analect.model.errors import ConfigurationError, Conflict, Corrupt
from analect.model.query import RecordFilter
from analect.testing.text import TextIndexContract, document, number_of

ALL = RecordFilter()


@pytest.fixture
def index(tmp_path):
    index = EmbeddedTextIndex(tmp_path / "text")
    yield index
    index.close()


class TestEmbeddedTextIndex(TextIndexContract):
    @pytest.fixture
    def index(self, tmp_path):
        index = EmbeddedTextIndex(tmp_path / "text")
        yield index
        index.close()


def current_file(folder):
    return folder / (folder / "text.current").read_text()


def everything_on_disk(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def numbers(index, query):
    return [number_of(hit.id) for hit in index.search(query, ALL, 1000, None)]


def test_nothing_of_a_purged_record_is_left_in_any_file(index, tmp_path):
    kept = [document(n, f"shared keepword{n} text", tags=["both"]) for n in range(600)]
    gone = [
        document(n, f"shared secretzebra{n} über数字{n} <email:{n:016x}>", thread_id=f"t{n}")
        for n in range(600, 900)
    ]
    for start in range(0, 300, 50):  # many commits, so many segments
        index.upsert(kept[start * 2 : start * 2 + 100])
        index.upsert(gone[start : start + 50])
    assert b"secretzebra" in everything_on_disk(tmp_path / "text")
    index.upsert([document(0, "replaced")])
    index.delete([one.facets.id for one in gone])
    index.purge()
    left = everything_on_disk(tmp_path / "text")
    for trace in (b"secretzebra", b"zebra", "数字".encode(), b"keepword0", b"0000000258"):
        assert trace not in left, trace
    for one in gone:
        assert bytes.fromhex(one.facets.id.replace("-", "")) not in left
    assert b"eepword" in left  # words share their beginnings
    index.check()
    connection = sqlite3.connect(current_file(tmp_path / "text"))
    connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    connection.close()
    assert numbers(index, "shared") == list(range(599, 0, -1))
    assert numbers(index, "replaced") == [0]
    assert len(index.search("shared", RecordFilter(tags=("both",)), 1000, None)) == 599


def test_purging_again_and_with_searches_running(index):
    index.upsert([document(n, f"common word{n}") for n in range(300)])
    stop = threading.Event()
    failures = []

    def ask():
        while not stop.is_set():
            try:
                numbers(index, "common")
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for first in (0, 100):
            index.delete([document(n, "").facets.id for n in range(first, first + 50)])
            index.purge()
    finally:
        stop.set()
        thread.join()
    index.purge()
    assert failures == []
    assert len(numbers(index, "common")) == 200


def test_only_the_newest_matches_are_scored(tmp_path):
    index = EmbeddedTextIndex(tmp_path / "text", ranked=20)
    index.upsert([document(0, "common common common rare", tags=["old"])])
    index.upsert([document(n, "common filler") for n in range(1, 100)])
    assert numbers(index, "common") == list(range(99, 79, -1))
    assert numbers(index, "common rare") == [0]
    old = index.search("common", RecordFilter(tags=("old",)), 10, None)
    assert [number_of(hit.id) for hit in old] == [0]
    early = RecordFilter(until=document(3, "").facets.occurred_at)
    assert [number_of(hit.id) for hit in index.search("common", early, 10, None)] == [0, 2, 1]
    index.close()


def write_in_another_process(folder, first, ready):
    index = EmbeddedTextIndex(folder)
    ready.wait(30)
    for number in range(first, first + 200, 10):
        index.upsert([document(n, f"common word{n}") for n in range(number, number + 10)])
    index.close()


def test_two_processes_write_while_one_reads_and_rebuilds(tmp_path):
    folder = tmp_path / "text"
    index = EmbeddedTextIndex(folder)
    old = [document(n, f"common word{n}") for n in range(100)]
    index.upsert(old)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writers = [
        context.Process(target=write_in_another_process, args=(folder, first, ready))
        for first in (1000, 2000)
    ]
    for writer in writers:
        writer.start()
    with index.rebuilding() as fresh:
        ready.set()
        for start in range(0, 100, 10):
            fresh.upsert(old[start : start + 10])
            assert len(numbers(index, "common")) >= 100
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert index.count() == 500
    assert sorted(numbers(index, "common")) == [
        *range(100), *range(1000, 1200), *range(2000, 2200)
    ]  # fmt: skip
    index.check()
    index.close()


def test_another_process_rebuilt_it(index, tmp_path):
    index.upsert([document(1, "before")])
    other = EmbeddedTextIndex(tmp_path / "text")
    with other.rebuilding() as fresh, pytest.raises(Conflict), index.rebuilding():
        fresh.upsert([])
    with other.rebuilding() as fresh:
        fresh.upsert([document(2, "after")])
    other.close()
    assert numbers(index, "after") == [2]
    assert numbers(index, "before") == []
    index.upsert([document(3, "after")])
    assert numbers(index, "after") == [3, 2]
    assert len(list((tmp_path / "text").glob("text-*.db"))) == 1


def test_what_was_rebuilt_meanwhile_is_newest(index):
    index.upsert([document(n, "common filler") for n in range(5)])
    with index.rebuilding() as fresh:
        index.upsert([document(9, "common filler")])
        fresh.upsert([document(n, "common filler") for n in range(5)])
    narrow = EmbeddedTextIndex(index._folder.path, ranked=1)
    assert numbers(narrow, "common") == [9]
    narrow.close()


def test_a_rebuild_makes_the_folder_too(index, tmp_path):
    assert not (tmp_path / "text").exists()
    with index.rebuilding() as fresh:
        fresh.upsert([document(1, "some words")])
    assert numbers(index, "words") == [1]


@pytest.mark.parametrize("damage", ["header", "middle", "missing", "empty"])
def test_a_damaged_file_is_reported_and_rebuilt(index, tmp_path, damage):
    documents = [document(n, f"some word{n} " * 50) for n in range(400)]
    index.upsert(documents)
    index.close()
    path = current_file(tmp_path / "text")
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        spoiled = {
            "header": b"x" * 4096 + content[4096:],
            "middle": content[:8192] + b"\xff" * 40960 + content[49152:],
            "empty": b"x" * 100,
        }[damage]
        path.write_bytes(spoiled)
    again = EmbeddedTextIndex(tmp_path / "text")
    with pytest.raises(Corrupt) as caught:
        again.check()
    assert "analect rebuild text" in str(caught.value)
    with again.rebuilding() as fresh:
        if damage != "middle":
            again.upsert([document(500, "arrived meanwhile")])
        fresh.upsert(documents)
    again.check()
    assert again.count() == (400 if damage == "middle" else 401)
    again.close()


def test_another_format_must_be_rebuilt(index, tmp_path):
    index.upsert([document(1, "text")])
    index.close()
    connection = sqlite3.connect(current_file(tmp_path / "text"))
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    again = EmbeddedTextIndex(tmp_path / "text")
    with pytest.raises(ConfigurationError) as caught:
        again.search("text", ALL, 10, None)
    assert "analect rebuild text" in str(caught.value)
    with again.rebuilding() as fresh:
        fresh.upsert([document(1, "text")])
    assert numbers(again, "text") == [1]
    again.close()


def test_a_killed_rebuild_misleads_nobody(index, tmp_path):
    folder = tmp_path / "text"
    index.upsert([document(1, "text")])
    (folder / "text.rebuild").write_text("text-7.db")
    (folder / "text-7.db").write_bytes(b"half")
    index.upsert([document(2, "text")])
    with index.rebuilding() as fresh:
        fresh.upsert([document(n, "text") for n in (1, 2)])
    assert numbers(index, "text") == [2, 1]
    assert [path.name for path in folder.glob("text-*.db")] == ["text-8.db"]


def test_words_in_nearly_every_record_must_match_but_are_not_counted(index, monkeypatch):
    """Leaving them out of the score changes it by no more than BM25's smallest weight."""
    index.upsert(
        [
            document(
                n, " ".join(["the"] + ["rare"] * (n % 7 == 0) * (1 + n % 3) + ["pad"] * (n % 5))
            )
            for n in range(300)
        ]
    )
    index.upsert([document(300, "rare alone"), document(301, "the rare thing")])
    index.delete([document(301, "").facets.id])
    whole = index.search("the rare -thing", ALL, 100, None)
    monkeypatch.setattr("analect.index.text.ranking.MANY", 10)
    monkeypatch.setattr("analect.index.text.ranking.SAMPLE", 100)
    some = index.search("the rare -thing", ALL, 100, None)
    assert len(some) == 43
    assert {hit.id for hit in some} == {hit.id for hit in whole}
    scores = {hit.id: hit.score for hit in whole}
    assert all(abs(hit.score - scores[hit.id]) < 1e-4 for hit in some)
    assert some != whole  # the other way was taken
    assert numbers(index, "the") == [hit for hit in numbers(index, "the") if hit < 300]
    walked, behind = [], None
    while page := index.search("the rare", ALL, 7, behind):
        walked.extend(page)
        behind = (page[-1].score, page[-1].id)
    assert walked == index.search("the rare", ALL, 100, None)
