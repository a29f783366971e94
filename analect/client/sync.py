"""The client for programs with threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import stamina

from analect.client.calls import Call
from analect.client.events import EventStream
from analect.client.options import Counters, Options, Unaccepted
from analect.client.reading import Reading
from analect.client.transport import (
    PAUSE,
    Delivery,
    answer,
    request_of,
    retry_delay,
    tail_request,
    translating,
)
from analect.client.wire import error_of
from analect.client.writing import Writing, address_of, wall_clock, write_params
from analect.model.ids import Clock, RandomBytes

T = TypeVar("T")


class Client(Reading[dict[str, Any], Iterator[dict[str, Any]]]):
    """Stores records in the background and reads them back.

    ``url`` and ``api_key`` default to ``ANALECT_URL`` and ``ANALECT_API_KEY``. Safe to share
    between threads and to carry over a fork. Close it, or use it in a ``with`` block; what is
    queued when the process ends is sent first.

    Reads raise the errors of :mod:`analect.model.errors`; transient ones are retried first, at
    most ``attempts`` times.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        attempts: int = 4,
        options: Options = Options(),  # noqa: B008  (frozen)
        defaults: Mapping[str, Any] | None = None,
        spool: str | Path | None = None,
        on_rejected: Callable[[Unaccepted], None] | None = None,
        clock: Clock = wall_clock,
        random_bytes: RandomBytes = os.urandom,
    ) -> None:
        self._address = address_of(url, api_key, timeout)
        self._attempts = attempts
        self._pid = os.getpid()
        self._http = httpx.Client(**self._address.options())
        self._abandoned: list[httpx.Client] = []
        self._writing = Writing(
            self._address,
            options,
            defaults=defaults or {},
            spool=spool,
            on_rejected=on_rejected,
            clock=clock,
            random_bytes=random_bytes,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------------

    def record(self, **fields: Any) -> str:
        """Queue a record by the fields of the contract; returns the id it was given.

        Raises:
            InvalidInput: an unknown field, or something that JSON cannot hold.
            Overloaded: the queue is full and ``when_full`` is ``raise``.
        """
        return self._writing.queue(fields)

    def log(self, input: Any, output: Any = None, **fields: Any) -> str:
        """Queue an interaction: what was asked and what was answered."""
        return self.record(input=input, output=output, **fields)

    def send(
        self,
        records: Sequence[Mapping[str, Any]],
        *,
        wait_indexed: float | None = None,
        omit_payload: bool = False,
        dedupe: bool = False,
    ) -> Delivery:
        """Store records now and say what became of each; transient errors are retried."""
        entries = self._writing.entries(records)
        params = write_params(wait_indexed, omit_payload=omit_payload, dedupe=dedupe)
        return self._retried(lambda: self._writing.poster.send(entries, params))

    def flush(self, timeout: float | None = None) -> bool:
        """Send what is queued; false when ``timeout`` seconds were not enough."""
        return self._writing.outgoing.flush(timeout)

    def close(self, timeout: float | None = None) -> int:
        """Send what is queued and stop; how many records are left unsent (0 is good)."""
        left = self._writing.close(timeout)
        self._http.close()
        return left

    @property
    def counters(self) -> Counters:
        """What became of the queued records so far."""
        return self._writing.outgoing.counters

    def tail(self, after: str | None = None) -> Iterator[dict[str, Any]]:
        """Changes as they happen, until the caller stops; goes on where it was when the server
        ends the stream.
        """
        while True:
            events = EventStream()
            with (
                translating(self._address.url),
                self._client().stream(**tail_request(after)) as stream,
            ):
                if not stream.is_success:
                    raise error_of(stream.status_code, stream.headers, stream.read())
                for chunk in stream.iter_bytes():
                    for event_id, data in events.feed(chunk):
                        after = event_id or after
                        yield data
            time.sleep(PAUSE)

    # -- inside ----------------------------------------------------------------------------

    def _client(self) -> httpx.Client:
        """This process's connections: a forked child must not use its parent's."""
        if self._pid != os.getpid():
            self._abandoned.append(self._http)
            self._http, self._pid = httpx.Client(**self._address.options()), os.getpid()
        return self._http

    def _call(self, call: Call) -> dict[str, Any]:
        def once() -> dict[str, Any]:
            with translating(self._address.url):
                response = self._client().request(**request_of(call))
            return answer(response)

        return self._retried(once) if call.repeatable else once()

    def _retried(self, once: Callable[[], T]) -> T:
        for attempt in stamina.retry_context(on=retry_delay, attempts=self._attempts):
            with attempt:
                return once()
        raise AssertionError  # the last attempt returns or raises

    def _pages(self, call: Call) -> Iterator[dict[str, Any]]:
        while True:
            page = self._call(call)
            yield from page["items"]
            if page.get("next") is None:
                return
            call = call.at(page["next"])
