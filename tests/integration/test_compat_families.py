"""Programs that analyse incidents and content applications, by the names they call."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydantic
import pytest

from analect.compat import (
    backups,
    close_analysis_service,
    content,
    get_analysis_service,
    incidents,
    moving,
    process,
)
from analect.model.errors import ConfigurationError, Conflict, InvalidInput, TerminalError
from analect.model.query import PageRequest, RecordFilter

MAIL = "bob.tanner@example.org"


@pytest.fixture(autouse=True)
def environment(older_program: Callable[[str], None]) -> None:
    older_program("ANALECT_HOME")


def incident(number: str, title: str, **more: Any) -> dict[str, Any]:
    return {"number": number, "short_description": title, "priority": "2", **more}


def kept(kind: str) -> list[Any]:
    return get_analysis_service().list(RecordFilter(equals={"kind": kind}), PageRequest()).items


# -- incidents -------------------------------------------------------------------------------


def test_an_incident_comes_back_as_it_was_and_its_record_without_personal_data() -> None:
    incidents.init_db("incidents.db")
    incidents.init_db()
    given = incident("INC7", "disk full on the mail server", caller_id=MAIL, opened_at="2025-01-02")
    analysis = {"root_cause": "logs", "confidence": 0.8, "ask": MAIL}
    first = incidents.save_incident_and_analysis_to_sqlite_db(given, analysis, "model-1")
    again = incidents.save_incident_and_analysis_to_sqlite_db(given, analysis, "model-1")
    assert first == again
    assert incidents.get_incident("INC7") == {
        "incident_id": "INC7",
        "incident": given,
        "analysis": analysis,
        "model_name": "model-1",
    }
    (record,) = kept("incident")
    assert record.id == first
    assert (record.external_id, record.model, record.confidence) == ("INC7", "model-1", 0.8)
    assert record.dimensions == {"priority": "2"}
    assert record.output["ask"].startswith("<email:")
    assert incidents.get_incident("INC8") is None
    get_analysis_service().erase("subject", MAIL)
    assert incidents.get_incident("INC7") is None


def test_precedents_are_found_by_meaning_each_once() -> None:
    save = incidents.save_incident_and_analysis_to_sqlite_db
    save(incident("INC1", "database connection pool exhausted"), {"fix": "raise the pool"}, "m")
    save(incident("INC2", "printer out of paper"), {"fix": "add paper"}, "m")
    saved = save(incident("INC3", "too many database connections"), {"fix": "close them"}, "m")
    assert incidents.add_incident_to_faiss_history_index("INC3", {"fix": "close them"}) == saved
    incidents.add_incident_to_faiss_history_index("INC3", {"fix": "close database connections"})
    incidents.add_incident_to_faiss_history_index("INC4", "the office cat sat on the database")
    found = incidents.search_incident_history("the database has no free connections", limit=2)
    assert {one["incident_id"] for one in found} == {"INC1", "INC3"}
    assert found[0]["score"] >= found[1]["score"]
    asking = incident("INC1", "database connection pool exhausted")
    others = incidents.search_incident_history(asking, limit=10, exclude=["INC4"])
    assert [one["incident_id"] for one in others] == ["INC3", "INC2"]
    assert others[1]["analysis"] == {"fix": "add paper"}
    assert others[1]["incident"]["short_description"] == "printer out of paper"
    assert incidents.search_incident_history("database", priority="1") == []
    assert incidents.search_incident_history("database", min_score=1.1) == []


def test_precedents_are_found_by_words_where_there_are_no_vectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ENABLE_VECTOR_STORE", "false")
    incidents.add_incident_to_faiss_history_index("INC1", "the pool of connections is exhausted")
    found = incidents.search_incident_history(incident("INC2", "connections are refused"))
    assert [one["incident_id"] for one in found] == ["INC1"]


def test_incidents_come_as_rows_models_and_objects() -> None:
    class Model(pydantic.BaseModel):
        incident_id: int
        title: str

    @dataclasses.dataclass
    class Plain:
        id: str
        raised: datetime

    with sqlite3.connect(":memory:") as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute("SELECT 'R1' AS number, 'a row' AS title").fetchone()
    connection.close()
    for given in (row, Model(incident_id=5, title="x"), Plain("P1", datetime(2025, 1, 1))):  # noqa: DTZ001
        incidents.save_incident_and_analysis_to_sqlite_db(given, "fine", "m")
    assert {record.external_id for record in kept("incident")} == {"R1", "5", "P1"}
    with pytest.raises(InvalidInput) as caught:
        incidents.save_incident_and_analysis_to_sqlite_db({"title": "nameless"}, "x", "m")
    assert caught.value.field == "incident_id"


def test_a_backup_is_kept_by_itself_and_in_no_file_in_clear(tmp_path: Path) -> None:
    given = incident("INC9", "zebrafish alarm")
    assert incidents.save_incident_analysis_backup_json(given, {"a": 1}, "m", note="x") == "INC9"
    assert incidents.get_incident_analysis_backup("INC9") == {
        "incident_id": "INC9",
        "incident": given,
        "analysis": {"a": 1},
        "model_name": "m",
        "note": "x",
    }
    assert incidents.save_incident_analysis_backup_json("INC10", "text") == "INC10"
    assert incidents.get_incident_analysis_backup("INC11") is None
    process.close_all()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(b"zebrafish" in content for content in files)


def test_a_run_is_kept_once_with_its_figures() -> None:
    start = datetime(2025, 6, 30, 12)  # noqa: DTZ001
    first = incidents.save_run_metadata("req-1", "m", 10, 20, start, start + timedelta(seconds=2))
    again = incidents.save_run_metadata(
        "req-1", "m", 10, 20, "2025-06-30T12:00:00Z", "2025-06-30T12:00:02Z"
    )
    assert first == again
    (record,) = kept("llm_call")
    assert (record.input_tokens, record.output_tokens, record.duration_ms) == (10, 20, 2000.0)
    assert record.occurred_at == 1_751_284_800_000_000
    with pytest.raises(Conflict):
        incidents.save_run_metadata("req-1", "m", 11, 20, start, start)
    assert incidents.save_run_metadata("req-2", "m") != incidents.save_run_metadata("req-2", "m")


# -- content applications ----------------------------------------------------------------------


def test_what_is_saved_comes_back_as_it_was() -> None:
    layer = content.init_data_layer({"whatever": 1})
    user = {"id": MAIL, "email": MAIL, "name": "Bob", "settings": {"dark": True, "size": 1.5}}
    assert content.save_user(user) == MAIL
    assert content.get_user(MAIL) == user
    assert content.get_user("nobody") is None
    assert content.get_user(None) is None
    assert content.save_story(7, {"title": "T"}, user_id=MAIL) == "7"
    assert content.get_story(7) == {"story_id": "7", "title": "T", "user_id": MAIL}
    made = content.save_story({"title": "no id"})
    story = content.get_story(made)
    assert story is not None
    assert story["story_id"] == made
    assert layer.users.list() == [user]
    assert layer.users.delete(MAIL) is True
    assert layer.users.delete(MAIL) is False
    with pytest.raises(InvalidInput):
        content.save_user(None)


def test_stories_of_a_user_by_status_newest_first() -> None:
    for n in range(5):
        status = "draft" if n % 2 else "published"
        content.save_story({"id": n, "user_id": MAIL, "status": status})
    content.save_story({"id": "other", "user_id": "someone", "status": "draft"})
    ids = [story["id"] for story in content.get_user_stories(MAIL)]
    assert ids == [4, 3, 2, 1, 0]
    assert [s["id"] for s in content.get_user_stories(MAIL, "published", 2)] == [4, 2]
    assert content.update_status(4, "archived") is True
    assert content.update_status("none", "archived") is False
    assert [s["id"] for s in content.get_user_stories(MAIL, status="archived")] == [4]
    assert [s["id"] for s in content.get_user_stories(MAIL, "published")] == [2, 0]
    assert content.get_user_stories(None) == []
    assert content.get_user_stories(MAIL, limit=0) == []


def test_nobodys_change_is_lost() -> None:
    content.save_story({"id": "s", "count": 0})

    def count(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "count": body["count"] + 1}

    with ThreadPoolExecutor(4) as pool:
        stories = content.StoryRepository()
        assert all(pool.map(lambda _: stories.change("s", count), range(8)))
    story = content.get_story("s")
    assert story is not None
    assert story["count"] == 8


def test_a_session_that_expired_or_ended_is_not_active() -> None:
    now = datetime.now(UTC)
    for name, more in {
        "open": {},
        "timed": {"expires_at": (now + timedelta(hours=1)).isoformat()},
        "old": {"expires_at": (now - timedelta(seconds=1)).replace(tzinfo=None).isoformat()},
        "off": {"is_active": False},
        "ended": {"status": "ended"},
        "other": {"user_id": "someone"},
    }.items():
        content.save_session({"session_id": name, "user_id": "u", **more})
    active = [session["session_id"] for session in content.get_active_sessions("u")]
    assert active == ["timed", "open"]
    assert len(content.get_active_sessions()) == 3
    assert len(content.get_active_sessions("u", 1)) == 1
    assert content.get_session("old") is None
    assert content.cleanup_expired_sessions() in {0, 1}  # the store may have been first
    assert content.cleanup_expired_sessions() == 0
    assert content.get_session("timed") is not None


def test_a_batch_is_looked_at_before_any_of_it_is_saved() -> None:
    assert content.save_batch([{"id": 1}, {"id": 2}]) == ["1", "2"]
    assert content.save_batch("users", [{"id": "u"}]) == ["u"]
    assert content.get_user("u") == {"id": "u"}
    with pytest.raises(InvalidInput):
        content.save_batch([{"id": 3}, None])
    assert content.get_story(3) is None
    with pytest.raises(InvalidInput):
        content.save_batch([], kind="nonsense")


def test_events_and_calls_are_records_without_personal_data() -> None:
    content.track_event("story_opened", MAIL, {"story": 7, "mail": MAIL}, session_id="s")
    content.track_event({"event_type": "login", "user_id": MAIL, "data": {"ok": True}})
    opened, login = sorted(kept("event"), key=lambda record: record.name, reverse=True)
    assert (opened.name, opened.attributes["story"]) == ("story_opened", 7)
    assert opened.attributes["mail"].startswith("<email:")
    assert opened.subject == login.subject
    assert opened.subject.startswith("<subject:")
    assert login.attributes == {"ok": True}
    content.track_api_call("/v1/stories", "GET", 503, 12.5, error="down")
    content.track_api_call("openai", model="m", prompt_tokens=3, cost=0.1)
    by_name = {record.name: record for record in kept("api_call")}
    failed = by_name["/v1/stories"]
    assert (failed.success, failed.duration_ms, failed.status) == (False, 12.5, "503")
    assert failed.dimensions == {"method": "GET", "status_code": "503"}
    assert by_name["openai"].success is True
    assert by_name["openai"].input_tokens == 3
    assert len(content.save_batch([{"event": "a"}, {"event": "b"}], kind="event")) == 2


def test_health_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert content.get_health_status() == {"status": "healthy", "healthy": True, "reasons": []}
    close_analysis_service()
    monkeypatch.setenv("ANALECT_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    broken = content.get_health_status()
    assert broken["status"] == "unhealthy"
    assert broken["reasons"]


# -- data from before ------------------------------------------------------------------------


def test_state_in_memory_goes_out_comes_in_and_is_taken_back(tmp_path: Path) -> None:
    class Program:
        def __init__(self) -> None:
            self.users = {MAIL: {"name": "Bob"}}
            self.interactions = [{"user_input": f"ask {MAIL}", "timestamp": 1_700_000_000}]
            self.retries = 3

    path = tmp_path / "state.json"
    state = moving.export_in_memory_data(path, Program())
    assert state.keys() == {"users", "interactions"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert moving.run_migration(path, dry_run=True)["outcome"] == "dry-run"
    report = moving.run_migration(path)
    assert [table["stored"] for table in report["tables"]] == [1, 1]
    assert content.get_user(MAIL) == {"user_id": MAIL, "name": "Bob"}
    (record,) = kept("interaction")
    assert record.input.startswith("ask <email:")
    content.track_event("login", user_id=MAIL)
    held = moving.export_in_memory_data()
    assert [user["name"] for user in held["users"]] == ["Bob"]
    assert [event["event_type"] for event in held["events"]] == ["login"]
    back = moving.rollback_migration(report["migration"])
    assert (back["records"], back["documents"]) == (1, 1)
    assert content.get_user(MAIL) is None
    again = moving.run_migration(held)
    assert [table["stored"] for table in again["tables"]] == [1, 1]
    with pytest.raises(InvalidInput, match="known collections"):
        moving.run_migration({"counters": {"n": 1}})


# -- backups ---------------------------------------------------------------------------------


def test_backups_are_made_listed_and_restored_by_their_older_names(tmp_path: Path) -> None:
    content.save_user("u-1", {"name": "Bob"})
    with pytest.raises(ConfigurationError, match=r"backup\.place"):
        backups.list_available_backups()
    place = tmp_path / "backups"
    with pytest.raises(TerminalError, match="export-recovery"):
        backups.create_backup("full", place)
    made = backups.create_backup("full", place, i_have_the_recovery_key=True)
    (listed,) = backups.list_available_backups(place)
    assert (listed["id"], listed["state"]) == (made["id"], "COMPLETED")
    with pytest.raises(InvalidInput, match="say where to"):
        backups.restore_from_backup(made["id"], destination=place)
    restored = backups.restore_from_backup(made["id"], tmp_path / "restored", destination=place)
    assert restored["rows"]["documents"] == 1
    content.save_user("u-1", {"name": "changed"})
    backups.restore_from_backup(destination=place, replace=True)
    assert content.get_user("u-1") == {"user_id": "u-1", "name": "Bob"}
    with pytest.raises(InvalidInput, match="backup_type"):
        backups.create_backup("hourly", place)
