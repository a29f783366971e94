"""A kind watched: every change once, deletions missed during a gap made up for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from analect_operator.api import Api
from analect_operator.errors import ApiError
from analect_operator.metrics import Metrics
from analect_operator.objects import decoded
from analect_operator.resources import Ref, Resource

log = structlog.get_logger(__name__)

OnChange = Callable[[dict[str, Any], bool], None]
"""Called with an object and whether it is gone."""


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_EVENT = msgspec.json.Decoder(_Event)
_LONGEST_PAUSE = 5.0
_YIELD_EVERY = 50


class Informer:
    """Watches one kind, in one namespace or all; ``synced`` is set once the first list is in."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        *,
        namespace: str | None,
        on_change: OnChange,
        metrics: Metrics,
        selectors: dict[str, str],
        jitter: Callable[[], float],
        silence: float,
    ) -> None:
        """``silence``: seconds of hearing nothing after which the connection counts as dead. The
        server says something about once a minute.
        """
        self.resource = resource
        self.synced = asyncio.Event()
        self._api = api
        self._namespace = namespace
        self._on_change = on_change
        self._metrics = metrics
        self._selectors = selectors
        self._jitter = jitter
        self._silence = silence
        self._known: dict[Ref, str] = {}
        self._version: str | None = None
        self._heard_at = asyncio.get_running_loop().time()
        self._listening: asyncio.Timeout | None = None

    @property
    def silent_seconds(self) -> float:
        """How long the watch has said nothing."""
        return asyncio.get_running_loop().time() - self._heard_at

    async def run(self) -> None:
        """Watch until cancelled."""
        failures = 0
        while True:
            try:
                await self._follow()
                failures = 0
            except ApiError as error:
                # 410: the version we would go on from is gone. 404: so is the kind.
                if error.code in {404, 410}:
                    self._version = None
                if error.missing:
                    self._sweep(frozenset())
                    self.synced.set()
                failures += 1
                kind = self.resource.kind
                self._metrics.watch_restarts.labels(kind).inc()
                pause = min(0.1 * 2**failures, _LONGEST_PAUSE) * (0.5 + self._jitter() / 2)
                log.debug("watch begins again", kind=kind, code=error.code, seconds=round(pause, 2))
                await asyncio.sleep(max(pause, error.retry_after or 0.0))

    def listen_anew(self) -> None:
        """Go on from where the watch is, on another connection: this one is taken for dead."""
        if self._listening is not None:
            self._listening.reschedule(asyncio.get_running_loop().time())

    async def _follow(self) -> None:
        if self._version is None:
            # Not by a watch that begins with a list: every other version of Kubernetes has none.
            self._version = await self._list()
            self.synced.set()
        try:
            async with asyncio.timeout(None) as self._listening:
                await self._listen(self._version)
        except TimeoutError as error:
            raise ApiError(0, "Deaf", "other connections hear what this one does not") from error
        finally:
            self._listening = None

    async def _listen(self, since: str) -> None:
        query = {
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            **self._selectors,
        }
        count = 0
        async for line in self._api.watch(self.resource, self._namespace, query, self._silence):
            self._heard_at = asyncio.get_running_loop().time()
            event = _EVENT.decode(line)
            if event.type == "ERROR":
                status = msgspec.json.decode(event.object)
                raise ApiError(status.get("code", 500), status.get("reason", ""), "the watch ended")
            if event.type == "BOOKMARK":
                self._version = msgspec.json.decode(event.object)["metadata"]["resourceVersion"]
                continue
            self._version = self._changed(event.object, gone=event.type == "DELETED")[1]
            count += 1
            if count % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _list(self) -> str:
        """Everything there is, a page at a time; the version from which to watch."""
        present: set[Ref] = set()
        after = ""
        while True:
            page = await self._api.page(self.resource, self._namespace, self._selectors, after)
            self._heard_at = asyncio.get_running_loop().time()
            for start in range(0, len(page.items), _YIELD_EVERY):
                for text in page.items[start : start + _YIELD_EVERY]:
                    present.add(self._changed(text, gone=False)[0])
                await asyncio.sleep(0)
            after = page.metadata.after
            if not after:
                self._sweep(present)
                return page.metadata.version

    def _changed(self, text: msgspec.Raw, *, gone: bool) -> tuple[Ref, str]:
        item = decoded(text)
        # Items of a list do not say what they are.
        item.setdefault("kind", self.resource.kind)
        item.setdefault("apiVersion", self.resource.api_version)
        ref = Ref.of(item)
        version: str = item["metadata"]["resourceVersion"]
        if gone:
            self._known.pop(ref, None)
            self._on_change(item, True)
        elif self._known.get(ref) != version:
            self._known[ref] = version
            self._on_change(item, False)
        return ref, version

    def _sweep(self, present: set[Ref] | frozenset[Ref]) -> None:
        """What was known and is not listed any more went while nobody watched."""
        for ref in [ref for ref in self._known if ref not in present]:
            del self._known[ref]
            meta = {"namespace": ref.namespace, "name": ref.name}
            self._on_change({"kind": ref.kind, "metadata": meta}, True)
