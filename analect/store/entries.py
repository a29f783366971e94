"""What an outbox tells of its entries, and how often what failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from analect.model.ids import Micros, RecordId


@dataclass(frozen=True, slots=True)
class Due:
    """An entry that may be taken. ``alone``: it shares no batch; ``urgent``: someone waits."""

    seq: int
    records: int
    alone: bool
    urgent: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """``attempts`` of a transient failure before an entry is split or quarantined; ``first`` and
    ``longest`` wait in microseconds, doubling between them; ``away`` is the longest where an engine
    did not answer: its processor rests then anyway, and whoever searches waits for what comes.
    """

    attempts: int = 20
    first: Micros = 1_000_000
    longest: Micros = 300_000_000
    away: Micros = 30_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A claimed entry. ``claimed_at`` and ``claimed_by`` are the lease."""

    seq: int
    processor: str
    operation: str
    ids: tuple[RecordId, ...]
    attempts: int
    priority: int
    commit_seq: int | None
    created_at: Micros
    claimed_by: str | None
    claimed_at: Micros | None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that a processor could not handle, and why."""

    seq: int
    processor: str
    operation: str
    record_id: RecordId
    code: str
    attempts: int
    created_at: Micros


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits for one processor. ``oldest`` is None when nothing does; ``code`` says why what is
    to be tried again failed, if anything did.
    """

    entries: int = 0
    oldest: Micros | None = None
    quarantined: int = 0
    code: str | None = None
