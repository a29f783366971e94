"""Which workers are the last to go: those that have a job at hand cost more to delete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from analect_operator.api import Api
from analect_operator.build.site import Site
from analect_operator.build.workloads import processors, worker, workers
from analect_operator.children import Children
from analect_operator.dispatchers import Dispatchers, Status
from analect_operator.errors import ApiError
from analect_operator.lease import NotLeading
from analect_operator.resources import PODS, Ref

log = structlog.get_logger(__name__)

_PRICE = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Pricing:
    """Prices workers before there are to be fewer. A worker that is told to go finishes its job in
    any case, so nothing waits for a dispatcher or an API server that does not answer.
    """

    api: Api
    children: Children
    dispatchers: Dispatchers

    async def before(self, site: Site) -> None:
        """Ask who is busy, where the store is about to have fewer workers than there are."""
        fewer = [
            one.name
            for one in processors(site)
            if 0 < workers(site, one) < live(self.children, site, one.name)
        ]
        if not fewer:
            return
        try:
            status = await self.dispatchers.status(site)
        except ApiError as error:
            log.debug("dispatcher not asked", store=site.name, error=error.reason)
            return
        if status is not None:
            await self.tell(site, fewer, status)

    async def tell(self, site: Site, fewer: Iterable[str], status: Status) -> None:
        """Price the workers of these processors by what the dispatcher said."""
        try:
            for name in fewer:
                await self._price(site, name, status.busy.get(name, frozenset()))
        except (ApiError, NotLeading) as error:
            log.debug("workers not priced", store=site.name, error=type(error).__name__)

    async def _price(self, site: Site, processor: str, busy: frozenset[str]) -> None:
        selector = ",".join(f"{k}={v}" for k, v in site.selector(worker(processor)).items())
        for pod in await self.api.items(PODS, site.namespace, labelSelector=selector):
            meta = pod["metadata"]
            price = "1" if meta["name"] in busy else "0"
            if meta.get("annotations", {}).get(_PRICE, "0") != price:
                ref = Ref(site.namespace, "Pod", meta["name"])
                await self.api.annotate(ref, {_PRICE: price})


def live(children: Children, site: Site, processor: str) -> int:
    """How many workers the live Deployment of a processor is to have; 0 where there is none."""
    child = children.get(Ref(site.namespace, "Deployment", site.called(worker(processor))))
    return 0 if child is None else child.facts.wanted
