"""Calls to the API server: JSON in, JSON out, errors as ours, writes counted."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import aiohttp
import kopf
import msgspec
import structlog

from analect_operator.errors import LEAVING, ApiError, ConfigurationError
from analect_operator.metrics import Metrics
from analect_operator.objects import decoded
from analect_operator.resources import BY_KIND, Ref, Resource

log = structlog.get_logger(__name__)

FIELD_MANAGER = "analect-operator"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
_SECONDS = 30
_WATCH_SECONDS = 300
_TOKEN_SECONDS = 60
_CONNECTIONS = 32
_PAGE = 500
_WRITING = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Ignore"}
"""Warnings of fields that it does not know the server would get by reading every body once more,
strictly; an apply with such a field it refuses in any case."""

Body = dict[str, Any]


class PageMeta(msgspec.Struct, rename={"version": "resourceVersion", "after": "continue"}):
    """The version of the whole list, and where the next page begins; empty: nowhere."""

    version: str
    after: str = ""


class Page(msgspec.Struct):
    """A part of a list; its items not read yet."""

    metadata: PageMeta
    items: list[msgspec.Raw]


_PAGES = msgspec.json.Decoder(Page)


def credentials() -> kopf.ConnectionInfo:
    """The API server and what opens it: the pod's ServiceAccount, else the kubeconfig.

    Raises:
        ConfigurationError: there is neither.
    """
    settings = kopf.OperatorSettings()
    if (inside := kopf.login_with_service_account(settings=settings)) is not None:
        return replace(inside, server=_server_inside(os.environ) or inside.server)
    found = kopf.login_with_kubeconfig(settings=settings)
    if found is None:
        raise ConfigurationError(
            "no API server: run the operator in a pod with a ServiceAccount, or set KUBECONFIG"
        )
    return found


def _server_inside(environ: Mapping[str, str]) -> str | None:
    """What every pod is told of the API server: its address, for which no DNS has to work."""
    host, port = (environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    if not host or not port:
        return None
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class Api:
    """Connections to the API server, for calls and for watches; credentials are read again every
    minute.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._may_write: Callable[[], float] = lambda: float(_SECONDS)
        self._metrics = metrics
        info = credentials()
        self._server = info.server.rstrip("/")
        self._headers = info.as_http_headers()
        self._read_at = asyncio.get_running_loop().time()
        self._tls = _tls(info)
        self._session = self._connections(_CONNECTIONS)
        # Each watch holds one as long as it lasts, and there are a score a namespace.
        self._watching = self._connections(0)
        self._left: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Let the connections go."""
        for task in self._left:
            task.cancel()
        await asyncio.gather(*self._left, return_exceptions=True)
        await self._session.close()
        await self._watching.close()

    def _connections(self, most: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=most)
        return aiohttp.ClientSession(connector=connector)

    def _leave(self, session: aiohttp.ClientSession) -> None:
        """Take new connections from now on: what cut one off has cut off those beside it, and each
        would cost a call. Calls that are under way on them may end.
        """
        if session is not self._session:
            return
        self._session = self._connections(_CONNECTIONS)
        task = asyncio.get_running_loop().create_task(_closed_later(session))
        self._left.add(task)
        task.add_done_callback(self._left.discard)

    async def get(self, ref: Ref, seconds: float = _SECONDS) -> Body | None:
        """The object, or None; ``seconds`` is how long that may take.

        Raises:
            ApiError: as everywhere here.
        """
        try:
            return _read(await self._call("GET", _path(ref), seconds=seconds))
        except ApiError as error:
            if error.missing:
                return None
            raise

    async def items(
        self, resource: Resource, namespace: str | None = None, **query: str
    ) -> list[Body]:
        """All of a kind."""
        found = _read(await self._call("GET", resource.path(namespace), query=query))
        items: list[Body] = found["items"]
        return items

    async def page(
        self, resource: Resource, namespace: str | None, query: Mapping[str, str], after: str
    ) -> Page:
        """The next few hundred of a kind, ``after`` being what the page before ended with."""
        asked = {**query, "limit": str(_PAGE)} | ({"continue": after} if after else {})
        return _PAGES.decode(await self._call("GET", resource.path(namespace), query=asked))

    async def apply(
        self, manifest: Body, *, force: bool = True, manager: str = FIELD_MANAGER
    ) -> Body:
        """Server-side apply under our field manager; what is there afterwards, `decoded`."""
        ref = Ref.of(manifest)
        query = _WRITING | {"fieldManager": manager, "force": "true" if force else "false"}
        return decoded(
            await self._write("apply", ref, "PATCH", _path(ref), manifest, query, _APPLY)
        )

    async def apply_status(self, manifest: Body) -> Body:
        """Server-side apply of the status alone; what is there afterwards, `decoded`."""
        ref = Ref.of(manifest)
        query = _WRITING | {"force": "true"}
        path = f"{_path(ref)}/status"
        return decoded(await self._write("apply", ref, "PATCH", path, manifest, query, _APPLY))

    async def annotate(self, ref: Ref, annotations: Mapping[str, str]) -> None:
        """Set annotations of something that others made."""
        body: Body = {"metadata": {"annotations": dict(annotations)}}
        await self._write("patch", ref, "PATCH", _path(ref), body, _WRITING, _MERGE)

    async def create(self, manifest: Body) -> Body:
        """Make an object that must not be there yet; what is there then, `decoded`."""
        ref = Ref.of(manifest)
        path = BY_KIND[ref.kind].path(ref.namespace)
        return decoded(await self._write("create", ref, "POST", path, manifest, _WRITING, _JSON))

    def guard(self, may_write: Callable[[], float]) -> None:
        """From now on ask before every write: how many seconds it may take, or an exception."""
        self._may_write = may_write

    async def create_lease(self, manifest: Body) -> None:
        """Make the Lease; whoever does leads, so nobody is asked."""
        ref = Ref.of(manifest)
        self._metrics.writes.labels("create", ref.kind).inc()
        path = BY_KIND[ref.kind].path(ref.namespace)
        await self._call("POST", path, manifest, _WRITING)

    async def replace_lease(self, manifest: Body, seconds: float) -> None:
        """Write the Lease over the very version that was read, within so many seconds."""
        ref = Ref.of(manifest)
        self._metrics.writes.labels("update", ref.kind).inc()
        await self._call("PUT", _path(ref), manifest, _WRITING, seconds=seconds)

    async def delete(self, ref: Ref, uid: str | None = None) -> None:
        """Delete this very object; its dependants follow. Gone already is fine."""
        body: Body = {"propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._write("delete", ref, "DELETE", _path(ref), body, {}, _JSON)
        except ApiError as error:
            if not error.missing:
                raise

    async def kinds(self, api_version: str) -> frozenset[str]:
        """Kinds that the API server has of a group and version."""
        try:
            found = _read(await self._call("GET", f"/apis/{api_version}"))
        except ApiError as error:
            if error.missing:
                return frozenset()
            raise
        return frozenset(resource["kind"] for resource in found["resources"])

    async def watch(
        self, resource: Resource, namespace: str | None, query: dict[str, str], silence: float
    ) -> AsyncIterator[bytes]:
        """Lines of a watch; ends when the server ends it.

        Raises:
            ApiError: as everywhere here; also when nothing came for ``silence`` seconds.
        """
        asked = {"watch": "true", "timeoutSeconds": str(_WATCH_SECONDS), **query}
        url = f"{self._server}{resource.path(namespace)}?{urlencode(asked)}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence)
        try:
            async with self._watching.get(url, headers=self._fresh(), timeout=timeout) as answer:
                if answer.status >= 400:
                    raise self._refused(answer, await answer.read())
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreached(error) from error

    async def _write(  # noqa: PLR0917
        self,
        verb: str,
        ref: Ref,
        method: str,
        path: str,
        body: Body,
        query: Mapping[str, str],
        kind: str,
    ) -> bytes:
        seconds = self._may_write()
        self._metrics.writes.labels(verb, ref.kind).inc()
        log.debug("writes", verb=verb, kind=ref.kind, namespace=ref.namespace, name=ref.name)
        return await self._call(method, path, body, query, kind, seconds)

    async def _call(  # noqa: PLR0917
        self,
        method: str,
        path: str,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        kind: str = _JSON,
        seconds: float = _SECONDS,
    ) -> bytes:
        url = f"{self._server}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else msgspec.json.encode(body)
        headers = {**self._fresh(), "Content-Type": kind}
        session = self._session
        try:
            async with session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as answer:
                text = await answer.read()
                if answer.status >= 400:
                    raise self._refused(answer, text)
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self._leave(session)
            raise self._unreached(error) from error
        return text

    def _fresh(self) -> dict[str, str]:
        now = asyncio.get_running_loop().time()
        if now - self._read_at > _TOKEN_SECONDS:
            self._headers = credentials().as_http_headers()
            self._read_at = now
        return self._headers

    def _refused(self, answer: aiohttp.ClientResponse, text: bytes) -> ApiError:
        self._metrics.refusals.labels(str(answer.status)).inc()
        try:
            status = msgspec.json.decode(text)
        except msgspec.DecodeError:
            status = {}
        wait = answer.headers.get("Retry-After", "")
        causes = (status.get("details") or {}).get("causes") or ()
        leaving = any(cause.get("reason") == LEAVING for cause in causes)
        return ApiError(
            answer.status,
            LEAVING if leaving else status.get("reason") or str(answer.status),
            status.get("message") or f"the API server answered {answer.status}",
            retry_after=float(wait) if wait.isdecimal() else None,
        )

    def _unreached(self, error: BaseException) -> ApiError:
        self._metrics.refusals.labels("0").inc()
        return ApiError(0, "Unreachable", f"the API server does not answer: {type(error).__name__}")


async def _closed_later(session: aiohttp.ClientSession) -> None:
    try:
        await asyncio.sleep(_SECONDS)
    finally:
        await session.close()


def _read(text: bytes) -> Body:
    found: Body = msgspec.json.decode(text)
    return found


def _path(ref: Ref) -> str:
    return BY_KIND[ref.kind].path(ref.namespace, ref.name)


def _tls(info: kopf.ConnectionInfo) -> ssl.SSLContext:
    context = info.as_ssl_context()
    assert isinstance(context, ssl.SSLContext)  # noqa: S101  (for the type checker)
    return context
