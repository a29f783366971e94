"""Writing a backup: every table of the truth, as one snapshot saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import structlog
from sqlalchemy import Connection, Engine, Table, func, select
from tink.streaming_aead import StreamingAead

from analect.lifecycle.backup.format import ROWS, Row, Tally, binding, write_chunk
from analect.lifecycle.backup.manifest import MANIFEST, Catalog, Manifest, TableObject
from analect.model.ids import Clock, RandomBytes, new_id
from analect.store.engine import is_postgres, read_transaction, translating
from analect.store.migrate import schema_version
from analect.store.tables import metadata

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]

RESET: dict[str, dict[str, Any]] = {
    "commits": {"txid": 0},
    "outbox": {"claimed_by": None, "claimed_at": None},
}
"""What does not outlive its database: transaction ids begin anew, and so does work in hand."""


def tables() -> list[Table]:
    """Every table, keys first: what they say decides what of the others is restored."""
    first = ["meta", "key_shards", "data_keys", "records"]
    rest = sorted(metadata.tables.keys() - set(first))
    return [metadata.tables[name] for name in (*first, *rest)]


def write_backup(
    engine: Engine,
    catalog: Catalog,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    progress: Progress = lambda _done, _total: None,
) -> Manifest:
    """Write a full backup; it counts as one only when its manifest, the last object, is there.

    Raises:
        StoreUnavailable: database or place fail, or the place is full.
    """
    schema = schema_version(engine) or ""
    with snapshot(engine) as connection:
        taken_at = clock()
        backup = new_id(taken_at, random_bytes)
        cipher, keyset = catalog.keys.fresh(backup)
        total = sum(_count(connection, table) for table in tables())
        written: list[TableObject] = []
        for place, table in enumerate(tables()):
            done = _write_table(connection, catalog, (backup, place, table), cipher)
            written.append(done)
            progress(sum(one.rows for one in written), total)
    manifest = Manifest(backup, catalog.store, schema, keyset, tuple(written), taken_at, clock())
    catalog.write(backup, MANIFEST, manifest)
    log.info("backup written", backup=backup, rows=total)
    return manifest


def snapshot(engine: Engine) -> Any:
    """A connection on which every read sees the same moment."""
    if is_postgres(engine):
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    return read_transaction(engine)


def rows_of(connection: Connection, table: Table) -> Iterator[list[Row]]:
    """A table in primary-key order, some rows at a time, as a backup holds it."""
    reset = RESET.get(table.name, {})
    question = select(table).order_by(*table.primary_key.columns)
    question = question.execution_options(yield_per=ROWS)
    names = [column.name for column in table.columns]
    with translating(), connection.execute(question) as answer:
        for part in answer.partitions():
            rows = [list(row) for row in part]
            for name, value in reset.items():
                place = names.index(name)
                for row in rows:
                    row[place] = value
            if table.name == "outbox":
                _unclaim(rows, names.index("state"))
            yield rows


def _unclaim(rows: list[Row], state: int) -> None:
    for row in rows:
        if row[state] == "claimed":
            row[state] = "pending"


def _write_table(
    connection: Connection,
    catalog: Catalog,
    what: tuple[str, int, Table],
    cipher: StreamingAead,
) -> TableObject:
    backup, place, table = what
    tally = Tally(catalog.keys.hashing)
    with catalog.place.create(catalog.path(backup, table.name)) as stream:
        counting = _Counting(stream)
        sealed = cipher.new_encrypting_stream(counting, binding(backup, place, table.name))
        with sealed:
            for rows in rows_of(connection, table):
                for row in rows:
                    tally.add(row)
                write_chunk(sealed, rows)
    columns = tuple(str(column.name) for column in table.columns)
    return TableObject(str(table.name), columns, tally.rows, tally.hash(), counting.count)


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


class _Counting:
    """Passes bytes on and counts them; closing leaves the stream beneath open, to be synced."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0
        self.closed = False

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self.count += len(data)
        return len(data)

    def close(self) -> None:
        self.closed = True
