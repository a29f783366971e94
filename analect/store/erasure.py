"""The SQL of erasing: who is concerned, what goes, the receipts, and one eraser at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from analect.model.errors import InvalidInput
from analect.model.ids import Micros, RecordId, id_bytes, id_text
from analect.store.alone import alone
from analect.store.deferred import deletion_entry
from analect.store.engine import checkpoint, is_postgres, read_transaction, write_transaction
from analect.store.journal import journal_place, stored_since
from analect.store.tables import (
    annotation_rows,
    commits,
    content_hashes,
    document_versions,
    documents,
    erasures,
    outbox,
    record_tags,
    records,
)

SCOPES = ("subject", "session", "thread", "record")
PENDING, FINAL = "pending", "final"
AT_ONCE = 500
"""Rows of one transaction."""

_COLUMN = {
    "subject": records.c.subject,
    "session": records.c.session_id,
    "thread": records.c.thread_id,
}
_FACTS = (
    records.c.id,
    records.c.key_id,
    records.c.subject,
    records.c.session_id,
    records.c.thread_id,
    records.c.parent_id,
    records.c.kind,
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure did.

    ``scope`` is ``subject``, ``session``, ``thread`` or ``record``; ``target`` a pseudonym or a
    record id. ``counts`` says how much went, by place, and how much of others was sealed again.
    ``readable_elsewhere`` says what copies outside of this store may still show. ``state`` is
    ``pending`` until all of it is done and checked, then ``final``. ``journal_seq`` is where the
    journal stood when it was opened. ``breaks`` are backups that referred to files of the tiers
    which had to be written again: from these the other records in the files do not come back.
    """

    id: str
    scope: str
    target: str
    state: str
    counts: dict[str, int]
    readable_elsewhere: tuple[str, ...]
    created_at: Micros
    finished_at: Micros | None = None
    journal_seq: int = 0
    breaks: tuple[str, ...] = ()

    def breaking(self, backups: Iterable[str]) -> Receipt:
        """The same with backups that lose records of others."""
        return replace(self, breaks=tuple(sorted({*self.breaks, *backups})))

    def counting(self, **more: int) -> Receipt:
        """The same with more counted."""
        counts = dict(self.counts)
        for place, number in more.items():
            if number:
                counts[place] = counts.get(place, 0) + number
        return replace(self, counts=counts)


@dataclass(frozen=True, slots=True)
class Concerned:
    """A record that an erasure looks at."""

    id: RecordId
    key_id: int | None
    subject: str | None
    session_id: str | None
    thread_id: str | None
    parent_id: str | None
    kind: str

    def is_of(self, receipt: Receipt) -> bool:
        """Whether it is what the receipt asks to erase (evaluations of it aside)."""
        of = {"subject": self.subject, "session": self.session_id, "thread": self.thread_id}
        return receipt.target == of.get(receipt.scope, self.id)


@dataclass(slots=True)
class Doomed:
    """The records of one receipt, evaluations before what they evaluate."""

    receipt: Receipt
    records: dict[RecordId, Concerned] = field(default_factory=dict)

    def in_order(self) -> list[RecordId]:
        """Those that were found last first: they point at the others."""
        return list(reversed(self.records))


def doom(one: Concerned, every: Mapping[str, Doomed]) -> bool:
    """Whether a record that came later is to be erased as well; then it is added."""
    for doomed in every.values():
        evaluates = one.kind == "evaluation" and one.parent_id in doomed.records
        if evaluates or one.is_of(doomed.receipt):
            doomed.records[one.id] = one
            return True
    return False


