"""Survivors: what a key that must go has sealed, but must stay. It is sealed again by another key.

Every statement moves a row only if the old key still seals it, so batches can be repeated after a
crash, and nothing is sealed twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, bindparam, select, update

from analect.model.errors import StoreUnavailable
from analect.model.ids import RecordId
from analect.privacy.keys import DataKey
from analect.privacy.seal import Sealer, annotation_binding, document_binding, vault_binding
from analect.store.append import AppendSql
from analect.store.append_postgres import PostgresAppend
from analect.store.append_sqlite import SqliteAppend
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.erasure import AT_ONCE, Concerned, chunks
from analect.store.rows import COLUMNS, StoredRecord, stored_record
from analect.store.tables import annotation_rows, document_versions, documents, records, vault
from analect.store.upsert import insert_into

_TOKEN = re.compile(rb"<[a-z][a-z0-9-]{0,31}:[0-9a-f]{16}>")
_COLUMNS = [records.c[name] for name in COLUMNS]
_ANNOTATION = (
    annotation_rows.c.record_id,
    annotation_rows.c.processor,
    annotation_rows.c.name,
    annotation_rows.c.key_id,
    annotation_rows.c.text,
)


@dataclass(frozen=True, slots=True)
class Move:
    """From the key that goes to the one that takes its place."""

    old: DataKey
    new: DataKey


Moves = Mapping[int, Move]
"""By the id of the old key."""


class Survivors:
    """Seals again, in batches of at most 500 rows a transaction."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self._engine = engine
        self._sealer = sealer
        self._sql: AppendSql = PostgresAppend() if is_postgres(engine) else SqliteAppend()

    def reseal(self, moves: Moves, stays: Callable[[Concerned], bool]) -> int:
        """Move all that the old keys sealed and that ``stays``; how many records and documents.

        Raises:
            StoreUnavailable: a new key does not stand any more.
            Corrupt: something does not verify under its key.
        """
        if not moves:
            return 0
        moved, after = 0, None
        while True:
            batch = self._batch(list(moves), after)
            staying = [one for one in batch if stays(_concerned(one))]
            if staying:
                with write_transaction(self._engine) as connection:
                    self.hold(connection, moves)
                    moved += self.reseal_records(connection, staying, moves)
            if len(batch) < AT_ONCE:
                break
            after = batch[-1].record.id
        with write_transaction(self._engine) as connection:
            self.hold(connection, moves)
            return moved + self.reseal_documents(connection, moves)

    def hold(self, connection: Connection, moves: Moves) -> None:
        """Keep the new keys from going away until the transaction ends.

        Raises:
            StoreUnavailable: one is gone.
        """
        wanted = sorted({move.new.key_id for move in moves.values()})
        if set(wanted) - self._sql.standing_keys(connection, wanted):
            raise StoreUnavailable("data keys changed under this erasure; run it again")

    def load(self, connection: Connection, ids: Sequence[RecordId]) -> list[StoredRecord]:
        """Records by id, as they are stored."""
        found: list[StoredRecord] = []
        for part in chunks(ids):
            rows = connection.execute(select(*_COLUMNS).where(records.c.id.in_(part)))
            found += map(stored_record, rows)
        return found

    def reseal_records(
        self, connection: Connection, rows: Sequence[StoredRecord], moves: Moves
    ) -> int:
        """Move records, the annotations of them, and what the vault keeps of the tokens in them."""
        moving = [
            (one, one.payload, moves[one.key_id])
            for one in rows
            if one.key_id is not None and one.key_id in moves and one.payload is not None
        ]
        if not moving:
            return 0
        changes = [
            {
                "of": one.record.id,
                "old": move.old.key_id,
                "key_id": move.new.key_id,
                "payload": self.resealed(one, move),
            }
            for one, _, move in moving
        ]
        self.reseal_beside(connection, [one for one, _, _ in moving], moves)
        mine = (records.c.id == bindparam("of"), records.c.key_id == bindparam("old"))
        connection.execute(update(records).where(*mine), changes)
        return len(moving)

    def resealed(self, one: StoredRecord, move: Move) -> bytes | None:
        """The payload of a record as its new key seals it."""
        if one.payload is None:
            return None
        return self._sealer.reseal(one.payload, one.record.id, move.old, move.new)

    def reseal_beside(
        self, connection: Connection, rows: Sequence[StoredRecord], moves: Moves
    ) -> None:
        """Move what belongs to records that are moved, wherever these are: the annotations of
        them, and what the vault keeps of the tokens in them.
        """
        moving = [
            (one, one.payload, moves[one.key_id])
            for one in rows
            if one.key_id is not None and one.payload is not None
        ]
        self._reseal_vault(connection, moving, moves)
        for part in chunks([one.record.id for one, _, _ in moving]):
            self._reseal_annotations(connection, part, moves)

    def reseal_documents(self, connection: Connection, moves: Moves) -> int:
        """Move documents; all in one transaction, for an owner has few."""
        moved = 0
        for table in (document_versions, documents):
            c = table.c
            wanted = select(c.kind, c.id, c.version, c.key_id, c.body)
            rows = connection.execute(wanted.where(c.key_id.in_(list(moves)))).fetchall()
            if not rows:
                continue
            changes = [
                {
                    "k": row.kind,
                    "i": row.id,
                    "v": row.version,
                    **self._moved(moves[row.key_id], document_binding(row.kind, row.id), row.body),
                }
                for row in rows
            ]
            mine = (c.kind == bindparam("k"), c.id == bindparam("i"), c.version == bindparam("v"))
            body: dict[str, Any] = {"key_id": bindparam("key"), "body": bindparam("sealed")}
            connection.execute(
                update(table).where(*mine, c.key_id == bindparam("old")).values(body), changes
            )
            moved += len(rows) if table is documents else 0
        return moved

    def _batch(self, key_ids: list[int], after: RecordId | None) -> list[StoredRecord]:
        wanted = select(*_COLUMNS).where(records.c.key_id.in_(key_ids))
        if after is not None:
            wanted = wanted.where(records.c.id > after)
        with read_transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(records.c.id).limit(AT_ONCE)).fetchall()
        return [stored_record(row) for row in rows]

    def _reseal_annotations(
        self, connection: Connection, ids: list[RecordId], moves: Moves
    ) -> None:
        c = annotation_rows.c
        wanted = select(*_ANNOTATION).where(c.record_id.in_(ids), c.key_id.in_(list(moves)))
        changes = [
            {
                "r": row.record_id,
                "p": row.processor,
                "n": row.name,
                **self._moved(
                    moves[row.key_id],
                    annotation_binding(row.record_id, row.processor, row.name),
                    row.text,
                ),
            }
            for row in connection.execute(wanted).fetchall()
        ]
        if changes:
            mine = (
                c.record_id == bindparam("r"),
                c.processor == bindparam("p"),
                c.name == bindparam("n"),
                c.key_id == bindparam("old"),
            )
            text: dict[str, Any] = {"key_id": bindparam("key"), "text": bindparam("sealed")}
            connection.execute(update(annotation_rows).where(*mine).values(text), changes)

    def _reseal_vault(
        self,
        connection: Connection,
        moving: Sequence[tuple[StoredRecord, bytes, Move]],
        moves: Moves,
    ) -> None:
        """Keep values of tokens that survivors still hold; the others go with the old key."""
        c = vault.c
        wanted = select(c.token, c.key_id, c.sealed).where(c.key_id.in_(list(moves)))
        kept = {(row.token, row.key_id): bytes(row.sealed) for row in connection.execute(wanted)}
        if not kept:
            return
        fresh: dict[tuple[str, int], bytes] = {}
        for one, payload, move in moving:
            for token in self._tokens(one, payload, move.old):
                place = (token, move.new.key_id)
                sealed = kept.get((token, move.old.key_id))
                if sealed is not None and place not in fresh:
                    plain = self._sealer.open_bytes(move.old, vault_binding(token), sealed)
                    fresh[place] = self._sealer.seal_bytes(move.new, vault_binding(token), plain)
        if fresh:
            values = [{"token": t, "key_id": k, "sealed": s} for (t, k), s in sorted(fresh.items())]
            connection.execute(insert_into(connection, vault).on_conflict_do_nothing(), values)

    def _tokens(self, one: StoredRecord, payload: bytes, key: DataKey) -> set[str]:
        """Every token in a record, promoted fields and payload alike."""
        opened = self._sealer.open(payload, one.record.id, {key.key_id: key})
        return {
            token.decode() for token in _TOKEN.findall(msgspec.json.encode((one.record, opened)))
        }

    def _moved(self, move: Move, binding: bytes, blob: bytes) -> dict[str, Any]:
        plain = self._sealer.open_bytes(move.old, binding, bytes(blob))
        return {
            "old": move.old.key_id,
            "key": move.new.key_id,
            "sealed": self._sealer.seal_bytes(move.new, binding, plain),
        }


def _concerned(one: StoredRecord) -> Concerned:
    record = one.record
    return Concerned(
        record.id,
        one.key_id,
        record.subject,
        record.session_id,
        record.thread_id,
        record.parent_id,
        record.kind,
    )
