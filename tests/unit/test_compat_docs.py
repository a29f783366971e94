"""The page of the older names has all of them."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from analect import compat
from analect.compat import backups, configuration, content, fields, incidents, moving

PAGE = (Path(__file__).parents[2] / "docs/reference/compat.md").read_text("utf-8")


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *compat.__all__,
            *incidents.__all__,
            *content.__all__,
            *moving.__all__,
            *backups.__all__,
            *configuration._SHORT,
        }
    ),
)
def test_every_public_name_is_documented(name: str) -> None:
    if name in {"storage_path", "data_dir"}:
        return  # other words for storage_dir
    assert f"`{name}" in PAGE


@pytest.mark.parametrize(
    "name", [name for name in vars(compat.AnalysisServiceIntegration) if name[0] != "_"]
)
def test_every_method_is_documented(name: str) -> None:
    if name not in {"settings", "store_once", "find"}:
        assert f"`{name}(" in PAGE


@pytest.mark.parametrize("table", [fields._OLDER, fields._NUMBERS])
def test_every_older_name_of_a_field_is_documented(table: dict[str, tuple[str, ...]]) -> None:
    for field, names in table.items():
        for name in names:
            assert name == field or f"`{name}`" in PAGE


def test_signatures_are_those_older_programs_call() -> None:
    def names(function: object) -> list[str]:
        return [name for name in inspect.signature(function).parameters if name != "self"]  # type: ignore[arg-type]

    integration = compat.AnalysisServiceIntegration
    task = ["task_description", "task_id", "task_name", "variables", "response_data"]
    task += ["service_name", "thread_id", "tags", "session_id", "process_instance_id"]
    assert names(integration.store_task_analysis)[:10] == task
    assert names(integration.search_analyses)[:3] == ["query", "tags", "limit"]
    assert names(integration.get_thread_conversation) == ["thread_id"]
    assert names(integration.process_pending_analyses) == ["processor_type", "limit"]
    assert names(integration.reprocess_analysis) == ["analysis_id", "processors"]
    saved = incidents.save_incident_and_analysis_to_sqlite_db
    assert names(saved)[:3] == ["incident", "analysis", "model_name"]
    indexed = incidents.add_incident_to_faiss_history_index
    assert names(indexed) == ["incident_id", "analysis"]
    run = ["request_id", "model_name", "input_tokens", "output_tokens", "start_time", "end_time"]
    assert names(incidents.save_run_metadata)[:6] == run
    assert names(incidents.cache_result)[0] == "ttl_seconds"
    assert names(content.get_user_stories) == ["user_id", "status", "limit"]
