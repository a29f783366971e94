"""HTTP, with the errors of this project and retries that honour the server's wish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import structlog

from analect.client.calls import Call
from analect.client.wire import Entry, decode, error_of
from analect.model.errors import AnalectError, ConfigurationError, StoreUnavailable, TransientError
from analect.model.record import Rejection

log = structlog.get_logger(__name__)

PAUSE = 1.0
"""Seconds before a stream that ended is opened again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the server said of a batch."""

    accepted: int
    duplicates: int
    rejected: tuple[Rejection, ...]
    ids: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is and how to talk to it. ``timeout`` is in seconds."""

    url: str
    api_key: str | None = None
    timeout: float = 30.0

    def options(self) -> dict[str, Any]:
        """Arguments of an httpx client."""
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError("the server's URL must start with http:// or https://")
        headers = {"accept": "application/json", "user-agent": "analect-client"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        # To read the authorities' certificates takes 40 ms: only for a server that shows one.
        tls = self.url.startswith("https://")
        options = {"headers": headers, "timeout": self.timeout, "verify": tls}
        return {"base_url": self.url.rstrip("/"), **options}


@contextmanager
def translating(url: str) -> Iterator[None]:
    """Httpx's exceptions as those of this project.

    Raises:
        StoreUnavailable: nobody answers, or the connection broke.
    """
    try:
        yield
    except httpx.InvalidURL as error:
        raise ConfigurationError("the server's URL is no URL") from error
    except httpx.ConnectError as error:
        raise StoreUnavailable(
            f"no server answers at {url}: is `analect serve` running there?", retry_after=None
        ) from error
    except httpx.TimeoutException as error:
        raise StoreUnavailable("the server did not answer in time", retry_after=None) from error
    except httpx.HTTPError as error:
        raise StoreUnavailable("the connection to the server broke", retry_after=None) from error


def answer(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a good answer (empty where there is none).

    Raises:
        AnalectError: what the server's problem stands for.
    """
    if response.is_success:
        found = decode(response.content) if response.content else {}
        if isinstance(found, dict):
            return found
        raise TransientError("the answer is not Analect's: is this its address?")
    raise error_of(response.status_code, response.headers, response.content)


def request_of(call: Call) -> dict[str, Any]:
    """Arguments of httpx's ``request``."""
    said: dict[str, Any] = {
        "method": call.method,
        "url": call.path,
        "params": list(call.params),
        "headers": dict(call.headers),
    }
    return said if call.body is None else said | {"json": call.body}


def tail_request(after: str | None) -> dict[str, Any]:
    """Arguments of httpx's ``stream`` for what happens behind ``after``, or from now on."""
    headers = {"accept": "text/event-stream"}
    if after is not None:
        headers["last-event-id"] = after
    return {"method": "GET", "url": "/v1/tail", "headers": headers, "timeout": None}


class Poster:
    """Sends batches of records from the background thread."""

    def __init__(self, address: Address, make: Callable[[], httpx.Client] | None = None) -> None:
        self._address = address
        self._make = make or (lambda: httpx.Client(**address.options()))
        self._http = self._make()
        self._abandoned: list[httpx.Client] = []

    def renew(self) -> None:
        """In a forked child: the parent's connections are not ours to use, nor to close."""
        self._abandoned.append(self._http)
        self._http = self._make()

    def send(
        self, entries: Sequence[Entry], params: Mapping[str, str | float] | None = None
    ) -> Delivery:
        """One attempt.

        Raises:
            TransientError: try again.
            TerminalError: the batch as a whole was refused.
        """
        body = b"[" + b",".join(entry.body for entry in entries) + b"]"
        with translating(self._address.url):
            response = self._http.post(
                "/v1/records",
                content=body,
                params=params,
                headers={"content-type": "application/json"},
            )
        return delivery_of(response, len(entries))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def delivery_of(response: httpx.Response, count: int) -> Delivery:
    """What became of a batch of ``count``: a 422 that names every item is an answer too."""
    if response.is_success or response.status_code == 422:
        try:
            found = decode(response.content)
            rejected = tuple(_rejection(item) for item in found["rejected"])
            if all(0 <= item.index < count for item in rejected):
                return Delivery(
                    accepted=int(found.get("accepted", 0)),
                    duplicates=int(found.get("duplicates", 0)),
                    rejected=rejected,
                    ids=tuple(found.get("ids") or ()),
                )
        except (KeyError, TypeError, ValueError):
            log.debug("answer without outcomes", status=response.status_code)
    if response.is_success:
        raise TransientError("the answer is not Analect's: is this its address?")
    raise error_of(response.status_code, response.headers, response.content)


def _rejection(item: dict[str, Any]) -> Rejection:
    error = item.get("error")
    if isinstance(error, dict):
        code, message, field = error.get("code"), error.get("message"), error.get("field")
    else:
        code, message, field = item.get("code"), error, item.get("field")
    return Rejection(
        index=int(item["index"]),
        id=item.get("id"),
        code=str(code or "invalid"),
        message=str(message or "refused"),
        field=field,
    )


def retry_delay(error: Exception) -> bool | float:
    """For stamina: whether to try again, and when, if the server said so."""
    if not isinstance(error, AnalectError) or not isinstance(error, TransientError):
        return False
    return True if error.retry_after is None else min(error.retry_after, 30.0)
