"""What both clients write with: a queue, and a thread behind it that sends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analect.client.options import Options, Unaccepted
from analect.client.outgoing import Outgoing
from analect.client.spool import Spool
from analect.client.transport import Address, Poster
from analect.client.wire import Entry, entry_of
from analect.model.ids import Clock, RandomBytes

DEFAULT_URL = "http://127.0.0.1:8080"


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
