"""OpenAI-style requests and responses, read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from analect.compat.openai import interaction_of

ASKED: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
    "temperature": 0.2,
    "user": "u-1",
    "stop": None,
}


def answer(**message: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "choices": [{"finish_reason": "stop", "message": {"role": "assistant", **message}}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }


def test_a_chat_completion() -> None:
    found = interaction_of(ASKED, answer(content="hello", tool_calls=None))
    assert found["input"] == ASKED["messages"]
    assert found["output"] == "hello"
    assert (found["model"], found["role"], found["subject"]) == ("m", "assistant", "u-1")
    assert (found["input_tokens"], found["output_tokens"]) == (9, 3)
    assert found["measures"] == {"total_tokens": 12, "cached_tokens": 4}
    assert found["variables"] == {"temperature": 0.2}
    assert (found["status"], found["success"]) == ("stop", True)


def test_tool_calls_are_kept() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    found = interaction_of(ASKED, answer(content=None, tool_calls=calls))
    assert found["output"] == {"tool_calls": calls}


def test_objects_of_a_client_library() -> None:
    response = SimpleNamespace(
        id="c",
        model="m-2",
        choices=[
            SimpleNamespace(
                finish_reason="length",
                message=SimpleNamespace(role="assistant", content="cut", tool_calls=None),
            )
        ],
        usage=SimpleNamespace(prompt_tokens=1, completion_tokens=2, total_tokens=3),
    )
    found = interaction_of(SimpleNamespace(**ASKED), response)
    assert found["input"] == ASKED["messages"]
    assert (found["output"], found["model"], found["status"]) == ("cut", "m-2", "length")
    assert (found["input_tokens"], found["output_tokens"]) == (1, 2)


def test_several_choices_are_a_list() -> None:
    response = {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}
    assert interaction_of(ASKED, response)["output"] == ["a", "b"]


def test_the_responses_api() -> None:
    found = interaction_of(
        {"model": "m", "instructions": "be brief", "input": "hi", "temperature": 1},
        {
            "id": "r",
            "status": "completed",
            "output": [
                {"type": "reasoning", "summary": []},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "hello"}],
                },
            ],
            "usage": {
                "input_tokens": 4,
                "output_tokens": 8,
                "output_tokens_details": {"reasoning_tokens": 5},
            },
        },
    )
    assert found["input"] == {"instructions": "be brief", "input": "hi"}
    assert found["output"] == "hello"
    assert (found["status"], found["role"]) == ("completed", "assistant")
    assert (found["input_tokens"], found["output_tokens"]) == (4, 8)
    assert found["measures"] == {"reasoning_tokens": 5}
    assert found["variables"] == {"temperature": 1}


def test_a_function_call_of_the_responses_api_is_kept_whole() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    assert interaction_of("hi", {"output": [call]})["output"] == [call]


def test_a_completion_and_plain_texts() -> None:
    found = interaction_of({"prompt": "once", "model": "m"}, {"choices": [{"text": "upon"}]})
    assert (found["input"], found["output"]) == ("once", "upon")
    found = interaction_of("once", "upon")
    assert (found["input"], found["output"]) == ("once", "upon")
    found = interaction_of([{"role": "user", "content": "once"}], None)
    assert found == {"input": [{"role": "user", "content": "once"}]}


def test_a_stream_is_put_together() -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {
            "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            "usage": None,
        }

    def part(**function: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "function": function}]}

    chunks = [
        chunk({"role": "assistant", "content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f"}}]}),
        chunk(part(arguments='{"a"')),
        chunk(part(arguments=":1}"), "tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}},
    ]
    found = interaction_of(ASKED, chunks)
    assert found["output"]["content"] == "Hello"
    assert found["output"]["tool_calls"] == [
        {"type": "function", "id": "t", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]
    assert (found["status"], found["output_tokens"]) == ("tool_calls", 3)


def test_what_failed_says_so() -> None:
    found = interaction_of(ASKED, {"error": {"code": "rate_limit"}})
    assert (found["status"], found["success"]) == ("error", False)
    assert found["output"] == {"error": {"code": "rate_limit"}}
    found = interaction_of(ASKED, TimeoutError("too slow"))
    assert found["output"]["error"]["type"] == "TimeoutError"
    assert found["success"] is False
