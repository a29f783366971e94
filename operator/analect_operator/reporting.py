"""What is said of a resource: its status, when it differs, and an Event when an answer changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from analect_operator.api import Api
from analect_operator.conditions import Verdict, changes, merged
from analect_operator.errors import ApiError
from analect_operator.specs.base import GROUP, VERSION
from analect_operator.times import rfc3339, rfc3339_micro
from analect_operator.verdicts import STUCK
from analect_operator.world import conditions

log = structlog.get_logger(__name__)

_CONTROLLER = "analect.dev/operator"
_NOTE = 1024
_EXPECTED = frozenset(
    {
        "NotPaused",
        "NotYet",
        "Progressing",
        "Restoring",
        "Running",
        "Starting",
        "Stopped",
        "WaitsForDatabase",
    }
)


def worth_telling(changed: Sequence[Mapping[str, Any]], *, first: bool) -> list[Mapping[str, Any]]:
    """Those of the changes that make an Event: what `Ready` says already is not said twice, nor what
    is well while `Ready` changes; ``first``: nothing was said of this resource before.
    """
    ready = next((one for one in changed if one["type"] == "Ready"), None)
    if ready is None:
        return [] if first else list(changed)
    said = ready["message"]
    return [ready] + [
        one
        for one in changed
        if one["status"] == "False"
        and not first
        and one is not ready
        and not said.startswith(f"{one['type']}=")
    ]


class Reporter:
    """Writes statuses and Events. ``wall`` gives microseconds since 1970; ``written`` hears of
    what a status became, as if the watch had told.
    """

    def __init__(
        self,
        api: Api,
        written: Callable[[dict[str, Any]], None],
        identity: str,
        wall: Callable[[], int],
    ) -> None:
        self._api = api
        self._written = written
        self._identity = identity[:128]
        self._wall = wall
        self._accepted: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    async def report(
        self, body: dict[str, Any], verdicts: Iterable[Verdict], more: dict[str, Any]
    ) -> bool:
        """Make the status of ``body`` say this; whether that took a write."""
        generation = body["metadata"]["generation"]
        before = conditions(body)
        after = merged(before, verdicts, generation, rfc3339(self._wall()))
        status = {"conditions": after, "observedGeneration": generation} | {
            name: value for name, value in more.items() if value is not None
        }
        uid, live = body["metadata"]["uid"], body.get("status", {})
        if status == live or self._accepted.get(uid) == (status, live):
            return False
        answer = await self._api.apply_status(
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": body["kind"],
                "metadata": {
                    "name": body["metadata"]["name"],
                    "namespace": body["metadata"]["namespace"],
                },
                "status": status,
            }
        )
        if (kept := answer.get("status", {})) == status:
            self._accepted.pop(uid, None)
        else:
            # Definitions from before leave out what they do not know: what is kept is what we said.
            self._accepted[uid] = (status, kept)
        self._written(answer)
        for one in worth_telling(changes(before, after), first=not before):
            await self._event(body, one)
        return True

    async def farewell(self, body: dict[str, Any], left: str) -> None:
        """Say in an Event what stays of something that was deleted."""
        self._accepted.pop(body["metadata"]["uid"], None)
        await self._write_event(body, "Deleted", left, worrying=False)

    async def _event(self, body: dict[str, Any], condition: Any) -> None:
        reason = condition["reason"]
        worrying = reason == STUCK or (condition["status"] == "False" and reason not in _EXPECTED)
        note = f"{condition['type']}={condition['status']}: {condition['message']}"
        await self._write_event(body, reason, note, worrying=worrying)

    async def _write_event(
        self, body: dict[str, Any], reason: str, note: str, *, worrying: bool
    ) -> None:
        meta = body["metadata"]
        manifest = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name'][:200]}.{self._wall():x}",
                "namespace": meta["namespace"],
            },
            "eventTime": rfc3339_micro(self._wall()),
            "reportingController": _CONTROLLER,
            "reportingInstance": self._identity,
            "action": "Reconcile",
            "reason": reason,
            "type": "Warning" if worrying else "Normal",
            "note": note[:_NOTE],
            "regarding": {
                "apiVersion": body["apiVersion"],
                "kind": body["kind"],
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
            },
        }
        try:
            await self._api.create(manifest)
        except ApiError as error:
            # An Event is a courtesy: the condition is what counts.
            log.debug("event not written", code=error.code, reason=error.reason)
