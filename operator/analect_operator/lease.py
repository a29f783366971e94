"""Who leads: one replica holds a Lease, and writes only while it surely does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import structlog

from analect_operator.api import Api
from analect_operator.errors import ApiError, OperatorError
from analect_operator.metrics import Metrics
from analect_operator.resources import Ref
from analect_operator.times import rfc3339_micro

log = structlog.get_logger(__name__)

LEASE_SECONDS = 10
_RENEW_SECONDS = 2.0
_SURE_SECONDS = 7.0
"""So long after it asked for the last renewal a leader still writes: a call takes up to three
seconds more, and only then may another one take over."""
_CALL_SECONDS = 3.0
"""A call on a connection that is dead without saying so must not cost the lead."""
_DEAF_SECONDS = 8.0
_PATIENCE_SECONDS = 60.0
"""A server that tells late is not asked to tell everything anew again and again."""


class NotLeading(OperatorError):
    """Another replica leads, or may."""


class Lease:
    """An elector, and the probe of the watches: whoever leads writes the Lease every two seconds, every
    replica reads it as often, so a watch that does not tell of it is deaf.

    ``wall`` gives microseconds since 1970; ``on_lead`` hears when this replica begins to lead,
    ``on_deaf`` when the watch on the Lease says nothing of what was read.
    """

    def __init__(
        self,
        api: Api,
        ref: Ref,
        identity: str,
        wall: Callable[[], int],
        metrics: Metrics,
        *,
        on_lead: Callable[[], None],
        on_deaf: Callable[[], None],
    ) -> None:
        self._api = api
        self._ref = ref
        self._identity = identity
        self._wall = wall
        self._metrics = metrics
        self._on_lead = on_lead
        self._on_deaf = on_deaf
        self._told = 0
        self._told_all_at = math.inf  # it has not begun
        self._sure_until = 0.0
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = 0.0
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._given_up = False

    def remaining(self) -> float:
        """Seconds that a write may take from now on.

        Raises:
            NotLeading: none at all.
        """
        left = self._sure_until - _now()
        if left <= 0:
            self._writable.clear()
            raise NotLeading("another replica leads")
        return left + 2.5

    @property
    def leads(self) -> bool:
        """Whether this replica may write now."""
        return _now() < self._sure_until

    async def leading(self) -> None:
        """Wait until this replica leads."""
        while not self.leads:
            self._writable.clear()
            await self._writable.wait()

    def observe(self, item: dict[str, Any], gone: bool) -> None:
        """An event of the watch on the Lease: it is looked at without waiting for the clock."""
        if not gone:
            self._told = int(item["metadata"]["resourceVersion"])
            if math.isinf(self._told_all_at):
                self._told_all_at = _now()
        if gone or not item.get("spec", {}).get("holderIdentity"):
            self._news.set()

    async def run(self) -> None:
        """Take the Lease when it is free, renew it, until cancelled."""
        while not self._given_up:
            # Before it looks: what is told meanwhile is news.
            self._news.clear()
            try:
                await self._try()
            except ApiError as error:
                log.debug("lease not renewed", code=error.code)
                self._told_all_at = max(self._told_all_at, _now())
            self._metrics.leader.set(1 if self.leads else 0)
            try:
                await asyncio.wait_for(self._news.wait(), _RENEW_SECONDS)
            except TimeoutError:
                continue

    async def release(self) -> None:
        """Give it up, so that another one leads at once; write nothing any more."""
        self._given_up = True
        held = self.leads
        self._sure_until = 0.0
        self._metrics.leader.set(0)
        if not held:
            return
        found = await self._api.get(self._ref, _CALL_SECONDS)
        if found is not None and found["spec"].get("holderIdentity") == self._identity:
            found["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
            await self._api.replace_lease(found, _CALL_SECONDS)
            log.info("gives the lease up", identity=self._identity)

    async def _try(self) -> None:
        asked = _now()
        found = await self._api.get(self._ref, _CALL_SECONDS)
        if found is None:
            await self._api.create_lease(self._manifest())
            return self._got(asked)
        self._listened(int(found["metadata"]["resourceVersion"]), asked)
        spec = found["spec"]
        holder, renewed = spec.get("holderIdentity") or "", spec.get("renewTime") or ""
        if (holder, renewed) != self._seen:
            self._seen, self._seen_at = (holder, renewed), asked
        duration = spec.get("leaseDurationSeconds", LEASE_SECONDS)
        if holder and holder != self._identity and asked - self._seen_at < duration:
            return None
        changed = self._manifest()["spec"]
        if holder != self._identity:
            changed["leaseTransitions"] = spec.get("leaseTransitions", 0) + 1
            changed["acquireTime"] = changed["renewTime"]
        found["spec"] = spec | changed
        await self._api.replace_lease(found, _CALL_SECONDS)
        return self._got(asked)

    def _listened(self, version: int, now: float) -> None:
        """Whether the watch told of the Lease as it was read, or of something later."""
        if version <= self._told:
            self._told_all_at = max(self._told_all_at, now)
        elif now - self._told_all_at > _DEAF_SECONDS:
            log.warning("watch is deaf", seconds=round(now - self._told_all_at, 1))
            self._told_all_at = now + _PATIENCE_SECONDS
            self._on_deaf()

    def _got(self, asked: float) -> None:
        if self._given_up:
            return
        began = not self.leads
        self._sure_until = asked + _SURE_SECONDS
        self._writable.set()
        if began:
            log.info("leads", identity=self._identity)
            self._on_lead()

    def _manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._ref.name, "namespace": self._ref.namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": rfc3339_micro(self._wall()),
            },
        }


def _now() -> float:
    return asyncio.get_running_loop().time()
