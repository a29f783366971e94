"""A Qdrant server: its client, and errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from analect.index.breaker import Breaker
from analect.index.trust import authority, untrusted
from analect.model.errors import EngineMisconfigured, EngineUnavailable, TerminalError
from analect.settings import Qdrant

_BUSY = {408, 409, 429}


class QdrantServer:
    """Nothing is asked before the first use. Thread-safe as its client is."""

    def __init__(self, client: QdrantClient, breaker: Breaker, prefix: str) -> None:
        """``prefix``: what the names of this store's collections begin with."""
        self._client = client
        self._breaker = breaker
        self.prefix = prefix

    @classmethod
    def of(cls, settings: Qdrant, breaker: Breaker) -> QdrantServer:
        """The one that is set.

        Raises:
            ConfigurationError: a file that the settings name cannot be read.
        """
        trust: dict[str, Any] = {}
        if settings.ca_file is not None:
            trust["verify"] = authority(settings.ca_file, "qdrant.ca_file")
        client = QdrantClient(
            url=settings.address,
            api_key=settings.key(),
            timeout=max(1, round(settings.timeout_seconds)),
            check_compatibility=False,
            **trust,
        )
        return cls(client, breaker, settings.prefix)

    @contextmanager
    def asking(self) -> Iterator[QdrantClient]:
        """Around each exchange.

        Raises:
            EngineUnavailable: the server does not answer, or refuses the key.
            TerminalError: it refuses what was asked.
        """
        with self._breaker.guarding(), _translated():
            yield self._client

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def _translated() -> Iterator[None]:
    """What the server says may quote a value and is left out."""
    try:
        yield
    except UnexpectedResponse as error:
        status = error.status_code or 500
        if status in {401, 403}:
            raise EngineMisconfigured(
                "Qdrant refuses qdrant.api_key (ANALECT_QDRANT__API_KEY)", field="qdrant.api_key"
            ) from None
        if status == 404:
            raise EngineUnavailable("Qdrant has no such collection (any more); ask again") from None
        if status < 500 and status not in _BUSY:
            raise TerminalError(f"Qdrant refuses what was asked of it (status {status})") from None
        raise EngineUnavailable(f"Qdrant cannot answer now (status {status})") from None
    except ResourceExhaustedResponse as error:
        raise EngineUnavailable("Qdrant is busy", retry_after=error.retry_after_s) from None
    except (ResponseHandlingException, httpx.HTTPError) as error:
        if untrusted(error):
            raise EngineMisconfigured(
                "Qdrant shows a certificate that is not trusted: name its authority in "
                "qdrant.ca_file (ANALECT_QDRANT__CA_FILE)",
                field="qdrant.ca_file",
            ) from error
        raise EngineUnavailable(
            "Qdrant does not answer; see that qdrant.url (ANALECT_QDRANT__URL) is right and that "
            "the server runs"
        ) from error
