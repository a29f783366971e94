"""What an OpenAI-style request and response say: chat completions, responses, completions.

Both may be plain dicts or the objects of a client library. The shapes are those of the OpenAI API
reference (`Chat`, `Responses`, `Completions`), which many other vendors speak as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analect.compat.plain import mapping, number, plain, text
from analect.model.record import Json

_PROMPTS = ("messages", "input", "prompt")
_NO_PARAMETERS = frozenset({*_PROMPTS, "model", "user", "safety_identifier", "metadata", "stream"})
_DESCRIBING = ("id", "object", "created", "created_at", "system_fingerprint", "service_tier")


def interaction_of(request: Any, response: Any) -> dict[str, Any]:
    """The fields of a record, by their own names; what was not said is left out.

    Args:
        request: a request's body, a list of messages, or a prompt.
        response: a response's body, the list of a stream's chunks, a text, or ``None``.
    """
    asked = _request(request)
    answered = _response(response)
    usage = _object(answered.get("usage"))
    failed = answered.get("error")
    found: dict[str, Any] = {
        "input": _prompt(asked),
        "output": _output(answered),
        "variables": _parameters(asked),
        "model": text(answered.get("model")) or text(asked.get("model")),
        "subject": text(asked.get("user")) or text(asked.get("safety_identifier")),
        "role": _role(answered),
        "status": _status(answered),
        "success": None if response is None else not failed,
        "input_tokens": _count(usage, "prompt_tokens", "input_tokens"),
        "output_tokens": _count(usage, "completion_tokens", "output_tokens"),
        "cost": number(usage.get("cost")),
        "measures": _measures(usage),
        "attributes": _attributes(asked, answered),
    }
    return {name: value for name, value in found.items() if value not in (None, {}, [])}


def _request(request: Any) -> dict[str, Any]:
    if isinstance(request, str):
        return {"prompt": request}
    if isinstance(request, Sequence):
        return {"messages": request}
    return mapping(request) or {}


def _response(response: Any) -> dict[str, Any]:
    if isinstance(response, str):
        return {"choices": [{"message": {"role": "assistant", "content": response}}]}
    if isinstance(response, Sequence):
        return _whole([mapping(chunk) or {} for chunk in response])
    if isinstance(response, BaseException):
        return {"error": {"type": type(response).__name__, "message": str(response)}}
    return mapping(response) or {}


def _whole(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One response of the chunks of a stream (chat completions)."""
    whole: dict[str, Any] = {}
    pieces: dict[int, list[str]] = {}
    last: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        whole |= {name: value for name, value in chunk.items() if value is not None}
        for choice in _objects(chunk.get("choices")):
            place = choice.get("index") or 0
            delta = _object(choice.get("delta"))
            pieces.setdefault(place, []).append(delta.pop("content", None) or "")
            merged = last.setdefault(place, {"role": "assistant"})
            merged["tool_calls"] = _calls(
                merged.get("tool_calls", []), delta.pop("tool_calls", None)
            )
            merged |= {name: value for name, value in delta.items() if value is not None}
            merged["finish_reason"] = choice.get("finish_reason") or merged.get("finish_reason")
    whole["choices"] = [
        {
            "finish_reason": last[place].pop("finish_reason", None),
            "message": {**last[place], "content": "".join(pieces[place])},
        }
        for place in sorted(pieces)
    ]
    return whole


def _calls(known: list[dict[str, Any]], deltas: Any) -> list[dict[str, Any]]:
    """Tool calls put together: a stream gives their arguments in pieces."""
    for delta in _objects(deltas):
        place = delta.get("index") or 0
        while len(known) <= place:
            known.append({"type": "function", "function": {"name": "", "arguments": ""}})
        call, function = known[place], _object(delta.get("function"))
        if delta.get("id"):
            call["id"] = delta["id"]
        for name in ("name", "arguments"):
            call["function"][name] += function.get(name) or ""
    return known


def _prompt(asked: Mapping[str, Any]) -> Json:
    prompt = next((asked[name] for name in _PROMPTS if asked.get(name) is not None), None)
    instructions = asked.get("instructions")
    if instructions and "input" in asked:
        return {"instructions": plain(instructions), "input": plain(prompt)}
    return _trimmed(plain(prompt))


def _output(answered: Mapping[str, Any]) -> Json:
    if answered.get("error"):
        return {"error": plain(answered["error"])}
    choices = _objects(answered.get("choices"))
    if choices:
        said = [_said(choice) for choice in choices]
        return said[0] if len(said) == 1 else said
    items = _objects(answered.get("output"))
    if items:
        return _items(items)
    return plain(answered.get("output_text") or answered.get("content"))


def _said(choice: Mapping[str, Any]) -> Json:
    """The text of a choice, or its whole message where there is more than text in it."""
    message = _object(choice.get("message"))
    if not message:
        return plain(choice.get("text"))
    more = {
        name: value
        for name, value in message.items()
        if name not in {"role", "content"} and value not in (None, [], {})
    }
    content = message.get("content")
    return _trimmed(plain({"content": content, **more} if more else content))


def _items(items: Sequence[Mapping[str, Any]]) -> Json:
    """The output of the Responses API: its text, or all of it where there is more than text."""
    texts = []
    for item in items:
        if item.get("type", "message") == "reasoning" and not item.get("content"):
            continue
        parts = _objects(item.get("content"))
        if item.get("type", "message") != "message" or not parts:
            return _trimmed(plain(items))
        texts += [str(part.get("text") or part.get("refusal") or "") for part in parts]
    return plain("\n".join(texts))


def _parameters(asked: Mapping[str, Any]) -> dict[str, Json]:
    named = _NO_PARAMETERS | ({"instructions"} if "input" in asked else set())
    return {
        name: _trimmed(plain(value))
        for name, value in asked.items()
        if name not in named and value is not None
    }


def _role(answered: Mapping[str, Any]) -> str | None:
    for choice in _objects(answered.get("choices")):
        return text(_object(choice.get("message")).get("role")) or "assistant"
    for item in _objects(answered.get("output")):
        if role := text(item.get("role")):
            return role
    return "assistant" if answered.get("output") or answered.get("output_text") else None


def _status(answered: Mapping[str, Any]) -> str | None:
    if answered.get("error"):
        return "error"
    for choice in _objects(answered.get("choices")):
        return text(choice.get("finish_reason"))
    return text(answered.get("status"))


def _count(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        found = number(usage.get(name))
        if found is not None:
            return int(found)
    return None


def _measures(usage: Mapping[str, Any]) -> dict[str, float]:
    """Counts besides the two that have fields: ``total_tokens``, ``cached_tokens``, ..."""
    counts = {"total_tokens": usage.get("total_tokens")}
    for details in usage:
        if details.endswith("_details"):
            counts |= _object(usage[details])
    found = {name: number(value) for name, value in counts.items()}
    return {name: value for name, value in found.items() if value}


def _attributes(asked: Mapping[str, Any], answered: Mapping[str, Any]) -> dict[str, Json]:
    described = {name: plain(answered[name]) for name in _DESCRIBING if answered.get(name)}
    attributes: dict[str, Json] = {"response": described} if described else {}
    if asked.get("metadata"):
        attributes["metadata"] = plain(asked["metadata"])
    return attributes


def _object(value: Any) -> dict[str, Any]:
    return mapping(value) or {}


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [fields for part in value if (fields := mapping(part)) is not None]


def _trimmed(value: Json) -> Json:
    """Without the nulls that client libraries fill their objects with."""
    if isinstance(value, dict):
        return {name: _trimmed(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_trimmed(part) for part in value]
    return value
