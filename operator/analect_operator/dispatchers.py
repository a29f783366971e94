"""The dispatcher of a store, as the operator speaks to it: over HTTP, with an API key of its own."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import aiohttp
import msgspec
import structlog

from analect_operator.api import Api
from analect_operator.build.environment import PORT
from analect_operator.build.site import Site
from analect_operator.resources import Ref
from analect_operator.world import Secrets

log = structlog.get_logger(__name__)

_SECONDS = 5.0


class Engine(msgspec.Struct, frozen=True):
    """A server behind the store, as its dispatcher sees it."""

    state: str
    message: str | None = None


class Backlog(msgspec.Struct, frozen=True):
    """What waits for the workers of a processor."""

    entries: int = 0


class Data(msgspec.Struct, frozen=True):
    """What the dispatcher says of the database."""

    schema: str | None = None


class Status(msgspec.Struct, frozen=True):
    """As much of a dispatcher's answer as anybody here looks at. ``busy`` names, by processor, the
    pods that have a job at hand.
    """

    engines: dict[str, Engine] = {}
    processors: dict[str, Backlog] = {}
    busy: dict[str, frozenset[str]] = {}
    store: Data = Data()


_STATUS = msgspec.json.Decoder(Status)


@dataclass(frozen=True, slots=True)
class Dispatchers:
    """Asks dispatchers for the status of their stores; ``service_url`` says how Services are
    reached.
    """

    api: Api
    secrets: Secrets
    service_url: str
    _keys: dict[Ref, tuple[str, str]] = field(default_factory=dict)

    async def status(self, site: Site) -> Status | None:
        """What the dispatcher says; None when it says nothing within five seconds, or nothing that
        is understood.

        Raises:
            ApiError: the API server does not give the key.
        """
        key = await self._key(site)
        if key is None:
            return None
        address = self.service_url.format(
            service=site.called("dispatcher"), namespace=site.namespace, port=PORT
        )
        headers = {"Authorization": f"Bearer {key}"}
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{address}/v1/status", headers=headers) as answer,
            ):
                if answer.status != 200:
                    return None
                return _STATUS.decode(await answer.read())
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            log.debug("dispatcher not heard", store=site.name, error=type(error).__name__)
            return None

    async def _key(self, site: Site) -> str | None:
        """Read again when its Secret changes."""
        ref = Ref(site.namespace, "Secret", site.secret)
        digest = self.secrets.digest(site.namespace, site.secret)
        if digest is None:
            return None
        known = self._keys.get(ref)
        if known is None or known[0] != digest:
            body = await self.api.get(ref) or {}
            value = body.get("data", {}).get("api-key")
            if value is None:
                return None
            known = self._keys[ref] = (digest, base64.b64decode(value).decode())
        return known[1]
