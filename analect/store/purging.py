"""Deleting for good by policy: in one transaction with the look at the legal holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine, delete, insert, text

from analect.model.ids import Micros, RecordId, id_bytes
from analect.store.choosing import Choice
from analect.store.deferred import deletion_entry
from analect.store.engine import read_transaction, write_transaction
from analect.store.erasure import chunks, journal_deletions
from analect.store.holds import Hold, standing_holds
from analect.store.leaving import Leaving, held_ids, leaving_ids, load_ids, remove_rows
from analect.store.tables import annotation_rows, content_hashes, outbox

PURGED_AT_ONCE = 500
_JOURNALED_AT_ONCE = 5000


def purge_hot(
    engine: Engine,
    leaving: Leaving,
    processors: Sequence[str],
    now: Micros,
    count: Callable[[Connection, Sequence[RecordId]], None],
    *,
    later: Collection[str] = (),
) -> int:
    """Delete one batch of hot rows that an owner lets go, and what belongs to them; how many.

    ``count`` is called with their ids before they go, in the same transaction. Besides
    ``leaving.holds`` those count that were laid by hand until now. Those of ``processors`` that
    are in ``later`` hear of it later (:mod:`analect.store.deferred`).
    """
    with write_transaction(engine) as connection:
        held = [hold.selector for hold in standing_holds(connection)]
        mine = replace(leaving, holds=[*leaving.holds, *held])
        ids = leaving_ids(connection, mine, PURGED_AT_ONCE)
        if ids:
            count(connection, ids)
            forget_beside(connection, ids)
            remove_rows(connection, ids)
            journal_deletions(connection, ids, processors, now, later)
        return len(ids)


def purge_ids(
    engine: Engine,
    ids: Sequence[RecordId],
    holds: Sequence[Choice],
    processors: Sequence[str],
    now: Micros,
) -> tuple[set[RecordId], set[RecordId]]:
    """Delete hot rows by id, and what belongs to them; those that went, and those that a hold
    keeps: one of ``holds``, or one that was laid by hand until now.
    """
    removed: set[RecordId] = set()
    held: set[RecordId] = set()
    for part in chunks(ids):
        with write_transaction(engine) as connection:
            laid = [hold.selector for hold in standing_holds(connection)]
            keeping = set(held_ids(connection, part, [*holds, *laid]))
            gone = [one for one in load_ids(connection, part) if one not in keeping]
            if gone:
                forget_beside(connection, gone)
                remove_rows(connection, gone)
                journal_deletions(connection, gone, processors, now)
            removed.update(gone)
            held |= keeping
    return removed, held


def same_holds(connection: Connection, laid: Sequence[Hold]) -> bool:
    """Whether the holds that were laid by hand are those that the caller looked at; none is laid
    until the transaction ends.
    """
    return list(standing_holds(connection)) == list(laid)


def forget_beside(connection: Connection, ids: Sequence[RecordId]) -> None:
    """Delete annotations and content hashes of records that go for good."""
    for part in chunks(ids):
        connection.execute(delete(annotation_rows).where(annotation_rows.c.record_id.in_(part)))
    forget_hashes(connection, ids)


def forget_hashes(connection: Connection, ids: Sequence[RecordId]) -> None:
    """Delete the content hashes of records, where content dedupe is used at all."""
    if connection.execute(text("SELECT 1 FROM content_hashes LIMIT 1")).first() is None:
        return
    for part in chunks(ids):
        connection.execute(delete(content_hashes).where(content_hashes.c.record_id.in_(part)))


def unindex(
    connection: Connection,
    ids: Sequence[RecordId],
    processors: Sequence[str],
    now: Micros,
    later: Collection[str] = (),
) -> None:
    """Let the indexes forget records that stay stored; the change feed hears nothing of it."""
    rows = [
        {
            **deletion_entry(name, now, later=name in later),
            "ids": b"".join(map(id_bytes, ids[start : start + _JOURNALED_AT_ONCE])),
        }
        for name in processors
        for start in range(0, len(ids), _JOURNALED_AT_ONCE)
    ]
    if rows:
        connection.execute(insert(outbox), rows)


def index_again(
    engine: Engine, ids: Sequence[RecordId], processors: Sequence[str], now: Micros
) -> None:
    """Have processors look again at those of ``ids`` that stand: they were sent again while the
    indexes were made to forget them.
    """
    for part in chunks(ids):
        with read_transaction(engine) as connection:
            if not load_ids(connection, part):
                continue
        with write_transaction(engine) as connection:
            # Of a record that stands, a deletion leaves what stands.
            unindex(connection, load_ids(connection, part), processors, now)


def purge_filed(
    connection: Connection,
    ids: Sequence[RecordId],
    processors: Sequence[str],
    now: Micros,
    later: Collection[str] = (),
) -> None:
    """What belongs to records of files that go for good, in the transaction that publishes."""
    forget_beside(connection, ids)
    for start in range(0, len(ids), _JOURNALED_AT_ONCE):
        part = ids[start : start + _JOURNALED_AT_ONCE]
        journal_deletions(connection, part, processors, now, later)
