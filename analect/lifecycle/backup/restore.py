"""Restoring a chain of links: all of it in one transaction, read back before it commits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine, select

from analect.lifecycle.backup.applying import Applying
from analect.lifecycle.backup.beside import Beside, beside
from analect.lifecycle.backup.deciding import Decider, Selection
from analect.lifecycle.backup.erased import Erased
from analect.lifecycle.backup.filed import FiledRecords
from analect.lifecycle.backup.files import FilesIn
from analect.lifecycle.backup.format import RowHash
from analect.lifecycle.backup.manifest import (
    Catalog,
    Checkpoint,
    HeldFile,
    Manifest,
    told_files,
)
from analect.lifecycle.backup.read import LinkReader
from analect.lifecycle.backup.write import Progress
from analect.model.errors import ConfigurationError, Conflict
from analect.model.ids import Micros
from analect.privacy.shards import Shards
from analect.store.changes import clear
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.erasure import FINAL
from analect.store.fence import lowered
from analect.store.key_rows import STORE_ID
from analect.store.migrate import known_versions, latest_version, migrate, schema_version
from analect.store.partitions import Partitions
from analect.store.raw import has_table
from analect.store.tables import meta, metadata
from analect.store.tier_files import month_of_file

log = structlog.get_logger(__name__)

HELPED = 60_000
"""Rows from which on another process helps: it takes a fifth of a second to begin."""


@dataclass(frozen=True, slots=True)
class Restored:
    """``link`` is the last one, ``at`` the moment it shows. ``rows`` by table; ``dropped``: rows by
    table that were left out, because their keys are destroyed, their people were erased since
    (``erased`` of them) or nobody asked for them. ``schema``: of the backup, and of the store now.
    ``files`` of the warm and cold tiers that the rows speak of; ``unfiled``: records that were
    taken out of files that were left out, and are hot now.
    """

    backup: str
    link: str
    at: Micros
    rows: dict[str, int]
    dropped: dict[str, int]
    erased: int
    schema: tuple[str, str]
    files: int = 0
    unfiled: int = 0


def restore(
    engine: Engine,
    catalog: Catalog,
    link: str,
    shards: Shards,
    *,
    selection: Selection | None = None,
    files: FilesIn | None = None,
    filed: FiledRecords | None = None,
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
        filed: takes records out of files of which a part is asked for; without it they stay away.
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
    hashing = catalog.keys.row_hash(chain[-1].hashed_by)
    with _helped(engine, catalog, chain, hashing) as helper:
        _prepare(engine, schema, catalog.store, replace=replace)
        held = told_files(chain)
        parts = [
            one for one in held or () if filed is not None and wanted.takes_from_file(one.name)
        ]
        _ensure_months(engine, chain, parts)
        checkpoint("prepared")
        without = _bring_files(catalog, held, files, wanted, progress)
        checkpoint("files brought")
        again = [one for one in erased if one.id not in _final(catalog, chain)]
        with write_transaction(engine) as connection, lowered(connection):
            decider = Decider(shards, wanted, again, without)
            load = Applying(connection, catalog, decider, hashing, progress, checkpoint, helper)
            if replace:
                clear(connection)
                load.loader.empty()
            else:
                load.loader.need_empty()
            load.chain(chain, filed, parts)
            load.receipts(again)
            load.loader.derive_tags()
            load.read_back()
            checkpoint("read back")
            load.loader.advance_sequences()
    checkpoint("committed")
    migrate(engine)
    rows = {name: tally.rows for name, tally in load.loader.tallies.items()}
    done = Restored(
        backup=chain[-1].id.split("/")[0],
        link=link,
        at=chain[-1].taken_at,
        rows=rows,
        dropped=load.dropped,
        erased=len(again),
        schema=(schema, latest_version()),
        files=rows.get("tier_files", 0),
        unfiled=load.filed,
    )
    log.info("backup restored", link=link, rows=sum(done.rows.values()), erased=len(again))
    return done


def _helped(
    engine: Engine, catalog: Catalog, chain: Sequence[Manifest], hashing: RowHash
) -> AbstractContextManager[Beside | None]:
    """A process that helps, where there are so many rows that it is worth its start. Postgres is one
    already: with a third the two cores that were there had more to do, and it took as long.
    """
    if is_postgres(engine) or sum(one.rows for one in chain) < HELPED:
        return nullcontext()
    return beside(catalog.place, hashing)


def _ensure_months(engine: Engine, chain: Sequence[Manifest], parts: Sequence[HeldFile]) -> None:
    if is_postgres(engine):
        months = {month for one in chain for month in one.months}
        Partitions(engine).ensure(months | {month_of_file(one.name) for one in parts})


def _bring_files(
    catalog: Catalog,
    held: Sequence[HeldFile] | None,
    files: FilesIn | None,
    selection: Selection,
    progress: Progress,
) -> frozenset[str]:
    """Bring what is asked for; the names of the files whose rows are to be left out."""
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
            if has_table(connection, name)
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
