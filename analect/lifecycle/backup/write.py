"""Writing a link: every table of the truth, or what changed in it, as one snapshot saw it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, cast

import structlog
from sqlalchemy import Connection, Engine
from tink.streaming_aead import StreamingAead

from analect.lifecycle.backup.files import FileGone, FilesOut
from analect.lifecycle.backup.format import (
    ADDED,
    REMOVED,
    ChunkWriter,
    Remembering,
    Row,
    Tally,
    binding,
    pack_row,
    telling,
)
from analect.lifecycle.backup.manifest import (
    CHANGES,
    FORMAT,
    HASHED_BY,
    MANIFEST,
    Catalog,
    Checkpoint,
    HeldFile,
    Manifest,
    Stored,
    TableContent,
)
from analect.model.errors import Conflict, StoreUnavailable
from analect.model.ids import Clock, Micros, id_floor, id_text, month_of
from analect.store.alone import alone
from analect.store.backup_references import BackupReferences
from analect.store.changes import (
    HEADS,
    LOG,
    TRACKED,
    Noted,
    Position,
    added_outbox,
    changed_keys,
    changed_months,
    noted,
    position,
    standing,
    stands_at,
)
from analect.store.engine import is_postgres, read_transaction
from analect.store.migrate import schema_version
from analect.store.raw import (
    RawTable,
    has_table,
    of_month,
    raw_tables,
    read_rows,
    rows_of_keys,
    with_rows,
)
from analect.store.tables import metadata
from analect.store.tier_files import TierFiles, standing_files

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]

FIRST = ("meta", "key_shards", "erasures", "data_keys", "records")
"""What they say decides what of the others is restored."""
DERIVED = {"record_tags"}
"""Made again from the records."""
SEGMENT = "segment"
"""The kind of a link of the log."""
AT_ONCE = 500
"""Changed rows looked up at once."""
PACKED_AT_ONCE = 32
"""Rows packed at once: of the largest there may be, so many are held."""
_DAY = 86_400_000
_ATTEMPTS = 5

_UNCLAIMED: dict[str, dict[str, Any]] = {
    "commits": {"txid": 0},
    "outbox": {"claimed_by": None, "claimed_at": None},
}
"""What does not outlive its database: transaction ids begin anew, and so does work in hand."""


_HOLDING = "LOCK TABLE ONLY records, ONLY record_tags IN ACCESS SHARE MODE"


@dataclass(frozen=True, slots=True)
class Base:
    """What an increment goes on from and in which format, the files that it speaks of, the hashes of
    tables as they were then, and the schema if that was looked at already.
    """

    link: str
    digest: str
    position: Position
    format: int
    files: tuple[HeldFile, ...] | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A link that stands, the digest by which others name it, where it stands in the order of
    commits, and the log that says so.
    """

    manifest: Manifest
    digest: str
    position: Position
    log_id: str | None


class Overtaken(Conflict):
    """Another backup ended in the place before this one looked at the database: what changed since
    its base may not be noted any more.
    """


def tables_of(connection: Connection) -> list[RawTable]:
    """Every table that goes into a backup, those first that decide."""
    rest = sorted(metadata.tables.keys() - {*FIRST} - DERIVED)
    return list(raw_tables(connection, (*FIRST, *rest)).values())


