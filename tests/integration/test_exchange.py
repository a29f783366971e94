"""Export and import through the façade: what went out comes back the same."""

import io
import json

import pytest

from analect.model.flat import draft_from_flat
from analect.model.query import PageRequest, RecordFilter
from analect.service import AnalysisService
from analect.settings import Settings
from analect.sources.csv_records import read_csv
from analect.sources.exchange import documents_beside, export_documents, export_records
from analect.sources.importing import Checkpoint, Importer, Progress, digest_of
from analect.sources.jsonl import read_json_lines

READERS = {"jsonl": read_json_lines, "csv": read_csv}


@pytest.fixture
def open_service(tmp_path):
    """Opens stores by name; each has a ring of its own."""
    opened = []

    def make(name):
        settings = Settings(
            home=tmp_path / name,
            keys={"ring": tmp_path / f"{name}-ring"},
            index={"text": False, "vectors": False, "graph": False},
        )
        opened.append(AnalysisService.open(settings))
        return opened[-1]

    yield make
    for service in opened:
        service.close()


def flats():
    for number in range(1200):
        yield {
            "id": f"record-{number}",
            "occurred_at": f"2025-06-30T12:{number // 60:02d}:{number % 60:02d}.000{number % 10}Z",
            "subject": "alice@example.org" if number % 3 == 0 else None,
            "thread_id": f"t-{number % 7}",
            "tags": ["=danger", "b"] if number % 2 else None,
            "measures": {"n": number, "half": number / 2},
            "success": number % 4 == 0,
            "duration_ms": number * 1.5,
            "input": f"line one of {number}\nline two, “quoted” 谢谢",
            "output": {"n": number, "list": [None, True, -1.5]},
            "attributes": "" if number % 5 == 0 else None,
        }


def fill(service):
    result = service.ingest([draft_from_flat(flat) for flat in flats()])
    assert (result.accepted, result.rejected) == (1200, ())


def everything(service):
    return {record.id: record for record in service.export(RecordFilter())}


def content(record):
    return tuple(getattr(record, name) for name in type(record).__slots__ if name != "received_at")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_what_went_out_comes_back_the_same(open_service, tmp_path, form):
    origin = open_service("origin")
    fill(origin)
    target = tmp_path / f"all.{form}"
    assert export_records(origin.export(RecordFilter()), target, form) == 1200
    assert target.stat().st_mode & 0o777 == 0o600
    assert "alice" not in target.read_text("utf-8")

    with target.open("rb") as stream:
        again = Importer(origin, Progress(0)).run(READERS[form](stream))
    assert (again.stored, again.duplicates, again.refused, again.conflicts) == (0, 1200, 0, 0)

    copy = open_service("copy")
    with target.open("rb") as stream:
        done = Importer(copy, Progress(0)).run(READERS[form](stream))
    assert (done.stored, done.refused) == (1200, 0)
    ours, theirs = everything(origin), everything(copy)
    assert ours.keys() == theirs.keys()
    without_hash = slice(0, -2)
    assert all(
        content(ours[id_])[without_hash] == content(theirs[id_])[without_hash] for id_ in ours
    )


def test_parquet_holds_every_record(open_service, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    origin = open_service("origin")
    fill(origin)
    target = tmp_path / "all.parquet"
    count = export_records(origin.export(RecordFilter(tags=("b",))), target, "parquet")
    table = parquet.read_table(target)
    assert table.num_rows == count == 600
    assert table.column("occurred_at").to_pylist()[0].utcoffset().total_seconds() == 0


def test_a_person_gets_records_and_documents(open_service, tmp_path):
    service = open_service("origin")
    fill(service)
    service.put_document("user", "u1", {"mail": "alice@example.org"}, owner="alice@example.org")
    service.put_document("user", "u2", {"mail": "bob@example.org"}, owner="bob@example.org")
    records, documents = service.subject_data("alice@example.org")
    target = tmp_path / "alice.jsonl"
    assert export_records(records, target, "jsonl") == 400
    beside = documents_beside(target)
    assert export_documents(documents, beside) == 1
    assert json.loads(beside.read_text())["body"] == {"mail": "alice@example.org"}


@pytest.mark.parametrize("choice", ["skip", "replace"])
def test_other_content_under_the_same_id(open_service, choice):
    service = open_service("origin")
    first = draft_from_flat({"id": "a", "occurred_at": "2025-06-30T12:00:00Z", "input": "old"})
    (record_id,) = service.ingest([first]).ids
    source = io.BytesIO(
        b'{"id":"a","occurred_at":"2025-06-30T12:00:00Z","input":"new"}\n'
        b'{"id":"b","occurred_at":"2025-06-30T12:00:00Z","input":"new"}\n'
    )
    done = Importer(service, Progress(0), on_conflict=choice).run(read_json_lines(source))
    assert (done.conflicts, done.refused) == (1, 0)
    assert service.get(record_id).input == ("new" if choice == "replace" else "old")
    assert len(service.list(RecordFilter(), PageRequest()).items) == 2


def test_an_import_that_broke_off_goes_on(open_service, tmp_path):
    service = open_service("origin")
    source = tmp_path / "many.jsonl"
    source.write_text("".join(json.dumps({"input": n}) + "\n" for n in range(1200)))
    digest = digest_of(source, "here")
    checkpoint = Checkpoint(tmp_path / "imports", digest)
    started = 1_751_284_800_000_000

    def breaking(lines):
        for line in lines:
            if line.number == 700:
                raise KeyboardInterrupt
            yield line

    with source.open("rb") as stream, pytest.raises(KeyboardInterrupt):
        Importer(service, Progress(started), digest=digest, checkpoint=checkpoint).run(
            breaking(read_json_lines(stream))
        )
    progress = checkpoint.load()
    assert (progress.line, progress.stored) == (500, 500)
    with source.open("rb") as stream:
        done = Importer(service, progress, digest=digest, checkpoint=checkpoint).run(
            read_json_lines(stream, skip=progress.line)
        )
    assert (done.stored, done.duplicates) == (1200, 0)
    assert sorted(record.input for record in everything(service).values()) == list(range(1200))
