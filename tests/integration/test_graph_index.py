import sqlite3
from contextlib import closing

import pytest

from analect.index.graph import EmbeddedGraphIndex
from analect.model.errors import ConfigurationError, Corrupt, EngineUnavailable
from analect.model.ids import EARLIEST, id_bytes, id_text
from analect.testing import graph


def opener(folder):
    return lambda: EmbeddedGraphIndex(folder)


@pytest.mark.parametrize("case", graph.CASES, ids=lambda case: case.__name__)
def test_contract(case, tmp_path):
    case(opener(tmp_path))


def test_purge_leaves_no_byte(tmp_path):
    with closing(opener(tmp_path)()) as index:
        index.upsert([graph.record(n, thread_id=f"thread-{n}-", tags=("all",)) for n in range(300)])
        index.delete([graph.record_id(n) for n in range(100, 200)])
        index.purge()
        raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"thread-7-" in raw
        for number in range(100, 200):
            assert f"thread-{number}-".encode() not in raw
            assert id_bytes(graph.record_id(number)) not in raw
        assert index.count() == 200
        assert len(index.related(graph.record_id(7), 2, 100).nodes) > 20
        index.check()


def test_records_whose_numbers_would_be_the_same_are_both_kept(tmp_path):
    head = (EARLIEST // 1000).to_bytes(6, "big") + b"\x70\x00\x80\x00"
    twins = [id_text(head + n.to_bytes(6, "big")) for n in range(50)]
    with closing(opener(tmp_path)()) as index:
        for part in (twins[::2], twins[1::2]):
            index.upsert(
                [graph.record(n, id=id_, occurred_at=EARLIEST) for n, id_ in enumerate(part)]
            )
        assert [id_ for id_, _ in index.entries()] == twins
        assert [index.related(id_, 1, 5).nodes[0].key for id_ in twins] == twins


def test_a_damaged_file_is_said_and_mended_by_a_rebuild(tmp_path):
    with closing(opener(tmp_path)()) as index:
        index.upsert([graph.record(n, tags=(f"tag-{n}",)) for n in range(2000)])
    (path,) = tmp_path.glob("graph.*.db")
    data = bytearray(path.read_bytes())
    data[4096 : len(data) // 2] = b"\x5a" * (len(data) // 2 - 4096)
    path.write_bytes(data)
    with closing(opener(tmp_path)()) as index:
        with pytest.raises(Corrupt, match="analect rebuild graph"):
            index.check()
        with index.rebuilding() as fresh:
            fresh.upsert([graph.record(1)])
        index.check()
        assert index.count() == 1


def test_a_file_that_is_no_database_is_corrupt(tmp_path):
    (tmp_path / "graph.1.db").write_bytes(b"nothing of the kind " * 500)
    with closing(opener(tmp_path)()) as index, pytest.raises(Corrupt):
        index.upsert([graph.record(1)])


def test_a_file_cut_to_nothing_is_corrupt(tmp_path):
    with closing(opener(tmp_path)()) as index:
        index.upsert([graph.record(1)])
    (path,) = tmp_path.glob("graph.*.db")
    path.write_bytes(b"")
    with closing(opener(tmp_path)()) as index, pytest.raises(Corrupt, match="rebuild graph"):
        index.check()


def test_another_format_is_refused(tmp_path):
    with closing(opener(tmp_path)()) as index:
        index.upsert([graph.record(1)])
    (path,) = tmp_path.glob("graph.*.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with (
        closing(opener(tmp_path)()) as index,
        pytest.raises(ConfigurationError, match="rebuild graph"),
    ):
        index.count()


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("")
    with closing(opener(tmp_path / "file")()) as index, pytest.raises(EngineUnavailable):
        index.upsert([graph.record(1)])
