"""What one commit writes: keys, records, tags, vault rows, the journal and the outbox.

:func:`write_group` runs inside one write transaction and serves several callers at once; each
learns its own outcome. The SQL that differs between the dialects is in
:mod:`analect.store.append_sqlite` and :mod:`analect.store.append_postgres`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from analect.model.ids import Micros, RecordId, id_bytes
from analect.model.record import NUMBER_FIELDS, TEXT_FIELDS, Draft

STORED, DUPLICATE, CONFLICT = "stored", "duplicate", "conflict"

VaultRow = tuple[str, int, bytes]
"""Token, key id, sealed value."""


class KeyRow(Protocol):
    """A wrapped data key as it goes into ``data_keys``."""

    @property
    def key_id(self) -> int:
        """Its id."""
        ...

    @property
    def shard(self) -> int:
        """0-255."""
        ...

    @property
    def scope(self) -> bytes:
        """Keyed hash of what it belongs to, 16 bytes."""
        ...

    @property
    def wrapped(self) -> bytes:
        """The key under its shard's key."""
        ...

    @property
    def created_at(self) -> Micros:
        """When it was made."""
        ...

    @property
    def generation(self) -> int:
        """Which generation of the shard's key wraps it."""
        ...


def key_values(row: KeyRow) -> tuple[object, ...]:
    """A key's columns, then the shard and generation that must stand for it."""
    return (
        row.key_id,
        row.shard,
        row.scope,
        row.wrapped,
        row.created_at,
        row.shard,
        row.generation,
    )


@dataclass(slots=True)
class SealedDraft:
    """A validated, pseudonymised draft and its sealed payload (None: omitted; empty: none came).

    ``content_hash`` (16 bytes) says whether two records of one id are the same.
    """

    draft: Draft
    received_at: Micros
    key_id: int | None
    payload: bytes | None
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class AppendResult:
    """Item by item: ``stored``, ``duplicate`` or ``conflict``, and the id that stands for it.

    ``commit_seq`` is None when nothing was new.
    """

    outcomes: tuple[str, ...]
    ids: tuple[RecordId, ...]
    commit_seq: int | None


class KeyRace(Exception):
    """Data keys of this batch do not stand: another process made the scope's key first, or it was
    erased. Forget ``key_ids``, seal again, and retry; nothing of the batch was stored.
    """

    def __init__(self, key_ids: Collection[int]) -> None:
        super().__init__(f"{len(key_ids)} data keys do not stand")
        self.key_ids = frozenset(key_ids)


@dataclass(slots=True)
class Request:
    """One caller's batch on its way into a commit."""

    batch: Sequence[SealedDraft]
    processors: tuple[str, ...]
    new_keys: Sequence[KeyRow] = ()
    vault_rows: Sequence[VaultRow] = ()
    dedupe: bool = False


@dataclass(slots=True)
class _Pending:
    """What became of a request's items while the group is put together."""

    request: Request
    outcomes: list[str] = field(default_factory=list)
    ids: list[RecordId] = field(default_factory=list)
    fresh: bool = False


class AppendSql(Protocol):
    """The statements of one dialect; every method runs in the caller's transaction."""

    def add_keys(self, connection: Connection, rows: Sequence[KeyRow]) -> None:
        """Insert those whose id and scope are free and whose generation stands."""
        ...

    def standing_keys(self, connection: Connection, key_ids: Sequence[int]) -> set[int]:
        """Which of them exist, held until the commit so that no erasure slips between."""
        ...

    def known_ids(self, connection: Connection, ids: Sequence[RecordId]) -> dict[RecordId, bytes]:
        """The content hashes of those that are stored."""
        ...

    def known_contents(
        self, connection: Connection, hashes: Sequence[bytes]
    ) -> dict[bytes, RecordId]:
        """The records of content hashes kept for dedupe."""
        ...

    def add_records(self, connection: Connection, items: Sequence[SealedDraft]) -> None:
        """Insert records and their tags; all of them are new."""
        ...

    def add_contents(self, connection: Connection, rows: Sequence[tuple[bytes, RecordId]]) -> None:
        """Remember content hashes."""
        ...

    def add_vault(self, connection: Connection, rows: Sequence[VaultRow]) -> None:
        """Insert those that are not there."""
        ...

    def journal(
        self, connection: Connection, ids: bytes, processors: Sequence[str], now: Micros
    ) -> int:
        """One row of the journal, one outbox entry a processor; the journal's seq."""
        ...


def write_group(
    connection: Connection, sql: AppendSql, requests: Sequence[Request], now: Micros
) -> list[AppendResult | KeyRace]:
    """Write several callers' batches in the transaction of ``connection``.

    Returns:
        For each request what became of it; a request with a :class:`KeyRace` wrote nothing but
        those of its keys that won.
    """
    lost = _settle_keys(connection, sql, requests)
    taking = [
        _Pending(request) for request, race in zip(requests, lost, strict=True) if race is None
    ]
    fresh = _sort_out(connection, sql, taking)
    _write(connection, sql, fresh, taking)
    seqs = _journal(connection, sql, taking, now)
    done = iter(
        AppendResult(
            tuple(pending.outcomes),
            tuple(pending.ids),
            seqs[pending.request.processors] if pending.fresh else None,
        )
        for pending in taking
    )
    return [next(done) if race is None else race for race in lost]


