"""Older names of a record's fields, in and out.

The older programs call one thing by many names (``user_input``, ``prompt``, ``query``). Each is
listed once, here; what has no field of its own goes into ``attributes`` under its own name, so
nothing that a program says is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from analect.compat.plain import mapping, moment, number, plain, text
from analect.model.errors import InvalidInput
from analect.model.flat import to_flat
from analect.model.ids import parse_id
from analect.model.query import RecordFilter
from analect.model.record import MAX_SHORT, MAX_TAGS, TEXT_FIELDS, Draft, Json, Record

_OLDER: dict[str, tuple[str, ...]] = {
    "input": (
        *("input", "user_input", "user_message", "input_text", "prompt", "query", "question"),
        *("request", "task_description", "messages"),
    ),
    "output": (
        *("output", "response", "assistant_response", "ai_response", "bot_response"),
        *("response_data", "response_text", "output_text", "answer", "completion", "result"),
    ),
    "variables": ("variables", "context"),
    "thread_id": ("thread_id", "conversation_id"),
    "session_id": ("session_id",),
    "process_id": ("process_id", "process_instance_id"),
    "parent_id": ("parent_id", "parent_interaction_id"),
    "trace_id": ("trace_id",),
    "span_id": ("span_id",),
    "subject": ("subject", "user_id", "user"),
    "project": ("project", "project_id"),
    "environment": ("environment",),
    "service": ("service", "service_name"),
    "name": ("name", "task_name", "operation"),
    "model": ("model", "model_name", "model_used"),
    "status": ("status",),
    "role": ("role",),
    "source": ("source",),
    "external_id": (
        *("external_id", "task_id", "interaction_id", "analysis_id", "request_id", "id"),
    ),
}
"""Field -> its names, the first that is said wins; the others stay in the attributes."""
SAYING = frozenset((*_OLDER["input"], *_OLDER["output"]))
"""The names of what was asked and answered."""
_NUMBERS: dict[str, tuple[str, ...]] = {
    "input_tokens": ("input_tokens", "prompt_tokens", "tokens_in"),
    "output_tokens": ("output_tokens", "completion_tokens", "tokens_out"),
    "duration_ms": (
        *("duration_ms", "response_time_ms", "latency_ms", "processing_time_ms"),
        *("execution_time_ms",),
    ),
    "cost": ("cost", "cost_usd", "total_cost"),
    "rating": ("rating",),
    "confidence": ("confidence", "confidence_score"),
    "turn": ("turn", "turn_number"),
}
_SECONDS = ("duration_seconds", "processing_time", "execution_time", "response_time", "duration")
"""Durations in seconds, as ``time.time()`` differences are."""
_WHOLE = frozenset({"input_tokens", "output_tokens", "rating", "turn"})
_WHEN = ("occurred_at", "timestamp", "created_at")
_EXTRAS = ("attributes", "metadata", "extra", "additional_data")
_JSON_FIELDS = frozenset({"input", "output", "variables"})
_IDS = frozenset(
    {"thread_id", "session_id", "process_id", "parent_id", "trace_id", "span_id", "external_id"}
) | {"subject"}


def draft_of(said: Mapping[str, Any], *, kind: str) -> Draft:
    """A draft of what an older program said, by any of the older names.

    ``None`` is "not said". Personal data is still in clear: the service takes it out.

    Raises:
        InvalidInput: a time is none; the rest is checked when it is stored.
    """
    left = {name: value for name, value in said.items() if value is not None}
    draft = Draft(kind=text(left.pop("kind", None)) or kind)
    attributes: dict[str, Json] = {}
    for field, names in _OLDER.items():
        taken = _take(left, names)
        if taken is not None:
            value = plain(taken) if field in _JSON_FIELDS else _short(field, taken, attributes)
            setattr(draft, field, value)
    for field, names in _NUMBERS.items():
        setattr(draft, field, _take_number(left, names, whole=field in _WHOLE))
    if draft.duration_ms is None and (seconds := _take_number(left, _SECONDS)) is not None:
        draft.duration_ms = seconds * 1000.0
    success = left.get("success")
    if isinstance(success, (bool, int)):
        draft.success = bool(left.pop("success"))
    draft.occurred_at = moment(_take(left, _WHEN), field="occurred_at")
    tags = left.pop("tags", None)
    draft.tags = tags_of(tags)[:MAX_TAGS]
    if draft.tags != tags_of(tags) or any(len(tag) > MAX_SHORT for tag in draft.tags):
        attributes["tags"] = plain(tags)
        draft.tags = [tag[:MAX_SHORT] for tag in draft.tags]
    for field, convert in (("dimensions", text), ("measures", number)):
        setattr(draft, field, _named(left.pop(field, None), convert))
    for name in _EXTRAS:
        extra = left.pop(name, None)
        attributes |= _object(extra, name)
    attributes |= {name: plain(value) for name, value in left.items()}
    draft.attributes = attributes or None
    return draft


def tags_of(tags: Any) -> list[str]:
    """Tags as a list; a text is a list between commas, and repeats count once."""
    if tags is None:
        return []
    if isinstance(tags, str):
        tags = tags.split(",")
    elif isinstance(tags, Mapping):
        tags = [f"{name}:{value}" for name, value in tags.items()]
    elif not isinstance(tags, Iterable):
        tags = [tags]
    stripped = ((text(tag) or "").strip() for tag in tags)
    return list(dict.fromkeys(tag for tag in stripped if tag))


def filter_of(asked: Mapping[str, Any], tags: Sequence[str] = ()) -> RecordFilter:
    """The question for records with these fields, under their own or their older names; a name
    that is no field asks for a dimension.
    """
    field_of = {name: field for field, names in _OLDER.items() for name in names}
    equals: dict[str, str] = {}
    dimensions: dict[str, str] = {}
    for name, value in asked.items():
        field = field_of.get(name, name)
        known = field in TEXT_FIELDS or field in {"kind", "external_id"}
        (equals if known else dimensions)[field if known else name] = str(value)
    return RecordFilter(equals=equals, dimensions=dimensions, tags=tuple(tags))


def older(record: Record) -> dict[str, Any]:
    """A record as the older programs read it: the contract's flat object, its fields under their
    older names besides. Every name is always there; what was not said is ``None``.
    """
    flat: dict[str, Any] = to_flat(record)
    attributes = record.attributes if isinstance(record.attributes, dict) else {}
    content = record.input if record.output is None else record.output
    return {
        **dict.fromkeys(("thread_id", "session_id", "model", "role", "input", "output")),
        **dict.fromkeys(("variables", "input_tokens", "output_tokens", "duration_ms", "cost")),
        "tags": [],
        **flat,
        "analysis_id": record.id,
        "task_id": record.external_id,
        "timestamp": flat["occurred_at"],
        "service_name": record.service,
        "task_name": record.name,
        "model_name": record.model,
        "user_id": record.subject,
        "process_instance_id": record.process_id,
        "task_description": record.input,
        "user_input": record.input,
        "response": record.output,
        "response_data": record.output,
        "content": content,
        "metadata": attributes,
    }


def is_id(value: Any) -> bool:
    """Whether it can be the id of a record."""
    try:
        parse_id(value)
    except (InvalidInput, AttributeError):
        return False
    return True


def _take(left: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The first of these that was said, and said for good."""
    for name in names:
        if name in left and not (isinstance(left[name], str) and not left[name]):
            return left.pop(name)
    return None


