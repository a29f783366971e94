"""Older names for programs that analyse incidents.

An incident and its analysis are kept twice: whole, as a sealed document that comes back as it
was; and as a record without personal data, which is found again by words and by meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import structlog

from analect.compat.caching import cache_result
from analect.compat.documents import body_of
from analect.compat.fields import filter_of, tags_of
from analect.compat.integration import get_analysis_service
from analect.compat.plain import mapping, moment, number, plain, text
from analect.model.errors import EngineUnavailable, InvalidInput, InvalidQuery
from analect.model.record import MAX_SHORT, Json

__all__ = [
    "add_incident_to_faiss_history_index",
    "cache_result",
    "get_incident",
    "get_incident_analysis_backup",
    "init_db",
    "save_incident_analysis_backup_json",
    "save_incident_and_analysis_to_sqlite_db",
    "save_run_metadata",
    "search_incident_history",
]

log = structlog.get_logger(__name__)

DOCUMENT = "incident"
BACKUP = "incident_backup"
IDS = ("incident_id", "number", "id", "sys_id", "key", "ticket_id")
_DIMENSIONS = ("priority", "severity", "category", "state", "impact", "urgency")
_OWNERS = ("caller_id", "user_id", "reported_by", "caller")
_WORDS = 32
"""How many words of an incident are looked for where there is no index of meanings."""


def init_db(db_path: Any = None) -> None:
    """Open the store (and, the first time, make it). May be called again.

    ``db_path`` is where the older programs had their file: it is taken and not used, for the
    environment says where the one store is.

    Raises:
        AnalectError: it cannot be opened; the message says why.
    """
    if db_path is not None:
        log.info("one store for all: the path of a database is not used")
    get_analysis_service().health()


def save_incident_and_analysis_to_sqlite_db(
    incident: Any, analysis: Any = None, model_name: str | None = None, **more: Any
) -> str:
    """Save an incident (dict, row, model, dataclass, object) and its analysis; returns the
    analysis id once both are durable. The same again is stored once.

    Raises:
        InvalidInput: the incident has no id (``incident_id``, ``number``, ``id``, ...).
        TransientError: the store could not take it; try again.
    """
    facts = _facts(incident)
    incident_id = identifier_of(facts)
    body = {**body_of_incident(incident_id, facts, analysis, model_name), **plain(more)}
    get_analysis_service().put_document(
        DOCUMENT, incident_id, body, owner=owner_of(facts), status=status_of(facts)
    )
    return _remember(incident_id, facts, plain(analysis), model_name)


def get_incident(incident_id: Any) -> dict[str, Any] | None:
    """``incident_id``, ``incident``, ``analysis`` and ``model_name`` as they were saved last, or
    ``None``.
    """
    return body_of(DOCUMENT, incident_id)


def save_incident_analysis_backup_json(
    incident: Any, analysis: Any = None, model_name: str | None = None, **more: Any
) -> str:
    """Keep a copy of an analysis by itself; returns the incident's id.

    The copy is a sealed, versioned document and no file in clear, so that it goes when the
    people in it are erased; :func:`get_incident_analysis_backup` reads it.

    Args:
        incident: the incident, or its id.
        analysis: what was concluded.
        model_name: by which model.
        more: kept with it.
    """
    facts = mapping(incident)
    kept = {} if facts is None else _facts(incident)
    incident_id = text(incident) if facts is None else identifier_of(kept)
    if incident_id is None:
        raise InvalidInput("say which incident: give it, or its id", field="incident")
    body = {**body_of_incident(incident_id, kept or None, analysis, model_name), **plain(more)}
    get_analysis_service().put_document(BACKUP, incident_id, body, owner=owner_of(kept))
    return incident_id


def get_incident_analysis_backup(incident_id: Any) -> dict[str, Any] | None:
    """The newest copy that :func:`save_incident_analysis_backup_json` kept, or ``None``."""
    return body_of(BACKUP, incident_id)


def add_incident_to_faiss_history_index(incident_id: Any, analysis: Any) -> str:
    """Make an analysis a precedent: :func:`search_incident_history` finds it from now on.
    Returns the analysis id. One that was saved already is there already.

    Raises:
        InvalidInput: there is no incident id.
        TransientError: the store could not take it; try again.
    """
    named = text(incident_id)
    if named is None:
        raise InvalidInput("incident_id is empty: say which incident", field="incident_id")
    saved = get_incident(named) or {}
    facts = saved.get("incident") or {}
    model = saved.get("model_name") if saved.get("analysis") == plain(analysis) else None
    return _remember(named, facts, plain(analysis), model)


def search_incident_history(
    query: Any,
    limit: int = 5,
    *,
    min_score: float = 0.0,
    exclude: Any = None,
    **where: Any,
) -> list[dict[str, Any]]:
    """Precedents: earlier incidents that are like ``query`` in meaning, the likest first, each
    once, without personal data.

    Args:
        query: a text, or an incident of any make (which is no precedent of itself).
        limit: at most so many.
        min_score: leave out what is less alike (cosine, -1 to 1).
        exclude: an incident id, or several, to leave out.
        where: fields that must be equal, as ``category`` or ``priority``.

    Returns:
        ``incident_id``, ``incident``, ``analysis``, ``score``, ``model_name``, ``timestamp``,
        ``tags`` and ``analysis_id`` of each.
    """
    facts = mapping(query)
    left_out = set(tags_of(exclude))
    asked = str(query)
    if facts is not None:
        known = _facts(query)
        asked = "\n".join(str(part) for part in _words(known))
        left_out |= {str(known[name]) for name in IDS if known.get(name)}
    filters = filter_of({**where, "kind": DOCUMENT})
    service = get_analysis_service()
    # Several analyses of one incident, and the one asked about, make room for others.
    room = min(1000, 4 * limit + 10 * (1 + len(left_out)))
    found: dict[str, dict[str, Any]] = {}
    try:
        hits = service.find(asked, filters, room, modes=("semantic",))
    except (EngineUnavailable, InvalidQuery):  # off or down
        some = " OR ".join(re.findall(r"\w+", asked)[:_WORDS])
        hits = service.find(some, filters, room, modes=("text",))
    for hit in hits:
        known_as = hit["metadata"].get("incident_id") or hit["external_id"]
        if hit["score"] >= min_score and known_as not in left_out:
            found.setdefault(known_as, _precedent(hit, known_as))
    return list(found.values())[:limit]


def save_run_metadata(  # noqa: PLR0917  (the older programs' signature)
    request_id: Any,
    model_name: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    start_time: Any = None,
    end_time: Any = None,
    **more: Any,
) -> str:
    """Keep what a run of a model took; returns the record's id. Times are ``datetime``, ISO
    text or seconds since 1970. The same run again is stored once.

    Raises:
        InvalidInput: a time or a count is wrong; ``field`` names it.
        Conflict: the same request at the same start was stored with other figures.
        TransientError: the store could not take it; try again.
    """
    run = {
        "request_id": request_id,
        "model_name": model_name,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }
    said = {**said_of_run(run, start_time, end_time), **more}
    named = text(request_id) is not None and said["occurred_at"] is not None
    return get_analysis_service().store(said, kind="llm_call", retry_safe=named)


def body_of_incident(
    incident_id: str, facts: dict[str, Json] | None, analysis: Any, model_name: Any
) -> dict[str, Json]:
    """What is kept of an incident as a document."""
    return {
        "incident_id": incident_id,
        "incident": facts,
        "analysis": plain(analysis),
        "model_name": text(model_name),
    }


def said_of_run(run: Mapping[str, Any], start_time: Any, end_time: Any) -> dict[str, Any]:
    """What is said of a model's run as a record.

    Raises:
        InvalidInput: a time is none.
    """
    started = moment(start_time, field="start_time")
    ended = moment(end_time, field="end_time")
    duration = None if started is None or ended is None else max(0, ended - started) / 1000
    when = started if started is not None else ended
    return {"name": "run", **run, "duration_ms": duration, "occurred_at": when}


def _remember(incident_id: str, facts: dict[str, Json], analysis: Json, model: Any) -> str:
    said = said_of_analysis(incident_id, facts, analysis, model)
    return get_analysis_service().store_once(said, kind=DOCUMENT)


def said_of_analysis(
    incident_id: str, facts: dict[str, Json], analysis: Json, model: Any
) -> dict[str, Any]:
    """What is said of an analysed incident as a record."""
    return {
        "external_id": incident_id,
        "name": _first(facts, ("short_description", "title", "summary")),
        "input": facts or None,
        "output": analysis,
        "model": model,
        "status": status_of(facts),
        "subject": owner_of(facts),
        "environment": _first(facts, ("environment",)),
        "service": _first(facts, ("service", "service_name", "business_service")),
        "confidence": _confidence(analysis),
        "tags": facts.get("tags"),
        "dimensions": {name: facts[name] for name in _DIMENSIONS if _is_scalar(facts.get(name))},
        "attributes": {"incident_id": incident_id},
    }


def _facts(incident: Any) -> dict[str, Json]:
    """The incident's fields as JSON.

    Raises:
        InvalidInput: it has none.
    """
    facts = plain(incident)
    if isinstance(facts, dict):
        return facts
    raise InvalidInput("an incident is a dict, a row, a model or an object", field="incident")


def identifier_of(facts: dict[str, Json]) -> str:
    """The incident's id, whatever it is called.

    Raises:
        InvalidInput: it has none.
    """
    found = _first(facts, IDS)
    if found is None:
        raise InvalidInput(
            f"the incident has no id: give it one of {', '.join(IDS)}", field="incident_id"
        )
    return found


def _first(facts: dict[str, Json], names: tuple[str, ...]) -> str | None:
    """The first of these fields that holds a short value."""
    return next((text(facts[name]) for name in names if _is_scalar(facts.get(name))), None)


def _is_scalar(value: Json) -> bool:
    return value not in (None, "") and isinstance(value, (str, int, float))


def owner_of(facts: dict[str, Json]) -> str | None:
    """Whose the incident is: the person whose erasure takes it along."""
    return _first(facts, _OWNERS)


def status_of(facts: dict[str, Json]) -> str | None:
    """Its state."""
    found = _first(facts, ("status", "state"))
    return None if found is None else found[:MAX_SHORT]


def _confidence(analysis: Json) -> float | None:
    """A confidence that is a share; words and percentages stay in the analysis."""
    said = analysis.get("confidence") if isinstance(analysis, dict) else None
    found = number(said)
    return found if found is not None and 0 <= found <= 1 else None


def _words(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _words(part)
    elif isinstance(value, str):
        yield value


def _precedent(hit: dict[str, Any], incident_id: str) -> dict[str, Any]:
    return {
        "incident_id": incident_id,
        "incident": hit["input"],
        "analysis": hit["output"],
        "score": hit["score"],
        "model_name": hit["model_name"],
        "timestamp": hit["timestamp"],
        "tags": hit["tags"],
        "analysis_id": hit["analysis_id"],
    }