@contextmanager
def one_eraser(engine: Engine) -> Iterator[None]:
    """Alone among all processes on this database; waits for its turn.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with alone(engine, "erasing"):
        yield


class ErasureRows:
    """Finds and deletes. Callers hold :func:`one_eraser`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- receipts --------------------------------------------------------------------------

    def open_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Write down what shall be erased, before anything is."""
        with write_transaction(self._engine) as connection:
            last = connection.execute(select(func.coalesce(func.max(commits.c.seq), 0)))
            seq = last.scalar_one()
            rows = [_receipt_row(replace(receipt, journal_seq=seq)) for receipt in receipts]
            connection.execute(insert(erasures), rows)

    def receipts(self, *states: str) -> list[Receipt]:
        """Receipts in these states (all when none is given), newest first."""
        wanted = select(erasures.c.receipt).order_by(
            erasures.c.created_at.desc(), erasures.c.id.desc()
        )
        if states:
            wanted = wanted.where(erasures.c.state.in_(states))
        with read_transaction(self._engine) as connection:
            found = connection.execute(wanted).scalars()
            return [msgspec.json.decode(text, type=Receipt) for text in found]

    def save(self, receipts: Sequence[Receipt]) -> None:
        """Bring receipts up to date."""
        with write_transaction(self._engine) as connection:
            for receipt in receipts:
                save_receipt(connection, receipt)

    # -- finding ---------------------------------------------------------------------------

    def journal_place(self) -> int:
        """Where the journal stands: what commits from now on is found by :func:`arrivals`."""
        with read_transaction(self._engine) as connection:
            return journal_place(connection)

    def find(self, receipts: Sequence[Receipt]) -> dict[str, Doomed]:
        """What each receipt is about, by the receipt's id; one pass over the table for all of the
        subjects, which have no index.
        """
        found = {receipt.id: Doomed(receipt) for receipt in receipts}
        taken: set[RecordId] = set()
        for scope in SCOPES:
            by_target = {r.target: found[r.id] for r in reversed(receipts) if r.scope == scope}
            column = _COLUMN.get(scope, records.c.id)
            for one in self._where(column, list(by_target)):
                target = one.id if scope == "record" else getattr(one, column.name)
                if one.id not in taken:
                    taken.add(one.id)
                    by_target[target].records[one.id] = one
        for doomed in found.values():
            self.add_evaluations(doomed, taken)
        return found

    def add_evaluations(self, doomed: Doomed, taken: set[RecordId]) -> bool:
        """Add the evaluations of doomed records, and theirs; whether there were any new."""
        layer: list[RecordId] = list(doomed.records)
        grown = False
        while layer:
            fresh = [
                one
                for one in self._where(records.c.parent_id, layer, records.c.kind == "evaluation")
                if one.id not in taken
            ]
            layer = [one.id for one in fresh]
            taken.update(layer)
            doomed.records.update((one.id, one) for one in fresh)
            grown = grown or bool(fresh)
        return grown

    def _where(
        self, column: Any, values: Sequence[Any], *also: ColumnElement[bool]
    ) -> Iterator[Concerned]:
        for part in chunks(values):
            wanted = select(*_FACTS).where(column.in_(part), *also)
            with read_transaction(self._engine) as connection:
                rows = connection.execute(wanted).fetchall()
            yield from (Concerned(*row) for row in rows)

    # -- deleting --------------------------------------------------------------------------

    def delete_records(
        self, receipt: Receipt, ids: Sequence[RecordId], processors: Sequence[str], now: Micros
    ) -> Receipt:
        """One transaction: records, tags, annotations and hashes go, the journal and the
        processors hear of it, the receipt counts it.
        """
        with write_transaction(self._engine) as connection:
            wanted = select(records.c.id, records.c.tags, records.c.content_hash)
            rows = connection.execute(wanted.where(records.c.id.in_(ids))).fetchall()
            there = [row.id for row in rows]
            if not there:
                return receipt
            _delete_tags(connection, [(row.id, row.tags) for row in rows])
            _delete_hashes(connection, rows)
            noted = annotation_rows.c.record_id.in_(there)
            gone = connection.execute(delete(annotation_rows).where(noted)).rowcount
            connection.execute(delete(records).where(records.c.id.in_(there)))
            journal_deletions(connection, there, processors, now)
            counted = receipt.counting(records=len(there), annotations=gone)
            save_receipt(connection, counted)
            return counted

    def delete_documents(self, receipt: Receipt) -> Receipt:
        """Documents that the subject owns, every version of them, and versions it once owned."""
        if receipt.scope != "subject":
            return receipt
        owner = receipt.target
        with write_transaction(self._engine) as connection:
            owned = select(documents.c.kind, documents.c.id).where(documents.c.owner == owner)
            keys = [tuple(row) for row in connection.execute(owned)]
            versions = 0
            for part in chunks(keys):
                pair = tuple_(document_versions.c.kind, document_versions.c.id)
                versions += connection.execute(
                    delete(document_versions).where(pair.in_(part))
                ).rowcount
            once = document_versions.c.owner == owner
            versions += connection.execute(delete(document_versions).where(once)).rowcount
            connection.execute(delete(documents).where(documents.c.owner == owner))
            counted = receipt.counting(documents=len(keys), document_versions=versions)
            save_receipt(connection, counted)
            return counted

    def deleted_since(self, journal_seq: int) -> list[RecordId]:
        """Ids that left by commits behind ``journal_seq``."""
        wanted = select(commits.c.ids).where(
            commits.c.operation == "delete", commits.c.seq > journal_seq
        )
        with read_transaction(self._engine) as connection:
            found = connection.execute(wanted).scalars().all()
        return [record_id for raw in found for record_id in split_ids(raw)]

    def claims(self) -> set[tuple[int, Micros]]:
        """Work that processors are at: they may hold what was deleted meanwhile."""
        wanted = select(outbox.c.seq, outbox.c.claimed_at).where(
            outbox.c.state == "claimed", outbox.c.operation == "put"
        )
        with read_transaction(self._engine) as connection:
            return {(row.seq, row.claimed_at) for row in connection.execute(wanted)}

    def checkpoint(self) -> bool:
        """Leave nothing in SQLite's write-ahead log; false when a reader was in the way."""
        if is_postgres(self._engine):
            return True
        busy, _ = checkpoint(self._engine, "TRUNCATE")
        return not busy


