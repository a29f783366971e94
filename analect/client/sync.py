"""The client for programs with threads."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import stamina

from analect.client import calls
from analect.client.calls import Call, Moment
from analect.client.options import Counters, Options, Unaccepted
from analect.client.outgoing import Outgoing
from analect.client.spool import Spool
from analect.client.transport import Address, Delivery, Poster, answer, retry_delay, translating
from analect.client.wire import Entry, entry_of, error_of
from analect.model.ids import Clock, RandomBytes

DEFAULT_URL = "http://127.0.0.1:8080"
PAGE = 200
_PAUSE = 1.0
"""Seconds before a stream that ended is opened again."""

T = TypeVar("T")


def wall_clock() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def address_of(url: str | None, api_key: str | None, timeout: float) -> Address:
    """The address given, else ``ANALECT_URL`` and ``ANALECT_API_KEY``, else this machine."""
    return Address(
        url or os.environ.get("ANALECT_URL") or DEFAULT_URL,
        api_key or os.environ.get("ANALECT_API_KEY") or None,
        timeout,
    )


class Writing:
    """The writing half that both clients share: a queue and a thread behind it.

    Args:
        address: where the server is.
        options: how to batch and what to do when the queue is full.
        defaults: fields of every record that does not say otherwise.
        spool: a folder for batches when the server is long away; they lie there in clear.
        on_rejected: called from the background thread with every record that is not stored.
        clock: the time of records that name none.
        random_bytes: for ids.
    """

    def __init__(
        self,
        address: Address,
        options: Options,
        *,
        defaults: Mapping[str, Any],
        spool: str | Path | None,
        on_rejected: Callable[[Unaccepted], None] | None,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self.poster = Poster(address)
        self._defaults = dict(defaults)
        self._clock = clock
        self._random_bytes = random_bytes
        self.outgoing = Outgoing(
            self.poster,
            options,
            spool=None if spool is None else Spool(Path(spool), clock, random_bytes),
            on_unaccepted=on_rejected,
            random_bytes=random_bytes,
        )

    def queue(self, fields: Mapping[str, Any], *, block: bool | None = None) -> str:
        """Queue one record; its id."""
        entry = self._entry(fields)
        self.outgoing.put(entry, block=block)
        return entry.id

    def entries(self, records: Sequence[Mapping[str, Any]]) -> list[Entry]:
        """Records ready to be sent, with the ids they keep through every attempt."""
        return [self._entry(record) for record in records]

    def close(self, timeout: float | None) -> int:
        """Send what is queued and stop; how many records are left unsent."""
        left = self.outgoing.close(timeout)
        self.poster.close()
        return left

    def _entry(self, fields: Mapping[str, Any]) -> Entry:
        return entry_of({**self._defaults, **fields}, self._clock, self._random_bytes)


class Client:
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

    def feedback(
        self,
        record_id: str,
        *,
        rating: int | None = None,
        score: float | None = None,
        label: str | None = None,
        comment: str | None = None,
    ) -> dict[str, Any]:
        """Say later what a record was worth."""
        said = {"rating": rating, "score": score, "label": label, "comment": comment}
        return self._call(calls.feedback(record_id, said))

    # -- reading ---------------------------------------------------------------------------

    def get(self, record_id: str) -> dict[str, Any]:
        """One record."""
        return self._call(calls.get(record_id))

    def list(
        self,
        *,
        tags: Sequence[str] = (),
        dimensions: Mapping[str, str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        page_size: int = PAGE,
        **where: Any,
    ) -> Iterator[dict[str, Any]]:
        """Every record that passes, newest first, a page at a time as they are asked for."""
        where_ = calls.filters(where, tags=tags, dimensions=dimensions, since=since, until=until)
        return self._pages(calls.listing(where_, page_size))

    def list_page(
        self, *, limit: int = PAGE, cursor: str | None = None, **where: Any
    ) -> dict[str, Any]:
        """One page: ``{"items": […], "next": …}``; the filters of :meth:`list`."""
        said = {name: where.pop(name, None) for name in ("tags", "dimensions", "since", "until")}
        call = calls.listing(calls.filters(where, **{**said, "tags": said["tags"] or ()}), limit)
        return self._call(call if cursor is None else call.at(cursor))

    def thread(self, thread_id: str, *, page_size: int = PAGE) -> Iterator[dict[str, Any]]:
        """A conversation in order."""
        return self._pages(calls.thread(thread_id, page_size))

    def search(
        self,
        query: str,
        *,
        mode: str = "text",
        tags: Sequence[str] = (),
        dimensions: Mapping[str, str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int = 20,
        cursor: str | None = None,
        explain: bool | None = None,
        after: str | None = None,
        **where: Any,
    ) -> dict[str, Any]:
        """One page of hits: ``{"items": [{"record", "score", "highlights"}], "next": …}``."""
        where_ = calls.filters(where, tags=tags, dimensions=dimensions, since=since, until=until)
        options = {
            "mode": mode,
            "limit": limit,
            "cursor": cursor,
            "explain": explain,
            "after": after,
        }
        return self._call(calls.search(query, where_, options))

    def related(self, record_id: str, *, depth: int = 1, limit: int = 100) -> dict[str, Any]:
        """What a record is related to: ``nodes`` and ``edges``."""
        return self._call(calls.related(record_id, depth, limit))

    def changes(self, after: str | None = None, *, limit: int = PAGE) -> dict[str, Any]:
        """A page of everything once, in commit order; ``next`` says where to go on."""
        return self._call(calls.changes(after, limit))

    def tail(self, after: str | None = None) -> Iterator[dict[str, Any]]:
        """Changes as they happen, until the caller stops; goes on where it was when the server
        ends the stream.
        """
        headers = {"accept": "text/event-stream"}
        while True:
            if after is not None:
                headers["last-event-id"] = after
            with (
                translating(self._address.url),
                self._client().stream("GET", "/v1/tail", headers=headers, timeout=None) as stream,
            ):
                if not stream.is_success:
                    raise error_of(stream.status_code, stream.headers, stream.read())
                for event_id, data in events(stream.iter_bytes()):
                    after = event_id or after
                    yield data
            time.sleep(_PAUSE)

    def status(self) -> dict[str, Any]:
        """What an operator wants to see."""
        return self._call(calls.status())

    # -- documents -------------------------------------------------------------------------

    def put_document(
        self,
        kind: str,
        document_id: str,
        body: Any,
        *,
        owner: str | None = None,
        status: str | None = None,
        expires_at: Moment | None = None,
        expected_version: int | None = None,
    ) -> dict[str, Any]:
        """Save a new version; ``expected_version`` 0: it must not exist yet."""
        said = {"owner": owner, "status": status, "expires_at": expires_at}
        return self._call(calls.put_document(kind, document_id, body, said, expected_version))

    def get_document(
        self, kind: str, document_id: str, version: int | None = None
    ) -> dict[str, Any]:
        """The latest version, or the one asked for."""
        return self._call(calls.get_document(kind, document_id, version))

    def list_documents(
        self,
        kind: str,
        *,
        owner: str | None = None,
        status: str | None = None,
        page_size: int = PAGE,
    ) -> Iterator[dict[str, Any]]:
        """Documents of a kind, newest change first."""
        return self._pages(calls.list_documents(kind, owner, status, page_size))

    def delete_document(
        self, kind: str, document_id: str, expected_version: int | None = None
    ) -> None:
        """Forget a document and every version of it."""
        self._call(calls.delete_document(kind, document_id, expected_version))

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


def write_params(
    wait_indexed: float | None, *, omit_payload: bool, dedupe: bool
) -> dict[str, str | float]:
    """Query parameters of a write."""
    params: dict[str, str | float] = {}
    if wait_indexed is not None:
        params |= {"wait": "indexed", "timeout": wait_indexed}
    if omit_payload:
        params["omit"] = "payload"
    if dedupe:
        params["dedupe"] = "content"
    return params


def request_of(call: Call) -> dict[str, Any]:
    """Arguments of httpx's ``request``."""
    said: dict[str, Any] = {
        "method": call.method,
        "url": call.path,
        "params": list(call.params),
        "headers": dict(call.headers),
    }
    return said if call.body is None else said | {"json": call.body}


def events(chunks: Iterator[bytes]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """(id, data) of server-sent events; comments are skipped.

    Lines end at line feeds only: JSON may hold what Unicode calls a line separator.
    """
    event_id: str | None = None
    data: list[bytes] = []
    for line in _lines(chunks):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data:
                yield event_id, json.loads(b"\n".join(data))
            data = []
        elif name == b"data":
            data.append(value)
        elif name == b"id":
            event_id = value.decode()


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
