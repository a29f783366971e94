"""Restoring a chain of links: all of it in one transaction, read back before it commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from operator import is_
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, Table, select

from analect.lifecycle.backup.deciding import Decider, Selection
from analect.lifecycle.backup.erased import Erased
from analect.lifecycle.backup.files import FilesIn
from analect.lifecycle.backup.format import ADDED, Row, unpack_row
from analect.lifecycle.backup.loading import Loader
from analect.lifecycle.backup.manifest import (
    Catalog,
    Checkpoint,
    Manifest,
    TableContent,
    told_files,
)
from analect.lifecycle.backup.read import LinkReader
from analect.lifecycle.backup.write import Progress
from analect.model.errors import ConfigurationError, Conflict
from analect.model.ids import Micros, id_text
from analect.privacy.shards import Shards
from analect.store.changes import clear
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.erasure import FINAL, PENDING, Receipt
from analect.store.fence import lowered
from analect.store.key_rows import STORE_ID
from analect.store.migrate import known_versions, latest_version, migrate, schema_version
from analect.store.partitions import Partitions
from analect.store.raw import raw_table
from analect.store.tables import meta, metadata, records

log = structlog.get_logger(__name__)

MANY = 20_000
"""Rows from which on indexes are made at the end."""
_ELSEWHERE = "columns, but no payload, in backups made before, until they expire"
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Restored:
    """``link`` is the last one, ``at`` the moment it shows. ``rows`` by table; ``dropped``: rows by
    table that were left out, because their keys are destroyed, their people were erased since
    (``erased`` of them) or nobody asked for them. ``schema``: of the backup, and of the store now.
    ``files`` of the warm and cold tiers that the rows speak of.
    """

    backup: str
    link: str
    at: Micros
    rows: dict[str, int]
    dropped: dict[str, int]
    erased: int
    schema: tuple[str, str]
    files: int = 0


def restore(
    engine: Engine,
    catalog: Catalog,
    link: str,
    shards: Shards,
    *,
    selection: Selection | None = None,
    files: FilesIn | None = None,
    replace: bool = False,
    erased: Sequence[Erased] = (),
    progress: Progress = lambda _done, _total: None,
    checkpoint: Checkpoint = lambda _name: None,
) -> Restored:
    """Load a link and all it goes on from into an empty database, or change nothing.

    Args:
        engine: the database; an older schema is brought up to this release's afterwards.
        catalog: where the links are.
        link: the last one to apply.
        shards: of the ring, which has the last word on keys.
        selection: what to take of it.
        files: brings warm and cold files back; without it the rows that speak of them come alone.
        replace: in place of what is there, which must be the same store.
        erased: whom the ring knows to be erased.
        progress: hears of (rows, rows in all).
        checkpoint: hears of every step.

    Raises:
        Corrupt: an object does not verify, a file is nowhere any more, or the database holds other
            rows than were written.
        Conflict: the database or the place of the tiers is not empty, or is another store's.
        ConfigurationError: the backup is of a newer release.
        KeyUnavailable: the key ring is older than the backup, or another's.
    """
    chain = catalog.chain(link)
    schema = chain[-1].schema
    wanted = selection or Selection()
    wanted.check([table.name for table in chain[0].tables])
    _prepare(engine, schema, catalog.store, replace=replace)
    months = {month for one in chain for month in one.months}
    Partitions(engine).ensure(months if is_postgres(engine) else ())
    checkpoint("prepared")
    without = _bring_files(catalog, chain, files, wanted, progress)
    checkpoint("files brought")
    again = [one for one in erased if one.id not in _final(catalog, chain)]
    with write_transaction(engine) as connection, lowered(connection):
        decider = Decider(shards, wanted, again, without)
        load = _Load(connection, catalog, decider, progress, checkpoint)
        if replace:
            clear(connection)
            load.loader.empty()
        else:
            load.loader.need_empty()
        load.chain(chain)
        load.receipts(again)
        load.loader.derive_tags()
        load.loader.read_back()
        checkpoint("read back")
        load.loader.advance_sequences()
    checkpoint("committed")
    migrate(engine)
    done = Restored(
        backup=chain[-1].id.split("/")[0],
        link=link,
        at=chain[-1].taken_at,
        rows={name: tally.rows for name, tally in load.loader.tallies.items()},
        dropped=load.dropped,
        erased=len(again),
        schema=(schema, latest_version()),
        files=load.loader.tallies["tier_files"].rows if "tier_files" in load.loader.tallies else 0,
    )
    log.info("backup restored", link=link, rows=sum(done.rows.values()), erased=len(again))
    return done


@dataclass(slots=True)
class _Load:
    """One restore under way."""

    connection: Connection
    catalog: Catalog
    decider: Decider
    progress: Progress
    checkpoint: Checkpoint
    loader: Loader = field(init=False)
    dropped: dict[str, int] = field(default_factory=dict)
    _seen: int = 0
    _total: int = 0

    def __post_init__(self) -> None:
        self.loader = Loader(self.connection, self.catalog.keys.hashing)

    def chain(self, chain: Sequence[Manifest]) -> None:
        """Apply every link, then drop what evaluates records that are gone."""
        self._total = sum(one.rows for one in chain)
        many = self._total >= MANY
        with self.loader.without_indexes() if many else nullcontext():
            for manifest in chain:
                reader = LinkReader(self.catalog, manifest)
                if manifest.parent is not None:
                    self._remove(reader)
                self._add(reader)
                self.checkpoint("link loaded")
        self._drop_evaluations(set(self.decider.doomed))

    def receipts(self, erased: Sequence[Erased]) -> None:
        """Write down the erasures that were made again; where there are files, the eraser is still
        to go through them.
        """
        filed = "tier_files" in self.loader.tallies and self.loader.tallies["tier_files"].rows
        receipts = [
            Receipt(one.id, one.scope, one.target, PENDING, {}, (), one.at)
            if filed
            else Receipt(one.id, one.scope, one.target, FINAL, {}, (_ELSEWHERE,), one.at, one.at)
            for one in erased
        ]
        rows = [
            (
                r.id,
                r.scope,
                r.target,
                r.state,
                msgspec.json.encode(r).decode(),
                r.created_at,
                r.finished_at,
            )
            for r in receipts
        ]
        columns = ("id", "scope", "target", "state", "receipt", "created_at", "finished_at")
        content = TableContent("erasures", columns, ("id",), False, len(rows), "")
        self.loader.remove("erasures", [(row[0],) for row in rows])
        self.loader.add(content, rows)

    def _remove(self, reader: LinkReader) -> None:
        """Take away every row that an increment replaces or knows to be gone."""
        for content in reader.manifest.tables:
            for month in content.months:
                self.loader.remove_month(month)
        for chunk in reader.chunks():
            if chunk.table.whole:
                continue
            rows: Iterator[Row] = map(unpack_row, chunk.packed)
            if chunk.done == ADDED:
                places = [chunk.table.columns.index(name) for name in chunk.table.key]
                rows = (tuple(row[place] for place in places) for row in rows)
            self.loader.remove(chunk.table.name, rows)

    def _add(self, reader: LinkReader) -> None:
        for content in reader.manifest.tables:
            self.loader.begin(content)
        for chunk in reader.chunks():
            if chunk.done != ADDED:
                continue
            rows = list(map(unpack_row, chunk.packed))
            if chunk.table.name == "key_shards":
                self.decider.begin(rows)
            kept = self._kept(chunk.table, rows)
            self.loader.add(chunk.table, kept, chunk.total if kept is rows else None)
            self._seen += len(rows)
            self.progress(self._seen, self._total)

    def _kept(self, content: TableContent, rows: list[Row]) -> list[Row]:
        """The rows as they are to be restored; ``rows`` itself where all stay as they are."""
        keep = self.decider.keep(content)
        if keep is None:
            return rows
        kept = [one for row in rows if (one := keep(row)) is not None]
        if len(kept) == len(rows) and all(map(is_, kept, rows)):
            return rows
        if lost := len(rows) - len(kept):
            self.dropped[content.name] = self.dropped.get(content.name, 0) + lost
        return kept

    def _drop_evaluations(self, gone: set[bytes]) -> None:
        """Evaluations of erased records go with them, and evaluations of those."""
        while gone:
            fresh: set[bytes] = set()
            for part in _parts(sorted(gone)):
                found = select(records.c.id).where(
                    records.c.kind == "evaluation", records.c.parent_id.in_(map(id_text, part))
                )
                fresh |= {
                    bytes.fromhex(one.replace("-", ""))
                    for one in self.connection.execute(found).scalars()
                }
            self._drop("records", [(one,) for one in sorted(fresh)])
            for name in ("annotations", "content_hashes"):
                self._drop(name, self._of_records(name, sorted(fresh)))
            gone = fresh

    def _of_records(self, name: str, ids: Sequence[bytes]) -> list[Row]:
        """Primary keys of the rows of a table that are about records."""
        table = metadata.tables[name]
        keys: list[Row] = []
        for part in _parts(ids):
            about = table.c.record_id.in_(map(id_text, part))
            found = self.connection.execute(select(*table.primary_key.columns).where(about))
            keys += [_raw_key(table, row) for row in found]
        return keys

    def _drop(self, name: str, keys: Sequence[Row]) -> None:
        if count := self.loader.remove(name, keys):
            self.dropped[name] = self.dropped.get(name, 0) + count


def _bring_files(
    catalog: Catalog,
    chain: Sequence[Manifest],
    files: FilesIn | None,
    selection: Selection,
    progress: Progress,
) -> frozenset[str]:
    """Bring what is asked for; the names of the files whose rows are to be left out."""
    held = told_files(chain)
    if held is None:  # a release before files went with backups: they are where the tiers were
        return frozenset()
    wanted = [one for one in held if selection.takes_file(one.name)]
    without = {one.name for one in held} - {one.name for one in wanted}
    if files is not None:
        files.check(catalog, held)
        without |= files.bring(catalog, wanted, progress)
    return frozenset(without)


def _prepare(engine: Engine, schema: str, store: str, *, replace: bool) -> None:
    """Have the tables of the backup's schema."""
    if schema not in known_versions():
        raise ConfigurationError(
            f"the backup has schema {schema}, newer than this release knows ({latest_version()}): "
            "restore it with the release that wrote it"
        )
    present = schema_version(engine)
    if present is not None and not _is_empty(engine):
        _check_replacing(engine, store, replace=replace)
        if present != schema:
            raise Conflict(
                f"the store has schema {present} and the backup {schema}: restore into an empty "
                "database or another home, which is then brought up to this release's"
            )
    elif present is not None and present != schema:
        _start_over(engine)
    migrate(engine, schema)