def arrivals(connection: Connection, place: int, key_ids: Sequence[int]) -> list[Concerned]:
    """Records sealed by these keys that were committed since :meth:`ErasureRows.journal_place`."""
    ids = [one for raw in stored_since(connection, place) for one in split_ids(raw)]
    found: list[Concerned] = []
    for part in chunks(ids):
        wanted = select(*_FACTS).where(records.c.id.in_(part), records.c.key_id.in_(key_ids))
        found += [Concerned(*row) for row in connection.execute(wanted)]
    return found


def save_receipt(connection: Connection, receipt: Receipt) -> None:
    """Bring one receipt up to date."""
    row = _receipt_row(receipt)
    connection.execute(update(erasures).where(erasures.c.id == receipt.id).values(row))


def check_scope(scope: str) -> None:
    """Raises:
    InvalidInput: there is no such scope.
    """
    if scope not in SCOPES:
        raise InvalidInput(f"scope must be one of {', '.join(SCOPES)}", field="scope")


def chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of at most :data:`AT_ONCE`."""
    whole = list(values)
    for start in range(0, len(whole), AT_ONCE):
        yield whole[start : start + AT_ONCE]


def split_ids(raw: bytes) -> list[RecordId]:
    """The ids of a journal entry."""
    whole = bytes(raw)
    return [id_text(whole[start : start + 16]) for start in range(0, len(whole), 16)]


def _delete_tags(connection: Connection, tagged: Sequence[tuple[RecordId, str | None]]) -> None:
    pairs = [
        (tag, record_id)
        for record_id, tags in tagged
        if tags
        for tag in msgspec.json.decode(tags, type=list[str])
    ]
    if pairs:
        here = and_(record_tags.c.tag == bindparam("t"), record_tags.c.record_id == bindparam("r"))
        rows = [{"t": tag, "r": record_id} for tag, record_id in pairs]
        connection.execute(delete(record_tags).where(here), rows)


def _delete_hashes(connection: Connection, rows: Sequence[Any]) -> None:
    hashes = [row.content_hash for row in rows]
    ids = [row.id for row in rows]
    connection.execute(
        delete(content_hashes).where(
            content_hashes.c.hash.in_(hashes), content_hashes.c.record_id.in_(ids)
        )
    )


def journal_deletions(
    connection: Connection,
    ids: Sequence[RecordId],
    processors: Sequence[str],
    now: Micros,
    later: Collection[str] = (),
) -> None:
    """Tell the feed and the processors, in the transaction that deletes; those of ``later`` by
    :func:`~analect.store.deferred.deletion_entry`.
    """
    txid: Any = 0
    if is_postgres(connection):
        txid = cast(cast(func.pg_current_xact_id(), Text), BigInteger)
    row = {"txid": txid, "operation": "delete", "committed_at": now}
    row["ids"] = b"".join(map(id_bytes, ids))
    seq = connection.execute(insert(commits).values(row).returning(commits.c.seq)).scalar_one()
    queue_deletions(connection, [seq], processors, now, later)


def queue_deletions(
    connection: Connection,
    seqs: Sequence[int],
    processors: Sequence[str],
    now: Micros,
    later: Collection[str] = (),
) -> None:
    """Let the processors forget what these commits deleted."""
    entries = [
        {**deletion_entry(name, now, later=name in later), "commit_seq": seq}
        for seq in seqs
        for name in processors
    ]
    if entries:
        connection.execute(insert(outbox), entries)


def _receipt_row(receipt: Receipt) -> dict[str, Any]:
    return {
        "id": receipt.id,
        "scope": receipt.scope,
        "target": receipt.target,
        "state": receipt.state,
        "receipt": msgspec.json.encode(receipt).decode(),
        "created_at": receipt.created_at,
        "finished_at": receipt.finished_at,
    }