def _take_number(left: dict[str, Any], names: tuple[str, ...], *, whole: bool = False) -> Any:
    for name in names:
        found = number(left.get(name))
        if found is not None and (not whole or found == int(found)):
            del left[name]
            return int(found) if whole else found
    return None


def _short(field: str, given: Any, attributes: dict[str, Json]) -> str | None:
    """A promoted text is short: a longer one is cut, and kept whole in the attributes. An id is
    never cut, for it would be another's; one that is too long is refused when it is stored.
    """
    parts = mapping(given)
    if parts is not None:  # a user, a model, ...: an object where its id is wanted
        attributes[field] = plain(given)
        given = next(
            (parts[name] for name in ("id", f"{field}_id", "user_id", "name") if parts.get(name)),
            None,
        )
    value = text(given)
    if value is None or field in _IDS or len(value) <= MAX_SHORT:
        return value
    attributes[field] = value
    return value[:MAX_SHORT]


def _named(given: Any, convert: Callable[[Any], Any]) -> dict[str, Any]:
    pairs = ((name, convert(value)) for name, value in (mapping(given) or {}).items())
    return {name: value for name, value in pairs if value is not None}


def _object(given: Any, name: str) -> dict[str, Json]:
    """Extra fields as an object; what is none is kept under its own name."""
    if given is None:
        return {}
    value = plain(given)
    return value if isinstance(value, dict) else {name: value}
