"""The SQL of destroying data keys: retire, move the shard to its next generation, settle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from analect.model.errors import Corrupt
from analect.model.ids import RandomBytes
from analect.privacy.keys import DataKeyRow, retired_scope
from analect.privacy.shards import Shards
from analect.store.append_postgres import PostgresAppend
from analect.store.append_sqlite import SqliteAppend
from analect.store.engine import is_postgres, write_transaction
from analect.store.erasure import PENDING, Doomed, Receipt, arrivals, doom, save_receipt
from analect.store.key_rows import KEY_ROWS, key_row
from analect.store.survivors import Moves, Survivors
from analect.store.tables import data_keys, erasures, key_shards, vault

log = structlog.get_logger(__name__)

Step = Callable[[str], None]
"""Called between steps, with the name of the one that is done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Keys of one shard to destroy.

    ``moves`` has those that seal survivors. ``place`` is where the journal stood before anybody
    looked for what they seal. ``doomed`` grows by what arrived since.
    """

    shard: int
    key_ids: tuple[int, ...]
    moves: Moves
    place: int
    doomed: Mapping[str, Doomed]


class KeyDestroyer:
    """Destroys keys. Callers hold :func:`analect.store.erasure.one_eraser`."""

    def __init__(
        self,
        engine: Engine,
        shards: Shards,
        survivors: Survivors,
        random_bytes: RandomBytes,
        step: Step,
    ) -> None:
        self._engine = engine
        self._shards = shards
        self._survivors = survivors
        self._random_bytes = random_bytes
        self._step = step

    def retire(self, rows: Sequence[DataKeyRow]) -> None:
        """Nobody is given these keys any more; what they sealed still opens."""
        with write_transaction(self._engine) as connection:
            for row in sorted(rows, key=lambda row: row.key_id):
                mine = (data_keys.c.key_id == row.key_id, data_keys.c.scope == row.scope)
                scope = retired_scope(row.shard, self._random_bytes)
                connection.execute(update(data_keys).where(*mine).values(scope=scope))

    def introduce(self, rows: Sequence[DataKeyRow], key_ids: Sequence[int]) -> set[int]:
        """Store new keys; which of ``key_ids`` do not stand."""
        sql = PostgresAppend() if is_postgres(self._engine) else SqliteAppend()
        with write_transaction(self._engine) as connection:
            if rows:
                sql.add_keys(connection, sorted(rows, key=lambda row: row.scope))
            return set(key_ids) - sql.standing_keys(connection, sorted(key_ids))

    def destroy(self, plan: Plan) -> int:
        """Move the shard to its next generation without the keys of ``plan``; how many there were.

        Raises:
            StoreUnavailable: database or ring do not answer; running again settles it.
        """
        with write_transaction(self._engine) as connection:
            generation = _lock_shard(connection, plan.shard)
            standing = _lock_keys(connection, plan.key_ids)
            if generation is None or not standing:
                return 0
            self._take_late(connection, plan, standing)
            staying = (data_keys.c.shard == plan.shard, data_keys.c.key_id.not_in(standing))
            rows = [key_row(row) for row in connection.execute(KEY_ROWS.where(*staying))]
            following, fresh = self._shards.advance(
                plan.shard, generation, rows, erasures=list(plan.doomed), destroyed=standing
            )
            self._step("ring written")
            _rewrap(connection, fresh)
            lost = connection.execute(delete(vault).where(vault.c.key_id.in_(standing))).rowcount
            connection.execute(delete(data_keys).where(data_keys.c.key_id.in_(standing)))
            _set_generation(connection, plan.shard, following)
            self._count(connection, plan, standing, lost)
        self._step("generation committed")
        self._shards.drop(plan.shard, generation)
        self._step("generation dropped")
        return len(standing)

    def settle(self, standing: Mapping[int, int]) -> None:
        """Drop generations that a crash left behind, and where a copy of the database was put back
        that is older than the ring, let the ring's last generation stand.

        A generation newer than what the database knows is never dropped: a newer database may
        count on it. One that a pending erasure left stays until that erasure has gone past it.
        """
        for shard, generations in self._shards.generations().items():
            if shard in standing and generations != [standing[shard]]:
                self._settle_shard(shard)

    def _settle_shard(self, shard: int) -> None:
        with write_transaction(self._engine) as connection:
            present = _lock_shard(connection, shard)
            there = self._shards.generations().get(shard, [])
            if present is None or not there:
                return
            if there[-1] > present and self._is_older(connection, shard, present, there):
                self._adopt(connection, shard, there[-1])
                present = there[-1]
        if present in there:
            for generation in there:
                if generation < present:
                    self._shards.drop(shard, generation)

    def _is_older(
        self, connection: Connection, shard: int, present: int, there: Sequence[int]
    ) -> bool:
        """Whether the ring's last generation was committed by a database newer than this one."""
        if present not in there:
            return True
        begun = self._shards.told(shard, there[-1]).erasures
        pending = select(erasures.c.id).where(erasures.c.id.in_(begun), erasures.c.state == PENDING)
        return bool(begun) and connection.execute(pending.limit(1)).first() is None

    def _adopt(self, connection: Connection, shard: int, generation: int) -> None:
        """Take the data keys of a shard from the ring. Those that an erasure destroyed go, and so
        do those that it does not have, unless this database made them since it was put back.
        """
        told = self._shards.told(shard, generation)
        kept = {row.key_id: row for row in told.keys}
        mine = [
            key_row(row) for row in connection.execute(KEY_ROWS.where(data_keys.c.shard == shard))
        ]
        for row in mine:
            if row.key_id not in kept and row.key_id not in told.destroyed:
                again = self._shards.rewrap(row, generation)
                if again is not None:
                    kept[row.key_id] = again
        _rewrap(connection, list(kept.values()))
        gone = (data_keys.c.shard == shard, data_keys.c.key_id.not_in(list(kept)))
        erased = connection.execute(delete(data_keys).where(*gone)).rowcount
        _set_generation(connection, shard, generation)
        log.warning("an older database took its keys from the ring", shard=shard, erased=erased)

    def _take_late(self, connection: Connection, plan: Plan, standing: Sequence[int]) -> None:
        """What the keys sealed since the plan was made: doomed as well, or moved here and now."""
        known = {record_id for doomed in plan.doomed.values() for record_id in doomed.records}
        late = arrivals(connection, plan.place, standing)
        staying = []
        for one in late:
            if one.id in known or doom(one, plan.doomed):
                continue
            if one.key_id in plan.moves:
                staying.append(one.id)
            else:
                raise Corrupt(f"record {one.id} is sealed by a key that is not its own")
        if plan.moves:
            self._survivors.hold(connection, plan.moves)
            rows = self._survivors.load(connection, staying)
            self._survivors.reseal_records(connection, rows, plan.moves)
            self._survivors.reseal_documents(connection, plan.moves)

    @staticmethod
    def _count(connection: Connection, plan: Plan, standing: Sequence[int], vault: int) -> None:
        """Keys and vault rows count for the first receipt that needs the key gone."""
        owner = next(iter(plan.doomed.values()))
        for doomed in plan.doomed.values():
            if any(one.key_id in standing for one in doomed.records.values()):
                owner = doomed
                break
        receipt: Receipt = owner.receipt.counting(keys=len(standing), vault=vault)
        save_receipt(connection, receipt)
        owner.receipt = receipt


def _lock_shard(connection: Connection, shard: int) -> int | None:
    wanted = select(key_shards.c.generation).where(key_shards.c.shard == shard)
    return connection.execute(wanted.with_for_update()).scalar()


def _lock_keys(connection: Connection, key_ids: Sequence[int]) -> list[int]:
    """Those that stand, once every transaction that uses them is over."""
    wanted = select(data_keys.c.key_id).where(data_keys.c.key_id.in_(key_ids))
    held = wanted.order_by(data_keys.c.key_id).with_for_update()
    return list(connection.execute(held).scalars())


def _rewrap(connection: Connection, rows: Sequence[DataKeyRow]) -> None:
    if rows:
        values = [{"k": row.key_id, "w": row.wrapped} for row in rows]
        change = update(data_keys).where(data_keys.c.key_id == bindparam("k"))
        connection.execute(change.values(wrapped=bindparam("w")), values)


def _set_generation(connection: Connection, shard: int, generation: int) -> None:
    change = update(key_shards).where(key_shards.c.shard == shard)
    connection.execute(change.values(generation=generation))