def write_link(
    engine: Engine,
    catalog: Catalog,
    link: str,
    *,
    kind: str,
    clock: Clock,
    base: Base | None = None,
    files: FilesOut | None = None,
    progress: Progress = lambda _done, _total: None,
    checkpoint: Checkpoint = lambda _name: None,
) -> Written | None:
    """Write a full backup or, with a ``base``, what changed since; it stands only when its
    manifest, the last object, is there.

    Args:
        engine: the truth.
        catalog: where it goes.
        link: its name, which nobody else may have.
        kind: what it was made for.
        clock: when its snapshot began.
        base: what it goes on from.
        files: takes the files of the tiers; without it nothing is said of them.
        progress: hears of (rows, rows in all).
        checkpoint: hears of every step.

    Returns:
        None for a segment without any change.

    Raises:
        Overtaken: nothing goes on from ``base`` any more; nothing was written.
        StoreUnavailable: database or place fail, or the place is full.
    """
    schema = (base and base.schema) or schema_version(engine) or ""
    backup = link.split("/", maxsplit=1)[0]
    with (
        _looking(engine, files, backup, clock),
        _snapshot_with_files(engine, files, base) as (connection, held),
    ):
        taken_at = clock()
        address = catalog.place.address
        if base is not None and not stands_at(connection, address, base.link, base.position):
            raise Overtaken(f"another backup was written to {address} meanwhile; try again")
        checkpoint("files held")
        same_files = kind == SEGMENT and base is not None and held == base.files
        told = None if same_files else held
        stands = position(connection) if (log_id := standing(connection)) else Position()
        writing = _Link(connection, catalog, link, base, kind, progress, checkpoint, told)
        writing.run()
    if kind == SEGMENT and not writing.tables:
        return None
    if kind == SEGMENT and told is not None:
        catalog.mark_telling(link)
    manifest = writing.manifest(schema, taken_at, clock())
    checkpoint("objects written")
    digest = catalog.write(link, MANIFEST, manifest)
    checkpoint("manifest written")
    if kind != SEGMENT:
        log.info("backup written", backup=link, kind=kind, rows=manifest.rows)
    return Written(manifest, digest, stands, log_id)


@contextmanager
def _looking(engine: Engine, files: FilesOut | None, backup: str, clock: Clock) -> Iterator[None]:
    """Whoever tidies the place of the backups, or the tiers, knows of this one."""
    if files is None:
        yield
        return
    with alone(engine, "backing-up", shared=True):
        if not files.copies:
            BackupReferences(engine).add(files.catalog.place.address, backup, clock())
        yield


@contextmanager
def _snapshot_with_files(
    engine: Engine, files: FilesOut | None, base: Base | None
) -> Iterator[tuple[Connection, tuple[HeldFile, ...] | None]]:
    """A snapshot, and what to say of the files that stand in it. Those that are new are looked at
    before, for a snapshot should not last.

    Raises:
        StoreUnavailable: files keep being moved on.
    """
    tiers = TierFiles(engine)
    if files is None or ((base is None or base.files is None) and not _has_tiers(engine)):
        with snapshot(engine) as connection:
            yield connection, None
        return
    known = {one.name: one for one in (base and base.files) or ()}
    looked = False
    for _ in range(_ATTEMPTS):
        with snapshot(engine) as connection:
            stand = standing_files(connection)
            if looked or known.keys() >= {one.name for one in stand}:
                try:
                    held = files.take(stand, known, tiers.standing)
                except FileGone:
                    continue
                yield connection, held
                return
        looked = True
        with suppress(FileGone):
            known |= {one.name: one for one in files.take(stand, known, tiers.standing)}
    raise StoreUnavailable("files keep being moved on under this backup; try again")


