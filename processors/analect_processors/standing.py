"""How the engines of a cluster stand, in words for people: what the operator reads."""

from __future__ import annotations

from functools import partial
from typing import Any

from analect.model.errors import AnalectError, EngineUnavailable
from analect.service import AnalysisService
from analect.settings import Settings
from analect.telemetry.patience import Patience
from analect_processors.queues import JobQueues, connect

KINDS = {"text": "search", "vectors": "vectors", "graph": "graph"}
"""What the engine of an index is called."""


QUEUE_SECONDS = 1.5
"""To wait for the queue's server: with what the indexes take, less than the operator waits."""


def standing(
    service: AnalysisService, queues: JobQueues, patience: Patience[dict[str, Any]]
) -> dict[str, Any]:
    """The service's status, with ``queues`` (jobs by state and workers, by processor), ``busy``
    (hosts of the workers that have a job at hand, by processor) and ``engines``: of each kind its
    ``state`` and, where that is not ``ok``, a ``message``. Without a database that is all there is.
    """
    found: dict[str, Any] = {"engines": {}}
    engines = found["engines"]
    try:
        found |= service.status()
        engines["database"] = {"state": "ok"}
    except AnalectError as error:
        engines["database"] = _away(error)
    try:
        told = patience.ask({"queue": partial(_of_queue, service, queues)})
        if "queue" not in told:
            raise EngineUnavailable(
                f"the queue's server said nothing within {patience.seconds:g} s; see queue.url"
            )
        found |= told["queue"]
        engines["queue"] = {"state": "ok"}
    except AnalectError as error:
        engines["queue"] = _away(error)
    for name, index in found.get("indexes", {}).items():
        shown = {"state": index["state"]}
        if "problem" in index:
            shown["message"] = index["problem"]
        engines[KINDS[name]] = shown
    return found


def _of_queue(service: AnalysisService, queues: JobQueues) -> dict[str, Any]:
    busy = {name: queues.busy(name) for name in service.processors()}
    return {"queues": queue_counts(service, queues), "busy": busy}


def queue_counts(service: AnalysisService, queues: JobQueues) -> dict[str, dict[str, int]]:
    """Jobs by state, and workers, of every processor.

    Raises:
        EngineUnavailable: the queue's server does not answer.
    """
    return {name: queues.counts(name) for name in service.processors()}


def queues_of(settings: Settings, service: AnalysisService) -> dict[str, Any]:
    """The same for a process without a connection to the queue's server; that it is away is said
    in place of the counts.
    """
    connection = connect(settings)
    try:
        queues = JobQueues(
            connection, settings.queue.prefix, lease=settings.processing.lease_seconds
        )
        return queue_counts(service, queues)
    except AnalectError as error:
        return {"problem": str(error)}
    finally:
        connection.close()


def _away(error: AnalectError) -> dict[str, str]:
    return {"state": "unavailable", "message": str(error)}
