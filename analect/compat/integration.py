"""The older analysis service: one object a program stores through and asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import structlog

from analect.compat.configuration import configured, integration_config
from analect.compat.fields import SAYING, draft_of, filter_of, is_id, older, tags_of
from analect.compat.logs import log_as_the_program_does
from analect.compat.openai import interaction_of
from analect.compat.plain import mapping
from analect.compat.process import SharedService, shared
from analect.model.errors import Conflict, EngineUnavailable, InvalidInput, InvalidQuery, NotFound
from analect.model.ids import parse_id
from analect.model.query import MAX_LIMIT, PageRequest, RecordFilter, SearchRequest
from analect.model.record import Draft, Record
from analect.service import AnalysisService
from analect.settings import Settings

log = structlog.get_logger(__name__)

CATCH_UP = 10.0
"""Seconds that a search waits, at most, for what this process wrote to be findable."""
DEFAULT = 10
"""How many a search finds, unless told."""
LIKE = 0.15
"""The cosine below which an analysis without the words of the query is not found. Seen with the
built-in embeddings: 0.10 at most for queries of nonsense, 0.4 and more for paraphrases."""
MODES = ("hybrid", "text", "semantic")
"""How to search, the best way first; the others where an index is off or a query has no words."""
_PROCESSORS = {
    "vector": "vectors",
    "vector_store": "vectors",
    "vector_db": "vectors",
    "qdrant": "vectors",
    "faiss": "vectors",
    "embeddings": "vectors",
    "graph_db": "graph",
    "neo4j": "graph",
    "search": "text",
    "full_text": "text",
    "fulltext": "text",
    "opensearch": "text",
    "elasticsearch": "text",
}
"""What older programs call the processors."""


class AnalysisServiceIntegration:
    """Stores, reads and finds under the older names. Thread-safe, usable from asynchronous
    programs (a call takes as long as its commit), and carried over forks.

    ``config`` overrides the environment; its names are those of
    :func:`get_service_integration_config`, of :class:`analect.settings.Settings`, and the older
    variables in small letters. Integrations of the same store share it. The methods of
    :class:`analect.service.AnalysisService` are there as well, under their own names.

    Raises:
        ConfigurationError: a setting is wrong. The store itself is opened at the first call.
    """

    def __init__(self, **config: Any) -> None:
        log_as_the_program_does()
        settings, self._defaults = configured(config)
        self._shared: SharedService = shared(settings)

    @property
    def settings(self) -> Settings:
        """What it works with."""
        return self._shared.settings

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or not callable(getattr(AnalysisService, name, None)):
            raise AttributeError(f"{type(self).__name__} has no {name!r}")

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._shared.use() as service:
                return getattr(service, name)(*args, **kwargs)

        return call

    @contextmanager
    def use(self) -> Iterator[AnalysisService]:
        """The open store itself, for what has no older name; open until the block ends."""
        with self._shared.use() as service:
            yield service

    def close(self) -> None:
        """Close the store of this process; the next call opens it again."""
        self._shared.close()

    # -- writing ---------------------------------------------------------------------------

    def store_interaction(
        self,
        user_input: Any = None,
        response: Any = None,
        *,
        thread_id: Any = None,
        session_id: Any = None,
        user_id: Any = None,
        service_name: str | None = None,
        model: str | None = None,
        tags: Any = None,
        metadata: Any = None,
        timestamp: Any = None,
        **more: Any,
    ) -> str:
        """Store what was asked and answered; returns its id once it is durable.

        ``user_input`` may also be a dict or object with all of it, under these names. ``more`` are further fields
        of a record under their own or their older names; unknown ones become attributes.

        Raises:
            InvalidInput: a field is wrong; ``field`` names it.
            TransientError: the store could not take it; try again.
        """
        said = {
            "user_input": user_input,
            "response": response,
            "thread_id": thread_id,
            "session_id": session_id,
            "user_id": user_id,
            "service_name": service_name,
            "model": model,
            "tags": tags,
            "metadata": metadata,
            "timestamp": timestamp,
            **more,
        }
        whole = mapping(user_input) if response is None else None
        if whole is not None and not SAYING.isdisjoint(whole):
            said = {
                **whole,
                **{k: v for k, v in said.items() if k != "user_input" and v is not None},
            }
        return self.store(said, kind="interaction")

    def store_openai_interaction(
        self,
        request: Any,
        response: Any = None,
        *,
        thread_id: Any = None,
        session_id: Any = None,
        user_id: Any = None,
        service_name: str | None = None,
        tags: Any = None,
        duration_ms: float | None = None,
        cost: float | None = None,
        **more: Any,
    ) -> str:
        """Store an OpenAI-style call: chat completion, response or completion, as dicts or as a
        client library's objects; returns its id once it is durable.

        Model, tokens, role, outcome and the request's parameters are taken from them. A
        ``response`` may also be a text, a stream's chunks, or the exception that came instead.

        Raises:
            InvalidInput: a field is wrong; ``field`` names it.
            TransientError: the store could not take it; try again.
        """
        said = interaction_of(request, response)
        given = {
            "thread_id": thread_id,
            "session_id": session_id,
            "subject": user_id,
            "service": service_name,
            "tags": tags,
            "duration_ms": duration_ms,
            "cost": cost,
            **more,
        }
        said |= {name: value for name, value in given.items() if value is not None}
        return self.store(said, kind="interaction")

    def store_task_analysis(  # noqa: PLR0917  (the older programs' signature)
        self,
        task_description: Any,
        task_id: Any = None,
        task_name: str | None = None,
        variables: Any = None,
        response_data: Any = None,
        service_name: str | None = None,
        thread_id: Any = None,
        tags: Any = None,
        session_id: Any = None,
        process_instance_id: Any = None,
        **more: Any,
    ) -> str:
        """Store what was concluded about a task; returns the analysis id once it is durable.

        A task may be analysed again: each call is an analysis of its own.

        Raises:
            InvalidInput: a field is wrong; ``field`` names it.
            TransientError: the store could not take it; try again.
        """
        said = {
            "task_description": task_description,
            "task_id": task_id,
            "task_name": task_name,
            "variables": variables,
            "response_data": response_data,
            "service_name": service_name,
            "thread_id": thread_id,
            "tags": tags,
            "session_id": session_id,
            "process_instance_id": process_instance_id,
            **more,
        }
        return self.store(said, kind="task")

    def store(self, said: dict[str, Any], *, kind: str, retry_safe: bool = False) -> str:
        """Store one record of what was said under any of the older names; returns its id.

        With ``retry_safe`` its own identifier and time make the id, so that the same again is
        stored once; otherwise every call is a record.

        Raises:
            InvalidInput: a field is wrong; ``field`` names it.
            Conflict: ``retry_safe``, and the identifier was stored with other content.
            TransientError: the store could not take it; try again.
        """
        draft = self._draft(said, kind)
        return self._keep(draft, dedupe=False, named=retry_safe)

    def store_once(self, said: dict[str, Any], *, kind: str) -> str:
        """As :meth:`store`; where the same content is stored already, its id is returned."""
        return self._keep(self._draft(said, kind), dedupe=True)

    def store_many(self, said: Sequence[dict[str, Any]], *, kind: str) -> list[str]:
        """Store many in one commit; returns their ids.

        Raises:
            InvalidInput: some are wrong and were left out (the message counts them); the others
                are stored.
            TransientError: the store could take none; try again.
        """
        drafts = [self._draft(one, kind) for one in said]
        return self._ingest(drafts, dedupe=False)

    def _draft(self, said: dict[str, Any], kind: str) -> Draft:
        draft = draft_of(said, kind=kind)
        for name, value in self._defaults.items():
            if getattr(draft, name) is None:
                setattr(draft, name, value)
        return draft

    def _keep(self, draft: Draft, *, dedupe: bool, named: bool = False) -> str:
        return self._ingest([draft], dedupe=dedupe, named=named)[0]

    def _ingest(self, drafts: Sequence[Draft], *, dedupe: bool, named: bool = False) -> list[str]:
        for draft in drafts:
            if draft.external_id is not None and not named:
                # An identifier of the program's (a task, an incident) names what the record is
                # about, not the record: several may be stored at the same moment.
                draft.id = self._shared.new_id(draft.occurred_at)
        with self._shared.use() as service:
            result = service.ingest(drafts, dedupe=dedupe)
        stored = [record_id for record_id in result.ids if record_id is not None]
        self._shared.wrote(stored)
        if result.rejected:
            first = result.rejected[0]
            error = Conflict if first.code == "conflict" else InvalidInput
            where = f" ({len(result.rejected)} of {len(drafts)} were left out)" if stored else ""
            raise error(first.message + where, field=first.field)
        return [str(record_id) for record_id in stored]

    # -- reading ---------------------------------------------------------------------------

    def get_analysis_by_id(self, analysis_id: Any) -> dict[str, Any] | None:
        """One analysis or interaction, or ``None``."""
        if not is_id(analysis_id):
            return None
        with self._shared.use() as service:
            try:
                return older(service.get(analysis_id))
            except NotFound:
                return None

    def get_thread_conversation(self, thread_id: Any) -> list[dict[str, Any]]:
        """Everything of a thread, in order; none of an unknown one."""
        with self._shared.use() as service:
            return [older(record) for record in _whole_thread(service, str(thread_id))]

    def search_analyses(
        self, query: str | None = None, tags: Any = None, limit: int | None = DEFAULT, **where: Any
    ) -> list[dict[str, Any]]:
        """What fits ``query`` by words and by meaning, best first, with a ``score``,
        ``highlights`` and the ``explanation`` of the score. Without a query: the newest.

        What this process stored before is waited for, at most :data:`CATCH_UP` seconds.

        Args:
            query: words, ``"a phrase"``, ``prefix*``, ``-without``.
            tags: all of them must be there.
            limit: at most so many (1 to 1000).
            where: further fields that must be equal, as ``thread_id`` or ``service_name``.
        """
        page = max(1, min(int(limit or DEFAULT), MAX_LIMIT))
        asked = {name: value for name, value in where.items() if value is not None}
        filters = filter_of(asked, tags_of(tags))
        with self._shared.use() as service:
            if not query or not str(query).strip():
                found = service.list(filters, PageRequest(limit=page)).items
                nothing: dict[str, Any] = {"score": None, "highlights": [], "explanation": {}}
                return [{**older(record), **nothing} for record in found]
        return [hit for hit in self.find(str(query), filters, page) if _is_like(hit)]

    def find(
        self, query: str, where: RecordFilter, limit: int, *, modes: Sequence[str] = MODES
    ) -> list[dict[str, Any]]:
        """Search in the first of ``modes`` that the store can answer; own writes are waited for.

        Raises:
            InvalidQuery: none of them can: each index is off, or a field to filter by is none.
            EngineUnavailable: the index it needs is being made again.
        """
        self._shared.catch_up(CATCH_UP)
        with self._shared.use() as service:
            for mode in modes:
                request = SearchRequest(query, mode=mode, filter=where, limit=limit, explain=True)
                try:
                    found = service.search(request).items
                except (EngineUnavailable, InvalidQuery):
                    # An index is switched off, or there is no word in the query: by another way.
                    if mode == modes[-1]:
                        raise
                    continue
                return [
                    {
                        **older(hit.record),
                        "score": hit.score,
                        "highlights": list(hit.highlights),
                        "explanation": hit.explanation or {},
                    }
                    for hit in found
                ]
        return []

    # -- processing ------------------------------------------------------------------------

    def process_pending_analyses(
        self, processor_type: str | None = None, limit: int | None = None
    ) -> int:
        """Process what is waiting; how many analyses were taken on.

        Args:
            processor_type: ``text``, ``vectors``, ``graph``, one that a package brings, or an
                older name; ``None`` and ``all``: each of them.
            limit: at most about so many analyses.

        Raises:
            NotFound: there is no such processor.
        """
        with self._shared.use() as service:
            if processor_type is None or processor_type == "all":
                names: Sequence[str] = service.processors()
            else:
                names = [_processor(processor_type)]
            return max((service.process(name, limit) for name in names), default=0)

    def reprocess_analysis(self, analysis_id: Any, processors: Any = None) -> bool:
        """Put an analysis back before ``processors`` (all of them, unless said); false when
        there is no such analysis or processor.
        """
        if not is_id(analysis_id):
            return False
        names = None if processors is None else [_processor(name) for name in tags_of(processors)]
        with self._shared.use() as service:
            try:
                service.reprocess([analysis_id], names)
            except NotFound as error:
                log.warning("nothing to reprocess", field=error.field)
                return False
        self._shared.wrote([parse_id(analysis_id)])
        return True


def _whole_thread(service: AnalysisService, thread_id: str) -> Iterator[Record]:
    page = PageRequest(limit=MAX_LIMIT, descending=False)
    try:
        found = service.thread(thread_id, page)
    except NotFound:
        return
    yield from found.items
    while found.next is not None:
        found = service.thread(thread_id, replace(page, cursor=found.next))
        yield from found.items


def _is_like(hit: dict[str, Any]) -> bool:
    """Whether it holds the words, or means something like them."""
    parts = hit["explanation"]
    return "text.rank" in parts or parts.get("vector.cosine", 1.0) >= LIKE


def _processor(name: str) -> str:
    lowered = name.lower()
    return _PROCESSORS.get(lowered, lowered)


_of_process: dict[str, AnalysisServiceIntegration] = {}


def get_analysis_service() -> AnalysisServiceIntegration:
    """The one of this process, configured from the environment as it is at the first call.

    Thread-safe. A forked child gets the same object, with connections of its own.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    # setdefault is atomic: of two that begin at once, one is kept, and no lock can be forked held.
    found = _of_process.get("service")
    return found or _of_process.setdefault("service", AnalysisServiceIntegration())


def close_analysis_service() -> None:
    """Close the service of this process; the next :func:`get_analysis_service` reads the
    environment anew (tests of programs want that). Closing at the end of the process needs no call.
    """
    found = _of_process.pop("service", None)
    if found is not None:
        found.close()


def get_service_integration_config() -> dict[str, Any]:
    """What the environment configures, by the names :class:`AnalysisServiceIntegration` takes.

    Secrets are not in it; they are read from the environment.
    """
    return integration_config()
