"""Data keys, shard generations and the store's id in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Column, Connection, Engine, any_, literal, select

from analect.privacy.shards import DataKeyRow
from analect.store.engine import (
    is_postgres,
    one_statement,
    read_transaction,
    write_transaction,
)
from analect.store.tables import data_keys, key_shards, meta
from analect.store.upsert import insert_into

STORE_ID = "store_id"
_AT_ONCE = 500


class SqlKeyRows:
    """See :class:`analect.privacy.keys.KeyRows`. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def store_id(self) -> str | None:
        """The store's id, None in a new database."""
        with read_transaction(self._engine) as connection:
            return _store_id(connection)

    def register_store(self, store_id: str) -> str:
        """Insert if absent; what stands."""
        with write_transaction(self._engine) as connection:
            fresh = insert_into(connection, meta).values(name=STORE_ID, value=store_id)
            connection.execute(fresh.on_conflict_do_nothing())
            return _store_id(connection) or store_id

    def find_scopes(self, scopes: Sequence[bytes]) -> list[DataKeyRow]:
        """The keys of these scopes that exist, with the generation that wraps them."""
        return self._find(data_keys.c.scope, scopes)

    def find_ids(self, key_ids: Sequence[int]) -> list[DataKeyRow]:
        """The keys of these ids that exist, with the generation that wraps them."""
        return self._find(data_keys.c.key_id, key_ids)

    def generations(self) -> dict[int, int]:
        """Every shard that was ever used, and its generation."""
        with read_transaction(self._engine) as connection:
            return _generations(connection)

    def register_shards(self, generations: Mapping[int, int]) -> dict[int, int]:
        """Insert those that are absent; what stands for each."""
        rows = [{"shard": s, "generation": g} for s, g in sorted(generations.items())]
        with write_transaction(self._engine) as connection:
            connection.execute(insert_into(connection, key_shards).on_conflict_do_nothing(), rows)
            stands = _generations(connection)
        return {shard: stands[shard] for shard in generations}

    def _find(self, column: Column[Any], values: Sequence[Any]) -> list[DataKeyRow]:
        with one_statement(self._engine) as connection:
            if is_postgres(connection):
                # One text whatever their number, so that the server plans it once.
                wanted = column == any_(literal(list(values), ARRAY(column.type)))
                return list(map(key_row, connection.execute(KEY_ROWS.where(wanted))))
            found: list[DataKeyRow] = []
            for start in range(0, len(values), _AT_ONCE):
                part = values[start : start + _AT_ONCE]
                found += map(key_row, connection.execute(KEY_ROWS.where(column.in_(part))))
            return found


KEY_ROWS = select(
    data_keys.c.key_id,
    data_keys.c.shard,
    data_keys.c.scope,
    data_keys.c.wrapped,
    data_keys.c.created_at,
    key_shards.c.generation,
).join_from(data_keys, key_shards, key_shards.c.shard == data_keys.c.shard)
"""One statement, so that a row and the generation that wraps it belong together."""


def key_row(row: Any) -> DataKeyRow:
    """A row of :data:`KEY_ROWS`."""
    key_id, shard, scope, wrapped, created_at, generation = row
    return DataKeyRow(key_id, shard, bytes(scope), bytes(wrapped), created_at, generation)


def _store_id(connection: Connection) -> str | None:
    return connection.execute(select(meta.c.value).where(meta.c.name == STORE_ID)).scalar()


def _generations(connection: Connection) -> dict[int, int]:
    rows = connection.execute(select(key_shards.c.shard, key_shards.c.generation))
    return {row.shard: row.generation for row in rows}