def _has_tiers(engine: Engine) -> bool:
    with read_transaction(engine) as connection:
        return has_table(connection, "tier_files")


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection on which every read sees the same moment. On Postgres no month leaves the tables
    within the block: whoever removes one waits for the end of it.
    """
    if not is_postgres(engine):
        with read_transaction(engine) as connection:
            yield connection
        return
    with read_transaction(
        engine.execution_options(isolation_level="REPEATABLE READ")
    ) as connection:
        # Before anything is seen: a table that is seen and not held yet loses its months even so.
        connection.exec_driver_sql(_HOLDING)
        yield connection


def settled(table: RawTable, rows: Iterable[Row]) -> Iterable[Row]:
    """Rows without what does not outlive their database."""
    if table.name == "meta":
        name = table.columns.index("name")
        return (row for row in rows if row[name] not in {HEADS, LOG})
    return _unclaimed(table, rows) if table.name in _UNCLAIMED else rows


def _unclaimed(table: RawTable, rows: Iterable[Row]) -> Iterator[Row]:
    reset = {table.columns.index(name): v for name, v in _UNCLAIMED[table.name].items()}
    state = table.columns.index("state") if table.name == "outbox" else None
    for row in rows:
        values = list(row)
        for place, value in reset.items():
            values[place] = value
        if state is not None and values[state] == "claimed":
            values[state] = "pending"
        yield tuple(values)


@dataclass(slots=True)
class _Link:
    """One link on its way."""

    connection: Connection
    catalog: Catalog
    link: str
    base: Base | None
    kind: str
    progress: Progress
    checkpoint: Checkpoint
    held: tuple[HeldFile, ...] | None
    tables: list[TableContent] = field(default_factory=list)
    same: dict[str, str] = field(default_factory=dict)
    objects: list[Stored] = field(default_factory=list)
    days: set[int] = field(default_factory=set)
    keyset: bytes = b""
    plain: int = 0
    seen: int = 0
    total: int = 0

    def run(self) -> None:
        """Write every object."""
        cipher, self.keyset = self.catalog.keys.fresh(self.link)
        every = tables_of(self.connection)
        if self.base is None:
            self.total = sum(_count(self.connection, table) for table in every)
            for table in every:
                with self._object(cipher, table.name) as chunks:
                    self._whole(chunks, table)
        else:
            since = self.base.position
            log = noted(self.connection, since)
            told = [one for one in every if one.name not in TRACKED or log.has(one.name)]
            filled = with_rows(self.connection, [one for one in told if one.name not in TRACKED])
            with self._object(cipher, CHANGES) as chunks:
                for table in told:
                    self._changes(chunks, table, self.base, log, filled)

    @contextmanager
    def _object(self, cipher: StreamingAead, name: str) -> Iterator[ChunkWriter]:
        """Chunks of an object that stands when the block ends well, if there are any."""
        sealed: list[Remembering] = []
        with ExitStack() as stack:

            def begin() -> BinaryIO:
                path = self.catalog.path(self.link, name)
                beneath = Remembering(stack.enter_context(self.catalog.place.create(path)))
                sealed.append(beneath)
                stack.enter_context(telling(beneath))
                whole = cipher.new_encrypting_stream(beneath, binding(self.link, name))
                return cast("BinaryIO", stack.enter_context(whole))

            chunks = ChunkWriter(cast("BinaryIO", _Sealing(begin)))
            yield chunks
            chunks.flush()
        self.objects += [Stored(name, one.count) for one in sealed]

    @property
    def format(self) -> int:
        return FORMAT if self.base is None else self.base.format

    def _tally(self) -> Tally:
        return Tally(self.catalog.keys.row_hash(HASHED_BY[self.format]))

    def manifest(self, schema: str, taken_at: Micros, finished_at: Micros) -> Manifest:
        return Manifest(
            id=self.link,
            store=self.catalog.store,
            kind=self.kind,
            schema=schema,
            keyset=self.keyset,
            tables=tuple(self.tables),
            objects=tuple(self.objects),
            months=tuple(sorted({month_of(id_floor(day * _DAY * 1_000)) for day in self.days})),
            taken_at=taken_at,
            finished_at=finished_at,
            plain=self.plain,
            parent=None if self.base is None else self.base.link,
            parent_digest=None if self.base is None else self.base.digest,
            files=self.held,
            format=self.format,
            same=self.same,
        )

    def _whole(self, chunks: ChunkWriter, table: RawTable) -> None:
        # Records are read as they stand, which is nearly as they came: by their key they take a fourth
        # longer. Whatever has other keys is put back quicker in their order.
        found = read_rows(self.connection, table, ordered=table.name != "records")
        rows = settled(table, found)
        tally = self._tally()
        self._add(chunks, table, rows, tally)
        self._tell(table, tally, whole=True)

    def _changes(
        self, chunks: ChunkWriter, table: RawTable, base: Base, log: Noted, filled: Collection[str]
    ) -> None:
        since = base.position
        if table.name in TRACKED:
            dropped = table.name == "records" and log.months
            months = changed_months(self.connection, since) if dropped else ()
            is_noted = table.name in log.tables
            keys = changed_keys(self.connection, table, since, is_noted=is_noted)
            self._changed(chunks, table, keys, months)
        elif table.name == "outbox" and self.kind == SEGMENT:
            # Which of the older ones are done is not told: they are done again, as after a crash.
            self._changed(chunks, table, added_outbox(self.connection, since))
        else:
            # Most of these are empty, which is asked of all of them at once.
            there = read_rows(self.connection, table) if table.name in filled else ()
            rows = settled(table, there)
            packed = list(map(pack_row, rows))
            tally = self._tally()
            tally.add(packed)
            if base.hashes.get(table.name) == tally.hash():
                self.same[table.name] = tally.hash()
            else:
                self._put(chunks, ADDED, packed)
                self._tell(table, tally, whole=True)

    def _changed(
        self,
        chunks: ChunkWriter,
        table: RawTable,
        keys: Iterable[Row],
        months: Sequence[str] = (),
    ) -> None:
        tally = self._tally()
        removed = 0
        for month in months:
            where = of_month(self.connection, "id", month)
            rows = settled(table, read_rows(self.connection, table, where))
            self._add(chunks, table, rows, tally)
        told = {*months}
        for part in parts(keys, AT_ONCE):
            wanted = [key for key in part if not (told and month_of(id_text(key[0])) in told)]
            present: set[Row] = set()
            found = rows_of_keys(self.connection, table, wanted)
            self._add(chunks, table, noting(settled(table, found), table, present), tally)
            gone = [pack_row(key) for key in wanted if key not in present]
            self._put(chunks, REMOVED, gone)
            removed += len(gone)
        if tally.rows or removed or months:
            self._tell(table, tally, whole=False, removed=removed, months=tuple(months))

    def _add(self, chunks: ChunkWriter, table: RawTable, rows: Iterable[Row], tally: Tally) -> None:
        for part in parts(rows, PACKED_AT_ONCE):
            packed = list(map(pack_row, part))
            tally.add(packed)
            self._put(chunks, ADDED, packed)
            self._note_months(table, part)

    def _put(self, chunks: ChunkWriter, done: int, packed: Sequence[bytes]) -> None:
        if not packed:
            return
        self.plain += chunks.add(len(self.tables), done, packed)
        self.seen += len(packed)
        self.progress(self.seen, max(self.total, self.seen))

    def _note_months(self, table: RawTable, rows: Sequence[Row]) -> None:
        if table.name != "records":
            return
        ids = [row[0] for row in rows]
        first, last = _day(min(ids)), _day(max(ids))
        # Rows come nearly in the order of their ids: to look at each takes longer than to pack it.
        self.days.update((first, last) if last - first <= 1 else map(_day, ids))

    def _tell(
        self,
        table: RawTable,
        tally: Tally,
        *,
        whole: bool,
        removed: int = 0,
        months: tuple[str, ...] = (),
    ) -> None:
        key = tuple(table.columns[place] for place in table.key)
        self.tables.append(
            TableContent(
                table.name,
                table.columns,
                key,
                whole,
                tally.rows,
                tally.hash(),
                removed,
                # To count all rows takes as long as the store is large.
                tally.rows if whole else None,
                months,
            )
        )
        self.checkpoint(f"{table.name} written")


class _Sealing:
    """The sealed stream of an object that is begun when there is something to write."""

    def __init__(self, begin: Callable[[], BinaryIO]) -> None:
        self._begin = begin
        self._stream: BinaryIO | None = None

    def write(self, data: bytes) -> int:
        if self._stream is None:
            self._stream = self._begin()
        return self._stream.write(data)


def noting(rows: Iterable[Row], table: RawTable, keys: set[Row]) -> Iterator[Row]:
    """The rows; their primary keys are added to ``keys`` on the way."""
    for row in rows:
        keys.add(table.key_of(row))
        yield row


def _day(record_id: bytes) -> int:
    return int.from_bytes(record_id[:6], "big") // _DAY


def _count(connection: Connection, table: RawTable) -> int:
    return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table.name}").scalar_one())


def parts(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Rows, so many at once."""
    left = iter(rows)
    while part := list(islice(left, size)):
        yield part