def _settle_keys(
    connection: Connection, sql: AppendSql, requests: Sequence[Request]
) -> list[KeyRace | None]:
    """Bring new keys in, then see whether every key in use stands."""
    rows = {row.key_id: row for request in requests for row in request.new_keys}
    if rows:
        # One order for all processes, or two of them could wait for each other.
        sql.add_keys(connection, sorted(rows.values(), key=attrgetter("scope")))
    used = [_used_keys(request) for request in requests]
    every = set().union(*used)
    missing = every - sql.standing_keys(connection, sorted(every)) if every else set()
    return [KeyRace(missing & keys) if missing & keys else None for keys in used]


def _used_keys(request: Request) -> set[int]:
    keys = {item.key_id for item in request.batch if item.key_id is not None}
    return keys.union(row[1] for row in request.vault_rows)


def _sort_out(
    connection: Connection, sql: AppendSql, taking: Sequence[_Pending]
) -> list[SealedDraft]:
    """Decide stored, duplicate or conflict for every item; the new ones, in order."""
    items = [item for pending in taking for item in pending.request.batch]
    stored = sql.known_ids(connection, [_id(item) for item in items]) if items else {}
    wanted = [item.content_hash for p in taking if p.request.dedupe for item in p.request.batch]
    contents = sql.known_contents(connection, wanted) if wanted else {}
    fresh: list[SealedDraft] = []
    for pending in taking:
        dedupe = pending.request.dedupe
        for item in pending.request.batch:
            record_id = _id(item)
            there = stored.get(record_id)
            if there is not None:
                outcome = DUPLICATE if there == item.content_hash else CONFLICT
            elif dedupe and item.content_hash in contents:
                outcome, record_id = DUPLICATE, contents[item.content_hash]
            else:
                outcome = STORED
                stored[record_id] = item.content_hash
                if dedupe:
                    contents[item.content_hash] = record_id
                pending.fresh = True
                fresh.append(item)
            pending.outcomes.append(outcome)
            pending.ids.append(record_id)
    return fresh


def _write(
    connection: Connection,
    sql: AppendSql,
    fresh: Sequence[SealedDraft],
    taking: Sequence[_Pending],
) -> None:
    if fresh:
        sql.add_records(connection, fresh)
    hashes = [
        (item.content_hash, record_id)
        for pending in taking
        if pending.request.dedupe
        for item, record_id, outcome in zip(
            pending.request.batch, pending.ids, pending.outcomes, strict=True
        )
        if outcome == STORED
    ]
    if hashes:
        sql.add_contents(connection, hashes)
    vault = sorted({row[:2]: row for p in taking for row in p.request.vault_rows}.values())
    if vault:
        sql.add_vault(connection, vault)


def _journal(
    connection: Connection, sql: AppendSql, taking: Sequence[_Pending], now: Micros
) -> dict[tuple[str, ...], int]:
    """One commit for every set of processors asked for (in practice one)."""
    groups: dict[tuple[str, ...], list[RecordId]] = {}
    for pending in taking:
        if pending.fresh:
            groups.setdefault(pending.request.processors, []).extend(_stored_ids(pending))
    return {
        processors: sql.journal(connection, b"".join(map(id_bytes, ids)), processors, now)
        for processors, ids in groups.items()
    }


def _stored_ids(pending: _Pending) -> Iterable[RecordId]:
    return (
        record_id
        for record_id, outcome in zip(pending.ids, pending.outcomes, strict=True)
        if outcome == STORED
    )


def _id(item: SealedDraft) -> RecordId:
    return item.draft.id  # type: ignore[return-value]  # settled: it holds a record id


RECORD_COLUMNS = (
    "id",
    "kind",
    "occurred_at",
    "external_id",
    *TEXT_FIELDS,
    "success",
    *NUMBER_FIELDS,
    "tags",
    "dimensions",
    "measures",
    "received_at",
    "key_id",
    "payload",
    "content_hash",
)
"""The order of :func:`record_row`; ``id`` first."""

_plain = attrgetter(*RECORD_COLUMNS[1 : RECORD_COLUMNS.index("tags")])
_json = msgspec.json.Encoder()


def record_row(item: SealedDraft, record_id: bytes | UUID) -> tuple[object, ...]:
    """The columns of one record, ``record_id`` in the dialect's form."""
    draft = item.draft
    return (
        record_id,
        *_plain(draft),
        json_text(draft.tags),
        json_text(draft.dimensions),
        json_text(draft.measures),
        item.received_at,
        item.key_id,
        item.payload,
        item.content_hash,
    )


def json_text(value: list[str] | dict[str, str] | dict[str, float]) -> str | None:
    """JSON, or None for nothing."""
    return _json.encode(value).decode() if value else None
