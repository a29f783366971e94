"""Puts records into a database the way the writer does, without its thread."""

from collections.abc import Sequence

from analect.model.ids import id_bytes
from analect.model.record import Draft
from analect.store.append import Request, SealedDraft, write_group
from analect.store.append_postgres import PostgresAppend
from analect.store.append_sqlite import SqliteAppend
from analect.store.engine import is_postgres, write_transaction
from analect.store.partitions import Partitions
from analect.store.tables import key_shards
from analect.store.upsert import insert_into

BASE = 1_750_000_000_000_000
KEY_ID = 7


class Key:
    key_id, shard, scope, wrapped, created_at = KEY_ID, 0, b"s" * 16, b"w" * 16, BASE
    generation = 1


def begin_shard(connection) -> None:
    values = {"shard": Key.shard, "generation": Key.generation}
    connection.execute(insert_into(connection, key_shards).values(values).on_conflict_do_nothing())


def sealed(draft: Draft) -> SealedDraft:
    return SealedDraft(draft, BASE, KEY_ID, id_bytes(draft.id) * 3, id_bytes(draft.id))


def append_within(connection, items: Sequence[Draft | SealedDraft]) -> None:
    sql = PostgresAppend() if is_postgres(connection) else SqliteAppend()
    begin_shard(connection)
    batch = [sealed(item) if isinstance(item, Draft) else item for item in items]
    (result,) = write_group(connection, sql, [Request(batch, ("text",), [Key()])], BASE)
    assert set(result.outcomes) <= {"stored"}


def append(engine, items: Sequence[Draft | SealedDraft]) -> None:
    ids = [item.id if isinstance(item, Draft) else item.draft.id for item in items]
    Partitions(engine).ensure_ids(ids)
    with write_transaction(engine) as connection:
        append_within(connection, items)
