"""What older programs kept comes in through the one intake, once, and can be taken back."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analect.cli.app import app
from analect.compat.migrating.migration import Migration, Options, Report, roll_back
from analect.compat.migrating.sinks import Journaled
from analect.compat.migrating.tables import open_tables
from analect.lifecycle.retention.policy import Selector
from analect.model.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from analect.model.flat import parse_time
from analect.model.query import PageRequest, RecordFilter
from analect.model.record import Record
from analect.service import AnalysisService
from analect.settings import Settings

OLDER = Path(__file__).parent / "older"
MAIL = "anna.berg@example.org"
UNDATED = parse_time("2024-02-29T12:00:00Z", field="undated")

pytestmark = pytest.mark.usefixtures("commands_without_logs")


def database(folder: Path, name: str) -> Path:
    """A file of an older layout."""
    path = folder / f"{name}.db"
    connection = sqlite3.connect(path)
    connection.executescript((OLDER / f"{name}.sql").read_text("utf-8"))
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def quiet_store(settings: Settings) -> Iterator[AnalysisService]:
    """Open, with nothing in the background."""
    with AnalysisService.open(settings) as service:
        yield service


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[AnalysisService]:
    """The same on SQLite alone, without indexes."""
    with AnalysisService.open(plain_settings(tmp_path)) as service:
        yield service


def plain_settings(folder: Path) -> Settings:
    return Settings(
        home=folder / "home",
        keys={"ring": folder / "ring"},
        index={"text": False, "vectors": False, "graph": False},
    )


def bring(
    service: AnalysisService, source: Any, home: Path, refused: list[Any] | None = None, **options
) -> Report:
    with open_tables(source) as tables:
        migration = Migration(
            service,
            tables,
            home,
            Options(**options),
            clock=service.clock,
            random_bytes=os.urandom,
        )
        if refused is not None:
            migration.refused = refused.append
        return migration.run()


def kept(service: AnalysisService, kind: str) -> list[Record]:
    """Oldest first."""
    where = RecordFilter(equals={"kind": kind})
    return list(service.list(where, PageRequest(limit=100, descending=False)).items)


def counted(report: Report) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    return {
        (one.table, one.into): (one.stored, one.duplicates, one.conflicts, one.refused)
        for one in report.tables
    }


# -- each layout -----------------------------------------------------------------------------


def test_a_log_of_interactions_comes_in_once_and_can_be_taken_back(
    quiet_store: AnalysisService, settings: Settings, tmp_path: Path
) -> None:
    service, home = quiet_store, settings.home
    path = database(tmp_path, "user_interactions")
    dry = bring(service, path, home, dry_run=True)
    assert (dry.outcome, dry.stored, dry.refused) == ("dry-run", 4, 1)
    assert kept(service, "interaction") == []
    assert not service.older.reports()

    refused: list[Any] = []
    report = bring(service, path, home, refused)
    assert counted(report) == {
        ("sessions", "documents"): (1, 0, 0, 0),
        ("user_interactions", "records"): (3, 0, 0, 1),
    }
    assert [one.expired for one in report.tables] == [1, 0]
    assert (report.outcome, report.left_alone) == ("partial", {"schema_version": 1})
    assert [(one.place, one.line, one.field) for one in refused] == [
        ("user_interactions", 4, "occurred_at")
    ]
    assert service.older.reports()[0]["migration"] == report.migration

    first, second, third = kept(service, "interaction")
    assert first.input.startswith("Mail me at <email:")
    assert (first.model, first.rating, first.duration_ms) == ("model-1", 5, 1250.0)
    assert first.dimensions == {"user_role": "engineer", "query_type": "how-to", "language": "en"}
    assert first.measures == {"response_length": 7, "tokens_used": 40}
    assert first.attributes == {"page": "/help"}
    assert second.success is False
    assert second.attributes == {"metadata": "not json"}
    assert third.attributes == {"user_rating": 9}
    assert third.occurred_at == parse_time("2024-02-29T09:02:00Z", field="at")
    assert [one.id for one in service.export(RecordFilter(equals={"subject": MAIL}))]
    document = service.get_document("session", "s-1")
    assert document.body["data"] == {"theme": "dark"}

    again = bring(service, path, home, undated=UNDATED)
    assert counted(again) == {
        ("sessions", "documents"): (0, 1, 0, 0),
        ("user_interactions", "records"): (1, 3, 0, 0),
    }
    back = roll_back(service, home, report.migration, clock=service.clock, random_bytes=os.urandom)
    assert (back.records, back.documents, back.held, back.changed) == (4, 1, 0, 0)
    assert kept(service, "interaction") == []
    with pytest.raises(NotFound):
        service.get_document("session", "s-1")
    with pytest.raises(NotFound, match="nothing is known"):
        roll_back(service, home, report.migration, clock=service.clock, random_bytes=os.urandom)


def test_incidents_come_as_documents_and_their_analyses_as_records(
    small_store: AnalysisService, tmp_path: Path
) -> None:
    report = bring(small_store, database(tmp_path, "incidents"), tmp_path / "home")
    assert counted(report) == {
        ("incidents", "documents"): (2, 0, 0, 0),
        ("analyses", "records"): (2, 0, 0, 0),
        ("run_metadata", "records"): (1, 0, 0, 0),
        ("incidents", "records"): (1, 0, 0, 0),
    }
    body = small_store.get_document("incident", "INC7").body
    assert body["incident"]["caller_id"] == MAIL
    assert body["incident"]["site"] == "Lyon"
    assert body["analysis"] == {"root_cause": "mail queue", "fix": "purge"}
    assert body["model_name"] == "model-2"
    older, newer, unanalysed = kept(small_store, "incident")
    assert [one.external_id for one in (older, newer, unanalysed)] == ["INC7", "INC7", "INC8"]
    assert (older.confidence, older.output["fix"]) == (0.6, "rotate")
    assert "anna.berg" not in str(older)
    assert unanalysed.output is None
    (run,) = kept(small_store, "llm_call")
    assert (run.external_id, run.duration_ms, run.input_tokens) == ("r-1", 2500.0, 100)


def test_analyses_come_without_their_queues(small_store: AnalysisService, tmp_path: Path) -> None:
    report = bring(small_store, database(tmp_path, "analyses"), tmp_path / "home")
    assert (report.outcome, report.waiting) == ("complete", {"vector_queue": 1, "graph_queue": 1})
    first, second = kept(small_store, "task")
    assert first.external_id == second.external_id == "task-17"
    assert (first.variables, first.output) == ({"amount": 12.5}, {"verdict": "approved"})
    assert (first.tags, second.tags) == (("invoice",), ("second",))
    assert small_store.thread("t-17", PageRequest(descending=False)).items == (first, second)


def test_exported_memory_comes_in_whatever_its_shape(
    small_store: AnalysisService, tmp_path: Path
) -> None:
    report = bring(small_store, OLDER / "memory.json", tmp_path / "home")
    assert counted(report) == {
        ("users", "documents"): (2, 0, 0, 0),
        ("stories", "documents"): (1, 0, 0, 0),
        ("conversations", "records"): (2, 0, 0, 0),
        ("events", "records"): (1, 0, 0, 1),
    }
    assert report.left_alone == {"counters": 1}
    assert small_store.get_document("user", MAIL).body["name"] == "Anna Berg"
    assert small_store.get_document("story", "st-1").status == "draft"
    asked, answered = small_store.thread("t-1", PageRequest(descending=False)).items
    assert (asked.role, answered.output) == ("user", "In Lyon.")
    journal = (tmp_path / "home/migrations" / f"{report.migration}.jsonl").read_text()
    assert MAIL not in journal
    back = roll_back(
        small_store,
        tmp_path / "home",
        report.migration,
        clock=small_store.clock,
        random_bytes=os.urandom,
    )
    assert (back.records, back.documents) == (3, 3)


# -- again, broken off, changed --------------------------------------------------------------


def many(count: int) -> dict[str, Any]:
    return {
        "interactions": [
            {"id": f"i-{n}", "user_input": f"question {n}", "timestamp": 1_700_000_000 + n}
            for n in range(count)
        ]
    }


def test_a_migration_that_broke_off_goes_on_and_is_taken_back_whole(
    small_store: AnalysisService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, state = tmp_path / "home", many(1100)
    store, batches = Journaled.ingest, []

    def failing(sink: Journaled, drafts: Any) -> Any:
        batches.append(len(drafts))
        done = store(sink, drafts)
        if len(batches) == 2:  # stored, and its checkpoint was not written
            raise StoreUnavailable("the disk is full")
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Journaled, "ingest", failing)
        with pytest.raises(StoreUnavailable):
            bring(small_store, state, home)
    report = bring(small_store, state, home)
    (table,) = report.tables
    assert table.resumed_behind == 500
    assert (table.read, table.stored, table.duplicates) == (1100, 600, 500)
    assert small_store.status()["store"]["records"] == 1100
    back = roll_back(
        small_store, home, report.migration, clock=small_store.clock, random_bytes=os.urandom
    )
    assert back.records == 1100


def test_what_was_there_before_stays_when_a_migration_is_taken_back(
    small_store: AnalysisService, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    bring(small_store, many(10), home)
    small_store.put_document("user", "u-1", {"user_id": "u-1", "name": "new"})
    state = many(20) | {"users": [{"user_id": "u-1", "name": "old"}, {"user_id": "u-2"}]}
    report = bring(small_store, state, home)
    assert counted(report)["users", "documents"] == (1, 0, 1, 0)
    assert counted(report)["interactions", "records"] == (10, 10, 0, 0)
    small_store.put_document("user", "u-2", {"user_id": "u-2", "name": "changed since"})
    back = roll_back(
        small_store, home, report.migration, clock=small_store.clock, random_bytes=os.urandom
    )
    assert (back.records, back.documents, back.changed) == (10, 0, 1)
    assert len(kept(small_store, "interaction")) == 10
    assert small_store.get_document("user", "u-1").body["name"] == "new"


def test_a_changed_row_is_a_conflict_that_is_settled_as_asked(
    small_store: AnalysisService, tmp_path: Path
) -> None:
    home, changed = tmp_path / "home", many(2)
    bring(small_store, changed, home)
    users = {"users": [{"user_id": "u-1", "name": "old"}]}
    bring(small_store, users, home)
    changed["interactions"][0] |= {"key": "x", "rating": 4}
    # By its content a row of a list is another one; by its key in an object it is the same.
    keyed = {"interactions": {"a": {"user_input": "one", "timestamp": 1_700_000_000}}}
    bring(small_store, keyed, home)
    keyed["interactions"]["a"]["rating"] = 4
    keyed["users"] = {"u-1": {"user_id": "u-1", "name": "newer"}}
    skipped = bring(small_store, keyed, home)
    assert skipped.outcome == "partial"
    assert [one.conflicts for one in skipped.tables] == [1, 1]
    with pytest.raises(Conflict, match="another body"):
        bring(small_store, keyed, home, on_conflict="error")
    replaced = bring(small_store, keyed, home, on_conflict="replace")
    assert (replaced.outcome, [one.replaced for one in replaced.tables]) == ("complete", [1, 1])
    assert [one.rating for one in kept(small_store, "interaction")].count(4) == 1
    assert small_store.get_document("user", "u-1").body["name"] == "newer"


def test_a_legal_hold_keeps_what_is_taken_back(
    quiet_store: AnalysisService, settings: Settings
) -> None:
    state = many(3)
    state["interactions"][1]["tags"] = ["case-7"]
    report = bring(quiet_store, state, settings.home)
    quiet_store.retention.hold("case", Selector(tags=("case-7",)))
    options: dict[str, Any] = {"clock": quiet_store.clock, "random_bytes": os.urandom}
    back = roll_back(quiet_store, settings.home, report.migration, **options)
    assert (back.records, back.held) == (2, 1)
    quiet_store.retention.release("case")
    again = roll_back(quiet_store, settings.home, report.migration, **options)
    assert (again.records, again.held) == (1, 0)


# -- what cannot be read ---------------------------------------------------------------------


def test_what_is_no_older_data_is_refused_with_what_would_be(
    small_store: AnalysisService, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    listed = tmp_path / "list.json"
    listed.write_text("[1]")
    cut = tmp_path / "cut.db"
    cut.write_bytes(database(tmp_path, "analyses").read_bytes()[:5000])
    for path, said in (
        (text, "neither an SQLite database nor JSON"),
        (listed, "must hold a JSON object"),
        (tmp_path / "absent.db", "cannot read"),
        (cut, "cannot be read"),
    ):
        with pytest.raises(InvalidInput, match=said):
            bring(small_store, path, home)
    with pytest.raises(InvalidInput, match="known are"):
        bring(small_store, {"counters": {"a": {"n": 1}}}, home)


def test_the_command_migrates_reports_and_takes_back(tmp_path: Path) -> None:
    variables = {
        "ANALECT_HOME": str(tmp_path / "home"),
        "ANALECT_KEYS__RING": str(tmp_path / "ring"),
        "ANALECT_INDEX__TEXT": "false",
        "ANALECT_INDEX__VECTORS": "false",
        "ANALECT_INDEX__GRAPH": "false",
    }

    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["migrate-data", *words], env=variables)
        assert done.exit_code == code, (done.output, done.exception)
        return done

    path, errors = database(tmp_path, "user_interactions"), tmp_path / "errors.jsonl"
    done = run(str(path), "--errors", str(errors), code=4)
    assert "user_interactions" in done.stdout
    refusal = json.loads(errors.read_text())
    assert refusal["row"] == 4
    assert MAIL not in errors.read_text() + done.output
    report = json.loads(run(str(path), "--undated", "2024-02-29", "--json").stdout)
    assert report["outcome"] == "complete"
    (newest, *_) = json.loads(run("--reports", "--json").stdout)["items"]
    assert newest["migration"] == report["migration"]
    back = json.loads(run("--rollback", report["migration"], "--json").stdout)
    assert (back["records"], back["documents"]) == (4, 1)
    run("--rollback", report["migration"], code=4)
    run(code=2)
