"""JSON Lines and CSV, out and in; imports that answer for every line."""

import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analect.model.errors import Conflict, InvalidInput, StoreUnavailable
from analect.model.flat import draft_from_flat, to_flat
from analect.model.ids import RecordId, new_id
from analect.model.query import Document
from analect.model.record import Draft, IngestResult, Record, Rejection
from analect.sources import exchange
from analect.sources.columns import COLUMNS
from analect.sources.csv_records import CsvWriter, guard, read_csv, unguard
from analect.sources.exchange import export_documents, export_records, format_of
from analect.sources.importing import Checkpoint, Importer, Progress, digest_of
from analect.sources.jsonl import JsonLinesWriter, read_json_lines

AT = 1_751_284_800_123_456

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.just(""),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
records = st.builds(
    Record,
    id=st.integers(0, 2**40).map(lambda n: new_id(AT, lambda size: n.to_bytes(size, "big"))),
    kind=st.sampled_from(["interaction", "task"]),
    occurred_at=st.just(AT),
    received_at=st.just(AT),
    thread_id=st.none() | texts,
    name=st.none() | texts,
    success=st.none() | st.booleans(),
    turn=st.none() | st.integers(0, 2**63 - 1),
    cost=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    tags=st.lists(texts, max_size=3).map(tuple),
    dimensions=st.dictionaries(texts, texts, max_size=2),
    measures=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    input=json_values,
    attributes=json_values,
)


def written(writer, items):
    stream = io.BytesIO()
    out = writer(stream)
    for item in items:
        out.write(item)
    out.close()
    stream.seek(0)
    return stream


def as_draft(record):
    return draft_from_flat(to_flat(record), exported=True)


@given(st.lists(records, max_size=4))
def test_json_lines_come_back_as_they_were(items):
    lines = list(read_json_lines(written(JsonLinesWriter, items)))
    assert [line.error for line in lines] == [None] * len(items)
    assert [line.draft for line in lines] == [as_draft(item) for item in items]
    assert [line.number for line in lines] == list(range(1, len(items) + 1))


@given(st.lists(records, max_size=4))
def test_csv_comes_back_as_it_was(items):
    lines = list(read_csv(written(CsvWriter, items)))
    assert [line.error for line in lines] == [None] * len(items)
    assert [line.draft for line in lines] == [as_draft(item) for item in items]


@given(texts)
@example(" ")
@example(" =1+1")
def test_a_guarded_cell_starts_no_formula_and_comes_back(text):
    cell = guard(text)
    assert not cell.lstrip(" ").startswith(tuple("=+-@\t\r\n＝＋－＠"))
    assert unguard(cell) == text


def test_csv_columns_stay():
    header = written(CsvWriter, []).read().decode().strip().split(",")
    assert header == list(COLUMNS)
    assert header[:5] == ["id", "kind", "occurred_at", "received_at", "external_id"]


def test_wrong_lines_are_named_and_the_others_read():
    source = io.BytesIO(
        b'\xef\xbb\xbf{"input":"a"}\n\n'
        b"not json\n"
        b'{"input":"b","colour":1}\n'
        b"[1]\n"
        b'{"occurred_at":"2025-06-30T12:00:00"}\n'
        b"\xff\n"
        b'{"input":"last"}'
    )
    lines = list(read_json_lines(source))
    assert [line.number for line in lines] == [1, 3, 4, 5, 6, 7, 8]
    assert [line.draft.input for line in lines if line.draft] == ["a", "last"]
    assert [line.error.field for line in lines if line.error] == [
        None, "colour", None, "occurred_at", None,
    ]  # fmt: skip


def test_a_line_too_long_is_refused_and_the_next_one_read(monkeypatch):
    monkeypatch.setattr("analect.sources.jsonl.MAX_LINE_BYTES", 40)
    source = io.BytesIO(b'{"input":"' + b"x" * 200 + b'"}\n{"input":"b"}\n')
    first, second = read_json_lines(source)
    assert first.error.code == "too_large"
    assert second.draft == Draft(input="b")


