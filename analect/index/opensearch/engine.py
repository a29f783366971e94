"""One OpenSearch: the exchange with it, and its refusals as this project's errors."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opensearchpy import OpenSearch as Client
from opensearchpy import exceptions as driver

from analect.index.breaker import Breaker, Silent, TooLong
from analect.index.trust import authority
from analect.model.errors import (
    ConfigurationError,
    EngineBusy,
    EngineMisconfigured,
    EngineReadOnly,
    EngineUnavailable,
    TerminalError,
)
from analect.settings import Search

OLDEST = (2, 19)
ENGINE = "opensearch"
KNN_PLUGIN = "opensearch-knn"
_NDJSON = {"content-type": "application/x-ndjson"}
_BUSY_SECONDS = 1.0
_GRACE_SECONDS = 1.0
"""In which it gives up by itself what has taken too long: until then it is not silent."""
BLOCKED = "cluster_block_exception"
_CANCELLED = "task_cancelled_exception"
_waited_for: ContextVar[bool] = ContextVar("waited_for", default=False)
_STARTING = {"illegal_index_shard_state_exception", "no_shard_available_action_exception"}
_CODE = re.compile(r"[a-z_]{1,60}\Z")

# The driver tells request bodies to whoever listens.
logging.getLogger("opensearch").setLevel(logging.CRITICAL)
logging.getLogger("opensearchpy.trace").setLevel(logging.CRITICAL)


class Refused(TerminalError):
    """OpenSearch answered and said no. ``kind`` is its own word for why, free of values."""

    code = "search_refused"

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(f"OpenSearch refused a request ({status} {kind})")
        self.status = status
        self.kind = kind


class Starting(EngineUnavailable):
    """The copy of an index that would have answered is not ready: its server begins, or another
    process made the index this moment.
    """


def kind_of(word: object) -> str:
    """OpenSearch's word for a refusal, if it is one."""
    return word if isinstance(word, str) and _CODE.match(word) else "unknown"


def read_only(settings: Search) -> EngineReadOnly:
    """What is said of a server that answers and takes no writes."""
    return EngineReadOnly(f"{settings.url} is read-only: its disk may be full")


class OpenSearch:
    """Thread-safe. Nothing is sent before the first request.

    Args:
        settings: where it is and how to get in; ``url`` must be set.
        breaker: guards every exchange.
    """

    def __init__(self, settings: Search, breaker: Breaker) -> None:
        if settings.url is None:
            raise ConfigurationError("search.url (ANALECT_SEARCH__URL) is not set", field="search")
        self.settings = settings
        self._url = settings.url
        self._breaker = breaker
        options: dict[str, Any] = {}
        if (credentials := settings.credentials()) is not None:
            options["http_auth"] = credentials
        if settings.url.startswith("https:"):
            options["verify_certs"] = True
            if settings.ca_file is not None:
                authority(settings.ca_file, "search.ca_file")
                options["ca_certs"] = str(settings.ca_file)
        self._client = Client(
            hosts=[settings.url],
            timeout=settings.timeout_seconds,
            pool_maxsize=settings.connections,
            # Of requests that met a connection closed meanwhile; a busy server is not asked again.
            max_retries=1,
            retry_on_status=(),
            **options,
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | bytes | None = None,
        timeout: float | None = None,
        **parameters: str,
    ) -> Any:
        """One exchange; the answer's JSON.

        Args:
            method: of HTTP.
            path: from the root, quoted.
            body: JSON, or lines of JSON as bytes.
            timeout: seconds, instead of the setting.
            parameters: of the query.

        Raises:
            EngineUnavailable: it is not there, busy, read-only, or does not let us in.
            Refused: it does not want this request.
        """
        given: dict[str, Any] = dict(parameters)
        if timeout is None and _waited_for.get():
            timeout = self.settings.answer_seconds + _GRACE_SECONDS
        if timeout is not None:
            given["request_timeout"] = timeout
        try:
            with self._breaker.guarding():
                return self._exchange(method, path, given, body)
        except driver.TransportError as error:
            raise self._refusal(error) from error

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Somebody waits for what is asked in the block, by this thread: an answer may take
        ``search.answer_seconds``, and whoever asks after one that hung is told so at once.
        """
        token = _waited_for.set(True)
        try:
            yield
        finally:
            _waited_for.reset(token)

    def check(self, *, vectors: bool) -> None:
        """Whether it is what is needed.

        Raises:
            ConfigurationError: it is too old, or no OpenSearch, or lacks the k-NN plugin.
            EngineUnavailable: it does not answer.
        """
        told = self.request("GET", "/")
        version = told.get("version", {})
        number = str(version.get("number", "?"))
        if version.get("distribution") != ENGINE or _numbers(number) < OLDEST:
            name = str(version.get("distribution", "no OpenSearch"))
            raise ConfigurationError(
                f"{self._url} is {name} {number}: OpenSearch {OLDEST[0]}.{OLDEST[1]} or newer is "
                "needed",
                field="search.url",
            )
        if vectors:
            plugins = self.request("GET", "/_cat/plugins", format="json", h="component")
            if KNN_PLUGIN not in {plugin["component"] for plugin in plugins}:
                raise ConfigurationError(
                    f"{self._url} lacks the plugin {KNN_PLUGIN}: install it, or switch "
                    "index.vectors off",
                    field="search.url",
                )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _exchange(self, method: str, path: str, parameters: Any, body: Any) -> Any:
        """What counts as a failure of the engine is raised here, for the breaker to see."""
        headers = _NDJSON if isinstance(body, bytes) else None
        try:
            return self._client.transport.perform_request(
                method, path, params=parameters, body=body, headers=headers
            )
        except driver.SSLError as error:
            raise EngineMisconfigured(
                f"{self._url} shows a certificate that is not trusted: name its authority in "
                "search.ca_file",
                field="search.ca_file",
            ) from error
        except driver.ConnectionTimeout as error:
            kind = Silent if _waited_for.get() else EngineUnavailable
            raise kind(f"{self._url} does not answer in time: see whether it hangs") from error
        except driver.ConnectionError as error:
            raise EngineUnavailable(f"{self._url} cannot be reached") from error
        except driver.SerializationError as error:
            raise EngineUnavailable(f"{self._url} answers what is no JSON") from error
        except driver.TransportError as error:
            if isinstance(error.status_code, int) and error.status_code < 500:
                raise
            if _was_cancelled(error.info):
                raise TooLong(
                    f"{self._url} gave a question up that took too long: narrow it by time, or "
                    "raise search.answer_seconds (ANALECT_SEARCH__ANSWER_SECONDS)"
                ) from error
            failed = Starting if kind_of(error.error) in _STARTING else EngineUnavailable
            raise failed(f"{self._url} fails ({error.status_code})") from error

    def _refusal(self, error: driver.TransportError) -> Exception:
        status, kind = int(error.status_code), kind_of(error.error)
        if status == 401:
            return EngineMisconfigured(
                f"{self._url} refused the password: see search.user and search.password",
                field="search.password",
            )
        if kind == BLOCKED:
            return read_only(self.settings)
        if status == 403:
            return EngineMisconfigured(
                f"{self._url} does not allow search.user to do this", field="search.user"
            )
        if status == 429:
            return EngineBusy(f"{self._url} is too busy", retry_after=_BUSY_SECONDS)
        return Refused(status, kind)


def _was_cancelled(told: object) -> bool:
    error = told.get("error") if isinstance(told, dict) else None
    cause = error.get("caused_by") if isinstance(error, dict) else None
    return isinstance(cause, dict) and cause.get("type") == _CANCELLED


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
