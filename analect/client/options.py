"""How a client queues and sends, and how it accounts for what it was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Options:
    """How records are queued and sent. Times are in seconds.

    ``when_full``: ``block`` until there is room, or ``raise``
    :class:`~analect.model.errors.Overloaded`. ``spool_after``: how long the server may be away
    before batches go to the spool, if there is one; without one they stay in the queue and are
    tried for as long as the client is open.
    """

    batch_size: int = 200
    batch_bytes: int = 4 * 1024 * 1024
    max_age: float = 0.5
    max_queued: int = 10_000
    when_full: Literal["block", "raise"] = "block"
    spool_after: float = 30.0
    close_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Counters:
    """What became of every record so far; ``queued`` is how many wait right now."""

    queued: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    unsent: int = 0
    spooled: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """A record that is not stored, and why. ``code`` ``unsent``: the client was closed first."""

    record: dict[str, Any]
    code: str
    message: str
    field: str | None = None