def test_deep_nesting_is_refused_not_fatal():
    (line,) = read_json_lines(io.BytesIO(b'{"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"))
    assert line.error is not None


def test_csv_made_by_hand():
    source = io.BytesIO(
        b"input,turn,success,tags,occurred_at\n"
        b'plain words,3,TRUE,"[""a""]",2025-06-30T12:00:00Z\n'
        b'"{""role"": ""user""}",,,,\n'
        b"x,three,,,\n"
        b"x,,maybe,,\n"
        b"x,,,a,\n"
        b"x\n"
    )
    lines = list(read_csv(source))
    assert lines[0].draft == Draft(
        input="plain words", turn=3, success=True, tags=["a"], occurred_at=1_751_284_800_000_000
    )
    assert lines[1].draft == Draft(input={"role": "user"})
    assert [(line.number, line.error.field) for line in lines[2:]] == [
        (4, "turn"), (5, "success"), (6, "tags"), (7, None),
    ]  # fmt: skip


@pytest.mark.parametrize("source", [b"", b"input,input\n1,2\n"])
def test_csv_needs_a_header(source):
    with pytest.raises(InvalidInput, match="header"):
        list(read_csv(io.BytesIO(source)))


def test_format_by_choice_then_by_name():
    assert format_of("a.csv", None) == "csv"
    assert format_of("a.parquet", "jsonl") == "jsonl"
    assert format_of("-", None) == "jsonl"
    with pytest.raises(InvalidInput):
        format_of("a.parquet", None, allowed=("jsonl", "csv"))


def one(**changes):
    return Record(**({"id": RecordId("0197c0a1-e07b-7000-8000-000000000001"), "kind": "task",
                      "occurred_at": AT, "received_at": AT} | changes))  # fmt: skip


def test_an_export_that_fails_leaves_the_file_that_was_there(tmp_path):
    target = tmp_path / "out.jsonl"
    target.write_text("before")

    def failing():
        yield one()
        raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        export_records(failing(), target, "jsonl")
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_an_export_into_no_folder_says_so(tmp_path):
    with pytest.raises(InvalidInput, match="cannot write"):
        export_records([], tmp_path / "absent" / "out.csv", "csv")


def test_parquet_has_typed_columns(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "out.parquet"
    held = one(tags=("a",), measures={"m": 1}, dimensions={"d": "x"}, input={"k": 1}, rating=5)
    assert export_records([held, one()], target, "parquet") == 2
    table = parquet.read_table(target)
    assert str(table.schema.field("occurred_at").type) == "timestamp[us, tz=UTC]"
    first = table.to_pylist()[0]
    assert first["tags"] == ["a"]
    assert first["measures"] == [("m", 1.0)]
    assert json.loads(first["input"]) == {"k": 1}
    assert first["rating"] == 5


def test_documents_go_beside_and_only_when_there_are_any(tmp_path):
    target = exchange.documents_beside(tmp_path / "me.csv")
    assert target.name == "me.documents.jsonl"
    assert export_documents([], target) == 0
    assert not target.exists()
    document = Document("user", "u1", 1, {"mail": "a@b.example"}, created_at=AT, updated_at=AT)
    assert export_documents([document], target) == 1
    assert json.loads(target.read_text())["body"] == {"mail": "a@b.example"}


class FakeStore:
    """Stores by id; another content is a conflict."""

    def __init__(self):
        self.held = {}
        self.erased = []

    def ingest(self, drafts):
        accepted = duplicates = 0
        rejected, ids = [], []
        for place, draft in enumerate(drafts):
            key = draft.id or draft.external_id
            held = self.held.setdefault(key, draft.input)
            if draft.rating == 6:
                del self.held[key]
                rejected.append(Rejection(place, key, "invalid", "rating must be 1-5", "rating"))
            elif held != draft.input:
                rejected.append(Rejection(place, key, "conflict", "taken", "id"))
            else:
                accepted += 1
            ids.append(key)
        return IngestResult(accepted, duplicates, tuple(rejected), tuple(ids))

    def erase(self, scope, target):
        self.erased.append((scope, target))
        del self.held[target]


def lines_of(*flats):
    return read_json_lines(io.BytesIO(b"\n".join(json.dumps(flat).encode() for flat in flats)))


def test_refused_lines_are_reported_without_their_values():
    refusals = []
    importer = Importer(FakeStore(), Progress(AT), refused=refusals.append)
    done = importer.run(lines_of({"id": "a", "rating": 6}, {"secret": 1}, {"id": "b", "input": 1}))
    assert (done.read, done.stored, done.refused) == (3, 1, 2)
    assert [(refusal.line, refusal.field) for refusal in refusals] == [(2, "secret"), (1, "rating")]


@pytest.mark.parametrize(
    ("choice", "kept", "replaced"), [("skip", "old", 0), ("replace", "new", 1)]
)
def test_conflicts_by_choice(choice, kept, replaced):
    store = FakeStore()
    store.held["a"] = "old"
    done = Importer(store, Progress(AT), on_conflict=choice).run(
        lines_of({"id": "a", "input": "new"})
    )
    assert store.held["a"] == kept
    assert (done.conflicts, done.replaced, done.refused) == (1, replaced, 0)


def test_a_conflict_can_stop_it_and_names_the_line():
    store = FakeStore()
    store.held["a"] = "old"
    with pytest.raises(Conflict, match="line 2"):
        Importer(store, Progress(AT), on_conflict="error").run(
            lines_of({"id": "b", "input": 1}, {"id": "a", "input": "new"})
        )
    assert store.held == {"a": "old", "b": 1}


def test_it_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("analect.sources.importing.BATCH", 2)
    checkpoint = Checkpoint(tmp_path / "imports", b"d" * 32)
    seen = []

    class Failing(FakeStore):
        def ingest(self, drafts):
            if len(seen) == 4:
                raise StoreUnavailable("gone")
            seen.extend(draft.id for draft in drafts)
            return super().ingest(drafts)

    flats = [{"input": n} for n in range(6)]
    with pytest.raises(StoreUnavailable):
        Importer(Failing(), Progress(AT), digest=b"d" * 32, checkpoint=checkpoint).run(
            lines_of(*flats)
        )
    earlier = checkpoint.load()

    assert (earlier.line, earlier.stored, earlier.read) == (4, 4, 4)
    store = FakeStore()
    rest = read_json_lines(
        io.BytesIO(b"\n".join(json.dumps(flat).encode() for flat in flats)), skip=earlier.line
    )
    done = Importer(store, earlier, digest=b"d" * 32, checkpoint=checkpoint).run(rest)
    assert (done.stored, done.read, len(store.held)) == (6, 6, 2)
    assert checkpoint.load() is None


def test_a_line_without_an_id_gets_the_same_one_every_time(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"input": 1}\n{"input": 2}\n')
    digest = digest_of(path, "store")
    stores = []
    for _ in range(2):
        store = FakeStore()
        with path.open("rb") as stream:
            Importer(store, Progress(AT), digest=digest).run(read_json_lines(stream))
        stores.append(store.held)
    assert stores[0] == stores[1]
    assert len(stores[0]) == 2
    assert digest_of(path, "other store") != digest
