"""The older analysis service, as a program that calls it sees it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analect.compat import (
    AnalysisServiceIntegration,
    get_analysis_service,
    get_service_integration_config,
)
from analect.model.errors import ConfigurationError, InvalidInput

FORKING = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
MAIL = "bob.tanner@example.org"


@pytest.fixture(autouse=True)
def environment(older_program: Callable[[str], None]) -> None:
    older_program("ANALYSIS_STORAGE_DIR")


def test_a_task_analysis_is_stored_found_and_read() -> None:
    service = get_analysis_service()
    analysis_id = service.store_task_analysis(
        "Check the invoice of the customer",
        "task-17",
        "invoice check",
        {"amount": 12.5, "mail": MAIL},
        {"verdict": "approved", "reason": "the zebra stamp is there"},
        "billing",
        "thread-1",
        ["invoice", "approved"],
        "session-1",
        "process-9",
    )
    assert isinstance(analysis_id, str)
    found = service.search_analyses("zebra stamp", ["invoice"], 5)
    assert [one["analysis_id"] for one in found] == [analysis_id]
    read = service.get_analysis_by_id(analysis_id)
    assert read is not None
    assert read["kind"] == "task"
    assert read["task_id"] == "task-17"
    assert read["task_name"] == "invoice check"
    assert read["task_description"] == "Check the invoice of the customer"
    assert read["response_data"]["verdict"] == "approved"
    assert read["variables"]["amount"] == 12.5
    assert read["variables"]["mail"].startswith("<email:")
    assert read["service_name"] == "billing"
    assert read["process_instance_id"] == "process-9"
    assert read["tags"] == ["invoice", "approved"]
    assert service.search_analyses("zebra stamp", ["other"], 5) == []


def test_what_was_just_stored_is_found_every_time() -> None:
    service = get_analysis_service()
    for n in range(5):
        stored = service.store_interaction(f"question about giraffe{n}", "an answer")
        assert service.search_analyses(f"giraffe{n}", limit=1)[0]["analysis_id"] == stored


def test_an_interaction_may_be_one_dict_and_a_dict_may_be_what_was_asked() -> None:
    service = get_analysis_service()
    whole = service.store_interaction(
        {"query": "why", "answer": "so", "user_id": "u"}, thread_id="t"
    )
    asked = service.store_interaction({"text": "why"}, thread_id="t")
    first, second = service.get_thread_conversation("t")
    assert [first["analysis_id"], second["analysis_id"]] == [whole, asked]
    assert (first["input"], first["output"]) == ("why", "so")
    assert first["user_id"].startswith("<subject:")
    assert (second["input"], second["output"]) == ({"text": "why"}, None)


def test_words_or_meaning_must_be_alike() -> None:
    service = get_analysis_service()
    stored = service.store_interaction("Refund for order 17 was paid", "fine")
    assert service.search_analyses("xyzzy plugh") == []
    for query in ("refund", "money back"):
        (found,) = service.search_analyses(query)
        assert found["analysis_id"] == stored
        assert found["explanation"]["rrf"] == found["score"]


def test_many_writes_are_waited_for() -> None:
    service = get_analysis_service()
    said = [{"input": f"herring {n}"} for n in range(2500)]
    assert len(set(service.store_many(said, kind="interaction"))) == 2500
    assert service.search_analyses("herring 2499", limit=1)[0]["input"] == "herring 2499"
    assert len(service.search_analyses("herring", limit=1000)) == 1000


def test_a_thread_is_a_conversation_in_order() -> None:
    service = get_analysis_service()
    stored = [service.store_interaction(f"q{n}", f"a{n}", thread_id=42) for n in range(5)]
    conversation = service.get_thread_conversation(42)
    assert [one["analysis_id"] for one in conversation] == stored
    assert [one["user_input"] for one in conversation] == ["q0", "q1", "q2", "q3", "q4"]
    assert conversation[0]["response"] == "a0"
    assert service.get_thread_conversation("nobody's") == []


def test_an_openai_call_brings_its_model_and_tokens() -> None:
    service = get_analysis_service()
    stored = service.store_openai_interaction(
        {"model": "gpt-x", "messages": [{"role": "user", "content": f"I am {MAIL}"}]},
        {
            "id": "c-1",
            "model": "gpt-x-2025",
            "choices": [
                {"finish_reason": "stop", "message": {"role": "assistant", "content": "Hello Bob"}}
            ],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        },
        thread_id="t",
        cost=0.002,
        duration_ms=340,
    )
    read = service.get_analysis_by_id(stored)
    assert read is not None
    assert (read["model"], read["role"], read["status"]) == ("gpt-x-2025", "assistant", "stop")
    assert (read["input_tokens"], read["output_tokens"], read["cost"]) == (5, 2, 0.002)
    assert read["response"] == "Hello Bob"
    assert read["input"][0]["content"].startswith("I am <email:")


def test_a_question_without_words_lists_the_newest_and_one_with_signs_only_is_answered() -> None:
    service = get_analysis_service()
    first = service.store_interaction("one", "1", tags="a, b")
    second = service.store_interaction("two", "2", tags=["a"])
    assert [one["analysis_id"] for one in service.search_analyses(tags=["a"])] == [second, first]
    assert [one["analysis_id"] for one in service.search_analyses("", ["b"])] == [first]
    assert service.search_analyses("?!") == []
    asked = service.search_analyses("two", service_name="none")
    assert asked == []


def test_pending_analyses_are_counted_and_one_can_go_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTO_PROCESS_ANALYSES", "false")
    service = get_analysis_service()
    stored = [service.store_interaction(f"walrus {n}", "x") for n in range(3)]
    assert service.process_pending_analyses("vector_store", 2) == 2
    assert service.process_pending_analyses() == 3
    assert service.process_pending_analyses() == 0
    assert len(service.search_analyses("walrus")) == 3
    assert service.reprocess_analysis(stored[0], ["text", "vector_store"]) is True
    assert service.process_pending_analyses("text") == 1
    assert service.reprocess_analysis(stored[0]) is True
    assert service.reprocess_analysis(stored[0], ["nothing such"]) is False
    assert service.reprocess_analysis("018f0000-0000-7000-8000-000000000000") is False
    assert service.reprocess_analysis("no id") is False
    assert service.get_analysis_by_id(None) is None


def test_there_is_one_service_a_process_and_one_store_for_the_same_settings(
    tmp_path: Path,
) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> AnalysisServiceIntegration:
        barrier.wait()
        return get_analysis_service()

    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(ask, range(8)))
    assert len({id(one) for one in asked}) == 1
    same = AnalysisServiceIntegration(**get_service_integration_config())
    stored = same.store_interaction("hello", "there")
    assert asked[0].get_analysis_by_id(stored) is not None
    other = AnalysisServiceIntegration(
        storage_dir=tmp_path / "other", keys={"ring": tmp_path / "other-ring"}, service_name="s"
    )
    assert other.get_analysis_by_id(stored) is None
    kept = other.get_analysis_by_id(other.store_interaction("a", "b"))
    assert kept is not None
    assert kept["service_name"] == "s"


def test_configuration_says_what_is_wrong_and_lets_the_unknown_pass() -> None:
    with pytest.raises(ConfigurationError):
        AnalysisServiceIntegration(process_batch_size="many")
    elsewhere = AnalysisServiceIntegration(qdrant_host="q", shiny_new_option=1, neo4j_uri=None)
    assert elsewhere.settings.qdrant.address == "http://q:6333"
    assert elsewhere.settings.graph.url is None
    config = get_service_integration_config()
    assert {"qdrant_host", "neo4j_uri", "redis_port", "process_interval"} <= config.keys()
    assert not {"neo4j_password", "qdrant_api_key", "redis_url"} & config.keys()
    assert config["enable_vector_store"] is True
    assert config["storage_dir"].endswith("home")


def test_the_methods_of_the_present_service_are_there_too() -> None:
    service = get_analysis_service()
    stored = service.store_interaction("hello", "there")
    assert service.get(stored).input == "hello"
    assert service.health().ready
    with pytest.raises(AttributeError):
        service.no_such_method  # noqa: B018


def test_a_program_that_says_nothing_prints_nothing(tmp_path: Path) -> None:
    program = """