def _is_empty(engine: Engine) -> bool:
    with read_transaction(engine) as connection:
        return not any(
            connection.exec_driver_sql(f"SELECT 1 FROM {name} LIMIT 1").first()
            for name in metadata.tables
            if raw_table(connection, name) is not None
        )


def _check_replacing(engine: Engine, store: str, *, replace: bool) -> None:
    with read_transaction(engine) as connection:
        there = connection.execute(select(meta.c.value).where(meta.c.name == STORE_ID)).scalar()
    if not replace:
        raise Conflict(
            "there is a store in this database already: restore into an empty database or another "
            "home, or put the backup in its place with --replace"
        )
    if there != store:
        raise Conflict("the store in this database is another one than the backup's")


def _start_over(engine: Engine) -> None:
    """An empty database of another schema: take its tables away."""
    with write_transaction(engine) as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")


def _final(catalog: Catalog, chain: Sequence[Manifest]) -> set[str]:
    """Erasures that the last link knows to be done."""
    for manifest in reversed(chain):
        content = next((one for one in manifest.tables if one.name == "erasures"), None)
        if content is None:
            continue
        id_, state = content.columns.index("id"), content.columns.index("state")
        rows = LinkReader(catalog, manifest).rows("erasures")
        return {row[id_] for row in rows if row[state] == FINAL}
    return set()


def _raw_key(table: Table, row: Sequence[Any]) -> Row:
    """A primary key as SQLAlchemy gives it, as :mod:`analect.store.raw` has it."""
    return tuple(
        bytes.fromhex(value.replace("-", "")) if column.name == "record_id" else value
        for column, value in zip(table.primary_key.columns, row, strict=True)
    )


def _parts(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
