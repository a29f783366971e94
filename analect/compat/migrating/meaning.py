"""What the tables of older programs mean: which become documents, which records, which neither.

A table is known by its name. What a row says is read by the same names as everything that an older
program passes (:mod:`analect.compat.fields`); what has no field of its own goes into attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from analect.compat import incidents
from analect.compat.content import DataLayer, event_fields
from analect.compat.documents import Prepared, Repository
from analect.compat.fields import draft_of
from analect.compat.migrating.tables import OlderTables, Row
from analect.compat.plain import mapping, moment, plain, text
from analect.model.errors import InvalidInput
from analect.model.ids import Micros, RecordId
from analect.model.record import MAX_SHORT, Draft
from analect.sources.line import Line

INCIDENTS, ANALYSES, ANALYSIS_TAGS = "incidents", "analyses", "analysis_tags"
RECORDS: Mapping[str, str] = {
    "user_interactions": "interaction",
    "interactions": "interaction",
    ANALYSES: "task",
    "task_analyses": "task",
    "run_metadata": "llm_call",
    "llm_calls": "llm_call",
    "messages": "message",
    "conversations": "message",
    "threads": "message",
    "events": "event",
    "analytics_events": "event",
    "api_calls": "api_call",
}
"""Table -> the kind of its records."""
DOCUMENTS = ("users", "sessions", "stories", "content")
QUEUES = ("_queue", "_jobs")
"""How the tables end whose work is done anew: every record goes through the processors again."""
_DONE = ("done", "complete", "completed", "processed", "success", "succeeded")
_WHEN = (
    *("occurred_at", "timestamp", "created_at", "analyzed_at", "analysis_timestamp"),
    *("start_time", "started_at", "opened_at", "sys_created_on", "date", "updated_at"),
)
_DIMENSIONS = (
    *("user_role", "query_type", "language", "content_type", "category", "intent", "department"),
    *("channel", "priority", "severity"),
)
_MEASURES = ("response_length", "citations", "code_snippets", "quality_score", "tokens_used")
_RATINGS = ("user_rating", "satisfaction_rating", "feedback_rating")
_JSON = frozenset(
    {
        *("variables", "response_data", "metadata", "attributes", "context", "extra", "messages"),
        *("additional_data", "properties", "data", "analysis", "analysis_json", "analysis_data"),
        *("incident", "incident_json", "incident_data", "raw_data", "raw", "request", "response"),
        *("tags", "dimensions", "measures", "settings", "preferences", "body"),
    }
)
"""Columns that hold JSON as text, where they begin like it."""
_ANALYSIS = ("analysis", "analysis_json", "analysis_data", "analysis_result", "result", "response")
_NESTED = ("incident", "incident_json", "incident_data", "raw_data", "raw", "data")
_INCIDENT_OF = ("incident_id", "incident_number", "number")

IdFor = Callable[[str, str, Micros], RecordId]


@dataclass(frozen=True, slots=True)
class Paper:
    """A document of a row, or why it is none."""

    number: int
    prepared: Prepared | None
    error: InvalidInput | None = None


@dataclass(slots=True)
class _Precedents:
    """Incidents by their id, of each the newest analysis and its model, and under which other
    names (a row's number) analyses may point at one.
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    newest: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def of(self, said: Mapping[str, Any]) -> str | None:
        """The incident that an analysis is of."""
        named = text(_first(said, _INCIDENT_OF))
        return None if named is None else self.names.get(named, named)


class Meaning:
    """Turns rows into documents and drafts. ``undated`` is the time of rows that say none."""

    def __init__(self, tables: OlderTables, id_for: IdFor, undated: Micros | None = None) -> None:
        self._tables = tables
        self._id_for = id_for
        self._undated = undated
        self.counts = tables.counts()
        self._analysed = INCIDENTS in self.counts
        self._layer = DataLayer()
        self._known: _Precedents | None = None
        self._tags: dict[str, list[str]] | None = None

    @property
    def record_tables(self) -> list[str]:
        """The tables whose rows become records; incidents that nobody analysed are records too."""
        return [name for name in (*RECORDS, INCIDENTS) if name in self.counts]

    @property
    def document_tables(self) -> list[str]:
        """The tables whose rows become documents."""
        return [name for name in (*DOCUMENTS, INCIDENTS) if name in self.counts]

    @property
    def queues(self) -> dict[str, int]:
        """Queue tables, and how much waited in them."""
        return {
            name: sum(1 for row in self._tables.rows(name) if _waits(row.fields))
            for name in self.counts
            if name.endswith(QUEUES)
        }

    @property
    def left_alone(self) -> dict[str, int]:
        """Tables that mean nothing here, with their rows."""
        known = {*self.record_tables, *self.document_tables, ANALYSIS_TAGS}
        return {
            name: rows
            for name, rows in self.counts.items()
            if name not in known and not name.endswith(QUEUES)
        }

    def documents(self, table: str, skip: int) -> Iterator[Paper]:
        """The documents of a table behind its first ``skip`` rows."""
        for row in self._tables.rows(table):
            if row.number > skip:
                try:
                    yield Paper(row.number, self._prepared(table, row))
                except InvalidInput as error:
                    yield Paper(row.number, None, error)

    def records(self, table: str, skip: int) -> Iterator[Line]:
        """The drafts of a table behind its first ``skip`` rows."""
        for row in self._tables.rows(table):
            if row.number <= skip or (table == INCIDENTS and self._is_analysed(row)):
                continue
            try:
                yield Line(row.number, self._draft(table, row), place=table)
            except InvalidInput as error:
                yield Line(row.number, None, error, place=table)

    # -- documents -------------------------------------------------------------------------

    def _prepared(self, table: str, row: Row) -> Prepared:
        if table == INCIDENTS:
            facts = _incident(row)
            named = incidents.identifier_of(facts)
            analysis, model = self._precedents().newest.get(named, (None, None))
            body = incidents.body_of_incident(named, facts, analysis, model)
            owner, status = incidents.owner_of(facts), incidents.status_of(facts)
            return Prepared(incidents.DOCUMENT, named, body, owner, status)
        repository: Repository = getattr(self._layer, table)
        fields = _said(row)
        if not any(fields.get(name) for name in repository.id_names):
            fields[repository.id_names[0]] = text(row.fields.get("_key")) or row.key
        return repository.prepare(fields, None, {})

    # -- records ---------------------------------------------------------------------------

    def _draft(self, table: str, row: Row) -> Draft:
        kind = RECORDS.get(table, incidents.DOCUMENT)
        said = _said(row)
        if table == INCIDENTS:
            facts = _incident(row)
            named = incidents.identifier_of(facts)
            said = incidents.said_of_analysis(named, facts, None, None) | _times(said)
        elif table == ANALYSES and self._analysed:
            kind, said = incidents.DOCUMENT, self._analysis(said)
        elif table == ANALYSES:
            said = self._tagged(row, said)
        elif kind == "event":
            said = event_fields(said, {})
        elif table == "run_metadata":
            start, end = said.pop("start_time", None), said.pop("end_time", None)
            said |= incidents.said_of_run(said, start, end)
        if "_of" in row.fields:
            said.setdefault("thread_id", row.fields["_of"])
        return self._dated(draft_of(_faceted(said), kind=kind), table, row)

    def _dated(self, draft: Draft, table: str, row: Row) -> Draft:
        at = draft.occurred_at
        if at is None:
            at = self._undated
        if at is None:
            raise InvalidInput(
                "the row has no time: say with --undated which one such rows get",
                field="occurred_at",
            )
        draft.occurred_at = at
        if at > 0:  # what is earlier the store refuses, with its reason
            draft.id = self._id_for(f"older {table}", row.key, at)
        return draft

    def _analysis(self, said: dict[str, Any]) -> dict[str, Any]:
        """An analysis of an incident, with the incident."""
        named = self._precedents().of(said)
        if named is None:
            raise InvalidInput("the analysis does not say of which incident", field="incident_id")
        facts = self._precedents().facts.get(named, {})
        found = incidents.said_of_analysis(
            named, facts, _first(said, _ANALYSIS), said.get("model_name") or said.get("model")
        )
        left = {"confidence": said["confidence"]} if said.get("confidence") is not None else {}
        return {**found, **left, **_times(said)}

    def _tagged(self, row: Row, said: dict[str, Any]) -> dict[str, Any]:
        if self._tags is None:
            self._tags = {}
            for one in self._rows(ANALYSIS_TAGS):
                of, tag = text(one.fields.get("analysis_id")), text(one.fields.get("tag"))
                if of is not None and tag is not None:
                    self._tags.setdefault(of, []).append(tag)
        more = self._tags.get(str(said.get("analysis_id")), []) or self._tags.get(row.key, [])
        if more and not said.get("tags"):
            said["tags"] = more
        return said

    def _is_analysed(self, row: Row) -> bool:
        try:
            return incidents.identifier_of(_incident(row)) in self._precedents().newest
        except InvalidInput:
            return False

    def _precedents(self) -> _Precedents:
        if self._known is None:
            self._known = known = _Precedents()
            for row in self._rows(INCIDENTS):
                facts = _incident(row)
                with suppress(InvalidInput):  # it is refused when it is its turn
                    named = incidents.identifier_of(facts)
                    known.facts[named] = facts
                    others = (text(facts.get(name)) for name in incidents.IDS)
                    for other in (named, *others, row.key):
                        if other is not None:
                            known.names.setdefault(other, named)
            for row in self._rows(ANALYSES):
                said = _said(row)
                if (of := known.of(said)) is not None:
                    model = said.get("model_name") or said.get("model")
                    known.newest[of] = (_first(said, _ANALYSIS), model)
        return self._known

    def _rows(self, table: str) -> Iterator[Row]:
        if table in self.counts:
            yield from self._tables.rows(table)


def _said(row: Row) -> dict[str, Any]:
    """A row's fields, its JSON parsed."""
    return {
        name: _parsed(name, value)
        for name, value in row.fields.items()
        if value is not None and name not in {"_key", "_of"}
    }


def _parsed(name: str, value: Any) -> Any:
    if name.lower() not in _JSON or not isinstance(value, (str, bytes)):
        return value
    raw = value.encode() if isinstance(value, str) else value
    if raw.lstrip()[:1] not in {b"{", b"["}:
        return value
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value


def _incident(row: Row) -> dict[str, Any]:
    """An incident's facts: its columns, those of a JSON column among them."""
    said = _said(row)
    for name in _NESTED:
        if (inner := mapping(said.get(name))) is not None:
            del said[name]
            said = {**inner, **said}
    facts = plain(said)
    if "_key" in row.fields and not any(facts.get(name) for name in incidents.IDS):
        facts["incident_id"] = row.fields["_key"]
    return dict(facts)


def _times(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in _WHEN if said.get(name)}


def _faceted(said: dict[str, Any]) -> dict[str, Any]:
    """Short words and numbers that summaries group and add up, in their place; and the time."""
    dimensions = dict(mapping(said.get("dimensions")) or {})
    measures = dict(mapping(said.get("measures")) or {})
    left = dict(said)
    for name in _DIMENSIONS:
        value = text(left.get(name)) if isinstance(left.get(name), (str, int)) else None
        if value is not None and len(value) <= MAX_SHORT:
            dimensions.setdefault(name, value)
            del left[name]
    for name in _MEASURES:
        if isinstance(left.get(name), (int, float)) and not isinstance(left[name], bool):
            measures.setdefault(name, left.pop(name))
    for name in _RATINGS:
        if left.get("rating") is None and left.get(name) in range(1, 6):
            left["rating"] = left.pop(name)
    at = next((left[name] for name in _WHEN if left.get(name)), None)
    return {
        **{name: value for name, value in left.items() if name not in _WHEN[:3]},
        "dimensions": dimensions,
        "measures": measures,
        "occurred_at": moment(at, field="occurred_at"),
    }


def _first(said: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((said[name] for name in names if said.get(name) is not None), None)


def _waits(fields: Mapping[str, Any]) -> bool:
    state = text(fields.get("status") or fields.get("state"))
    return state is None or state.lower() not in _DONE
