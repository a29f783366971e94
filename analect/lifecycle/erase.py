"""Erasing for good: destroy the keys first, then the rows, then what the indexes hold.

Once a data key is destroyed, every copy of what it sealed (in the write-ahead log, in free pages,
in backups, in replicas) is noise, wherever it is. What the same key sealed and must stay is sealed
again by another key before. Every step can be repeated: a receipt stays ``pending`` until all of
it is done, and whoever runs next finishes what a crash left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog
from sqlalchemy import Engine

from analect.index.catalog import Indexes
from analect.model.errors import StoreUnavailable, TransientError
from analect.model.ids import Clock, Micros, RandomBytes, RecordId, new_id, parse_id
from analect.privacy.keys import DataKeyRow, DataKeys
from analect.privacy.scope import scope, scope_of
from analect.privacy.seal import Sealer
from analect.store.destroying import KeyDestroyer, Plan, Step
from analect.store.engine import is_postgres
from analect.store.erasure import (
    FINAL,
    PENDING,
    Doomed,
    ErasureRows,
    Receipt,
    check_scope,
    chunks,
    doom,
    one_eraser,
)
from analect.store.key_rows import SqlKeyRows
from analect.store.purging import index_again
from analect.store.survivors import Move, Moves, Survivors

__all__ = ["Eraser", "Receipt"]

log = structlog.get_logger(__name__)

PATIENCE = 10.0
"""Seconds to wait for processors that hold a record, and for readers of the write-ahead log."""
_PAUSE = 0.05
_ATTEMPTS = 5
"""Of finding new keys for survivors while others come and go."""


class Filed(Protocol):
    """Erasing in the files of the warm and cold tiers."""

    def find(self, every: Mapping[str, Doomed], taken: set[RecordId]) -> bool:
        """Add what the receipts are about, and evaluations of it; whether there was any new."""
        ...

    def rewrite(
        self,
        every: Mapping[str, Doomed],
        moves: Moves,
        processors: Sequence[str],
        now: Micros,
    ) -> None:
        """Write files again without what is doomed, and with what stays sealed by its new key."""
        ...


class Eraser:
    """Erases subjects, sessions, threads and records. One at a time on a database, whatever the
    process; a second caller waits.
    """

    def __init__(
        self,
        engine: Engine,
        keys: DataKeys,
        sealer: Sealer,
        indexes: Indexes,
        *,
        clock: Clock,
        random_bytes: RandomBytes,
        processors: Sequence[str] | None = None,
        mirror: Callable[[], None] = lambda: None,
        patience: float = PATIENCE,
        pause: Callable[[float], None] = time.sleep,
        step: Step = lambda _name: None,
        filed: Callable[[], Filed | None] = lambda: None,
    ) -> None:
        """``filed`` gives the erasing of warm and cold files, where there are any; ``processors`` hear of what was erased (when not given, those of the indexes);
        ``mirror`` brings the copies of the key ring that go with backups up to date, or raises a
        transient error; ``patience``: seconds to wait for others before a receipt stays pending; ``step`` is called
        between steps.
        """
        self._engine = engine
        self._keys = keys
        self._indexes = indexes
        self._clock = clock
        self._random_bytes = random_bytes
        self._processors = processors
        self._mirror = mirror
        self._patience = patience
        self._pause = pause
        self._step = step
        self._filed = filed
        self._rows = ErasureRows(engine)
        self._key_rows = SqlKeyRows(engine)
        self._survivors = Survivors(engine, sealer)
        self._destroyer = KeyDestroyer(engine, keys.shards, self._survivors, random_bytes, step)

    def erase(self, scope: str, target: str) -> Receipt:
        """Erase one subject, session, thread (their pseudonyms) or record (its id).

        Returns:
            The receipt; still pending when an index or a reader was in the way for too long.
            :meth:`settle` finishes it.

        Raises:
            InvalidInput: no such scope, or no record id.
            StoreUnavailable: database or key ring do not answer. What was begun is finished by the
                next :meth:`settle` or erasure.
        """
        return self.erase_many([(scope, target)])[0]

    def erase_many(self, targets: Sequence[tuple[str, str]]) -> list[Receipt]:
        """Erase several at once: they share the passes over the tables and the changes of
        generation.
        """
        opened = [self._receipt(scope, target) for scope, target in targets]
        if not opened:
            return []
        with one_eraser(self._engine):
            self._rows.open_receipts(opened)
            done = {receipt.id: receipt for receipt in self._run()}
        return [done[receipt.id] for receipt in opened]

    def settle(self) -> list[Receipt]:
        """Finish what is pending, and tidy the ring after a crash; the receipts that were pending.

        Cheap when there is nothing to do: call it at start and now and then.
        """
        with one_eraser(self._engine):
            return self._run()

    def receipts(self) -> list[Receipt]:
        """Every receipt, newest first."""
        return self._rows.receipts()

    # -- the steps -------------------------------------------------------------------------

    def _run(self) -> list[Receipt]:
        """Bring every pending receipt as far as it goes; the lock is held."""
        self._destroyer.settle(self._key_rows.generations())
        pending = self._rows.receipts(PENDING)
        if not pending:
            return []
        place = self._rows.journal_place()
        doomed = self._rows.find(pending)
        self._find_all(doomed)
        self._step("planned")
        self._destroy_keys(doomed, place)
        for one in doomed.values():
            self._delete(one)
        self._rewrite(doomed, {})
        return self._finish([one.receipt for one in doomed.values()])

    def _destroy_keys(self, doomed: dict[str, Doomed], place: int) -> None:
        """Destroy every key that seals something doomed; evaluations that came meanwhile too."""
        whole = {
            scope(receipt.scope, receipt.target, self._keys.pseudonym_key)
            for receipt in (one.receipt for one in doomed.values())
            if receipt.scope != "record"
        }
        grown = True
        while grown:
            scopes = whole | self._scopes(doomed)
            sealing = self._sealing(doomed)
            standing = {row.key_id: row for row in self._key_rows.find_ids(list(sealing))}
            standing |= {row.key_id: row for row in self._key_rows.find_scopes(list(scopes))}
            partial = {
                key_id: sealing.get(key_id, row.scope)
                for key_id, row in standing.items()
                if sealing.get(key_id, row.scope) not in whole
            }
            moves = self._replace(standing, partial)
            self._reseal(doomed, moves)
            if moves:
                self._rewrite(doomed, moves)
                self._step("files sealed again")
            for shard in sorted({row.shard for row in standing.values()}):
                mine = tuple(row.key_id for row in standing.values() if row.shard == shard)
                self._destroy(Plan(shard, mine, _within(moves, mine), place, doomed))
            grown = self._find_more(doomed)

    def _find_all(self, doomed: dict[str, Doomed]) -> None:
        """Add what is in files, and the evaluations of it wherever they are."""
        while self._find_more(doomed):
            pass

    def _find_more(self, doomed: dict[str, Doomed]) -> bool:
        """Whether there were evaluations, or records in files, that nobody had found."""
        taken = {record_id for one in doomed.values() for record_id in one.records}
        grown = [self._rows.add_evaluations(one, taken) for one in doomed.values()]
        filed = self._filed()
        return (filed is not None and filed.find(doomed, taken)) or any(grown)

    def _rewrite(self, doomed: dict[str, Doomed], moves: Moves) -> None:
        """Files without what is doomed; with ``moves``, before the keys go, and without after."""
        filed = self._filed()
        if filed is not None:
            filed.rewrite(doomed, moves, self._names(), self._clock())
            self._rows.save([one.receipt for one in doomed.values()])

    def _names(self) -> Sequence[str]:
        if self._processors is not None:
            return self._processors
        return [name for name, _ in self._indexes.present()]

    def _sealing(self, doomed: dict[str, Doomed]) -> dict[int, bytes]:
        """Keys that seal doomed records, and the scope each was made for."""
        key = self._keys.pseudonym_key
        return {
            record.key_id: scope_of(record, key)
            for one in doomed.values()
            for record in one.records.values()
            if record.key_id is not None
        }

    def _scopes(self, doomed: dict[str, Doomed]) -> set[bytes]:
        """Scopes of doomed records without a payload: the vault may hold something of them."""
        key = self._keys.pseudonym_key
        return {
            scope_of(record, key)
            for one in doomed.values()
            for record in one.records.values()
            if record.key_id is None
        }

    def _replace(
        self, standing: dict[int, DataKeyRow], partial: dict[int, bytes]
    ) -> dict[int, Move]:
        """Retire keys that seal survivors, and have a new key for each of their scopes."""
        if not partial:
            return {}
        in_use = [standing[key_id] for key_id in partial]
        self._destroyer.retire([row for row in in_use if row.scope[0] == row.shard])
        self._keys.discard(partial)
        moves = self._moves(partial)
        self._step("retired")
        return moves

    def _moves(self, partial: dict[int, bytes]) -> dict[int, Move]:
        for _ in range(_ATTEMPTS):
            old = self._keys.by_ids(list(partial))
            new = self._keys.for_scopes(sorted({partial[key_id] for key_id in old}))
            ids = [key.key_id for key in new.values()]
            lost = self._destroyer.introduce(self._keys.pending_rows(ids), ids)
            if not lost and not set(ids) & partial.keys():
                self._keys.committed(ids)
                return {key_id: Move(key, new[partial[key_id]]) for key_id, key in old.items()}
            self._keys.discard(lost | set(ids) & partial.keys())
        raise StoreUnavailable("data keys keep changing under this erasure; run it again")

    def _reseal(self, doomed: dict[str, Doomed], moves: dict[int, Move]) -> None:
        if not moves:
            return
        taken = {record_id for one in doomed.values() for record_id in one.records}
        moved = self._survivors.reseal(
            moves, lambda one: one.id not in taken and not doom(one, doomed)
        )
        first = next(iter(doomed.values()))
        first.receipt = first.receipt.counting(sealed_again=moved)
        self._rows.save([first.receipt])
        self._step("sealed again")

    def _destroy(self, plan: Plan) -> None:
        self._destroyer.destroy(plan)
        self._keys.discard(plan.key_ids)
        self._keys.moved(plan.shard)

    def _delete(self, doomed: Doomed) -> None:
        names = self._names()
        for part in chunks(doomed.in_order()):
            doomed.receipt = self._rows.delete_records(doomed.receipt, part, names, self._clock())
            self._step("records deleted")
        doomed.receipt = self._rows.delete_documents(doomed.receipt)
        self._step("documents deleted")

    def _finish(self, receipts: list[Receipt]) -> list[Receipt]:
        """Purge the indexes and the write-ahead log; then the receipts are final."""
        held = self._rows.claims()
        ids = self._rows.deleted_since(min(receipt.journal_seq for receipt in receipts))
        try:
            clear = self._wait(lambda: not held & self._rows.claims())
            if clear and ids:
                self._purge(ids)
            clear = clear and self._wait(self._rows.checkpoint)
        except TransientError as error:
            log.warning("an erasure is not finished yet", code=error.code)
            clear = False
        if not clear:
            return receipts
        self._destroyer.settle(self._key_rows.generations())
        try:
            self._mirror()
        except TransientError as error:
            log.warning("an erasure has not reached every backup yet", why=str(error))
            return receipts
        self._step("mirrored")
        now = self._clock()
        final = [self._final(receipt, now) for receipt in receipts]
        self._rows.save(final)
        self._step("final")
        return final

    def _purge(self, ids: Sequence[RecordId]) -> None:
        parts = list(chunks(ids))
        for name, index in self._indexes.present():
            for part in parts:
                index.delete(part)
            index.purge()
            self._step(f"{name} purged")
        index_again(self._engine, ids, self._names(), self._clock())

    def _wait(self, done: Callable[[], bool]) -> bool:
        waited = 0.0
        while not done():
            if waited >= self._patience:
                return False
            self._pause(_PAUSE)
            waited += _PAUSE
        return True

    def _final(self, receipt: Receipt, now: Micros) -> Receipt:
        elsewhere = [
            (
                "promoted columns (times, names, tags, pseudonyms), but no payload, in backups and "
                "copies of the database made before, until they expire"
            )
        ]
        if is_postgres(self._engine):
            elsewhere.append(
                "the same columns in dead rows and the write-ahead log of Postgres, until it "
                "vacuums and recycles them"
            )
        return replace(receipt, state=FINAL, finished_at=now, readable_elsewhere=tuple(elsewhere))

    def _receipt(self, scope: str, target: str) -> Receipt:
        check_scope(scope)
        if scope == "record":
            target = parse_id(target)
        now = self._clock()
        return Receipt(
            id=new_id(now, self._random_bytes),
            scope=scope,
            target=target,
            state=PENDING,
            counts={},
            readable_elsewhere=(),
            created_at=now,
        )


def _within(moves: Moves, key_ids: Sequence[int]) -> dict[int, Move]:
    return {key_id: moves[key_id] for key_id in key_ids if key_id in moves}