import logging, sys
from analect.compat import AnalysisServiceIntegration
if "logs" in sys.argv:
    logging.basicConfig(level="INFO", stream=sys.stdout)
service = AnalysisServiceIntegration(colour="red")
service.store_interaction("hello", "there")
"""
    for arguments, printed in ((["none"], ""), (["logs"], "schema migrated")):
        environ = {
            **os.environ,
            "ANALECT_HOME": str(tmp_path / arguments[0]),
            "ANALECT_KEYS__RING": str(tmp_path / f"ring-{arguments[0]}"),
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert printed in done.stdout
        assert bool(printed) == bool(done.stdout)
        assert "Traceback" not in done.stderr


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        get_analysis_service().store_interaction("a", "b", rating=9)
    assert caught.value.field == "rating"


def test_it_is_called_from_an_event_loop() -> None:
    async def program() -> int:
        service = get_analysis_service()
        one = service.store_interaction("from a loop", "yes", thread_id="loop")
        two = await asyncio.to_thread(service.store_interaction, "from a thread", "too")
        return len({one, two}) + len(service.get_thread_conversation("loop"))

    assert asyncio.run(program()) == 3


@FORKING
def test_it_is_carried_over_forks() -> None:
    service = get_analysis_service()
    before = service.store_interaction("before", "the fork", thread_id="f")
    children = []
    for n in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                mine = get_analysis_service()
                seen = mine.get_analysis_by_id(before) is not None
                for k in range(10):
                    mine.store_interaction(f"child {n} {k}", "x", thread_id="f")
                status = 0 if seen and mine is service else 2
                mine.close()
            finally:
                os._exit(status)
        children.append(child)
    for k in range(10):
        service.store_interaction(f"parent {k}", "x", thread_id="f")
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert len(service.get_thread_conversation("f")) == 41


def stored_in_a_child(service: AnalysisServiceIntegration, said: str, thread: str) -> int:
    """Store something in a fork of this process; how that ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            service.store_interaction(said, "x", thread_id=thread)
            service.close()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@FORKING
def test_it_works_on_postgres_and_over_a_fork(postgres_url: str, tmp_path: Path) -> None:
    service = AnalysisServiceIntegration(
        storage_dir=tmp_path / "pg", keys={"ring": tmp_path / "pg-ring"}, database_url=postgres_url
    )
    try:
        service.store_interaction("before the fork", "x", thread_id="f")
        assert stored_in_a_child(service, "in the child", "f") == 0
        service.store_interaction("after the fork", "x", thread_id="f")
        assert len(service.get_thread_conversation("f")) == 3
        assert service.search_analyses("after the fork", limit=1)[0]["input"] == "after the fork"
    finally:
        service.close()


@FORKING
def test_a_fork_waits_for_calls_under_way() -> None:
    service = get_analysis_service()
    stop = threading.Event()
    stored: list[str] = []

    def write() -> None:
        while not stop.is_set():
            stored.append(service.store_interaction("busy", "bee", thread_id="busy"))

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(5):
            assert stored_in_a_child(service, "child", "busy") == 0
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert len(service.get_thread_conversation("busy")) == len(stored) + 5
