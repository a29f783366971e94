"""Restoring into an empty database: all of it in one transaction, read back before it commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Table, func, insert, select, text

from analect.lifecycle.backup.format import Row, Tally
from analect.lifecycle.backup.manifest import TableObject
from analect.lifecycle.backup.read import BackupReader
from analect.lifecycle.backup.rings import KeyPlan
from analect.lifecycle.backup.write import Progress, rows_of, tables
from analect.model.errors import ConfigurationError, Conflict, Corrupt
from analect.privacy.shards import DataKeyRow, Shards
from analect.store.engine import is_postgres, write_transaction
from analect.store.migrate import latest_version, migrate
from analect.store.partitions import Partitions
from analect.store.tables import metadata

log = structlog.get_logger(__name__)

_SEALED = {"records", "documents", "document_versions", "annotations", "vault"}
_OF_RECORDS = {"record_tags", "content_hashes", "annotations"}


@dataclass(frozen=True, slots=True)
class Restored:
    """``dropped``: rows by table that were left out, because an erasure since the backup destroyed
    the keys that sealed them.
    """

    backup: str
    rows: int
    dropped: dict[str, int]


def restore(
    engine: Engine,
    reader: BackupReader,
    shards: Shards,
    *,
    progress: Progress = lambda _done, _total: None,
) -> Restored:
    """Check the whole backup, then load it into an empty database, or change nothing.

    Raises:
        Corrupt: an object does not verify, or the database holds other rows than were written.
        Conflict: the database is not empty.
        ConfigurationError: the backup is of another schema than this release's.
        KeyUnavailable: the key ring is older than the backup, or another's.
    """
    manifest = reader.manifest
    if manifest.schema != latest_version():
        raise ConfigurationError(
            f"the backup has schema {manifest.schema}, and this release {latest_version()}: "
            "restore it with the release that wrote it"
        )
    checked = reader.check()
    migrate(engine)
    Partitions(engine).ensure(checked.months if is_postgres(engine) else ())
    with write_transaction(engine) as connection:
        _need_empty(connection)
        load = _Load(connection, reader, shards, progress)
        for table in manifest.tables:
            load.table(table)
        load.read_back()
        if is_postgres(connection):
            _advance_sequences(connection)
    log.info("backup restored", backup=manifest.id, rows=load.rows)
    return Restored(manifest.id, load.rows, load.dropped)


class _Load:
    """One restore under way."""

    def __init__(
        self, connection: Connection, reader: BackupReader, shards: Shards, progress: Progress
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._shards = shards
        self._progress = progress
        self._total = sum(table.rows for table in reader.manifest.tables)
        self._seen = 0
        self._plan = KeyPlan({}, {})
        self._lost: set[str] = set()
        self._tallies: dict[str, Tally] = {}
        self.rows = 0
        self.dropped: dict[str, int] = {}

    def table(self, found: TableObject) -> None:
        """Load one table."""
        table = metadata.tables[found.name]
        tally = self._tallies[found.name] = Tally(b"restore")
        for rows in self._reader.rows(found):
            kept = [one for row in rows if (one := self._keep(table, found, row)) is not None]
            if found.name == "key_shards":
                kept = self._plan_keys(kept)
            for row in kept:
                tally.add(row)
            if kept:
                self._connection.execute(
                    insert(table), [dict(zip(found.columns, row, strict=True)) for row in kept]
                )
            if lost := len(rows) - len(kept):
                self.dropped[found.name] = self.dropped.get(found.name, 0) + lost
            self.rows += len(kept)
            self._seen += len(rows)
            self._progress(self._seen, self._total)

    def read_back(self) -> None:
        """Compare what the database holds with what was written to it.

        Raises:
            Corrupt: they differ.
        """
        for table in tables():
            tally = Tally(b"restore")
            for rows in rows_of(self._connection, table):
                for row in rows:
                    tally.add(row)
            if tally != self._tallies[table.name]:
                raise Corrupt(f"the database gives back other rows of {table.name} than it took")

    def _plan_keys(self, rows: list[Row]) -> list[Row]:
        backed_up = {int(shard): int(generation) for shard, generation in rows}
        self._plan = KeyPlan.of(backed_up, self._shards)
        return [[shard, self._plan.generations[int(shard)]] for shard in backed_up]

    def _keep(self, table: Table, found: TableObject, row: Row) -> Row | None:
        """The row as it is to be restored, None when its key is gone."""
        value: dict[str, Any] = dict(zip(found.columns, row, strict=True))
        if table.name == "data_keys":
            given = DataKeyRow(**value, generation=0)
            key = self._plan.key(given)
            if key is None:
                return None
            return [getattr(key, name) for name in found.columns]
        if table.name in _SEALED and value["key_id"] in self._plan.gone:
            if table.name == "records":
                self._lost.add(value["id"])
            return None
        if table.name in _OF_RECORDS and value["record_id"] in self._lost:
            return None
        return row


def _need_empty(connection: Connection) -> None:
    for table in tables():
        if connection.execute(select(table).limit(1)).first() is not None:
            raise Conflict(
                "there is a store in this database already: restore into an empty database or "
                "another home"
            )


def _advance_sequences(connection: Connection) -> None:
    for name in ("commits", "outbox", "access_log"):
        last = connection.execute(select(func.max(metadata.tables[name].c.seq))).scalar()
        if last is not None:
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence(:name, 'seq'), :last)"),
                {"name": name, "last": last},
            )
