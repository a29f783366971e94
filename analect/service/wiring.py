"""How the parts fit together: the one place that knows all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Engine

from analect.cache.cache import Cache
from analect.cache.shared import open_shared
from analect.index.catalog import Indexes
from analect.index.opening import open_indexes
from analect.index.protocols import Monthly
from analect.lifecycle.backup.erased import ErasedList, open_missing
from analect.lifecycle.backup.rings import mirror_all
from analect.lifecycle.backup.shipping import Shipping
from analect.lifecycle.erase import Eraser
from analect.lifecycle.tiers.opening import FiledTiers
from analect.lifecycle.tiers.reads import TieredReads
from analect.model.ids import Clock, Micros, RandomBytes, RecordId
from analect.model.query import PageRequest, RecordFilter
from analect.model.record import Record
from analect.pipeline.background import BackgroundProcessing
from analect.pipeline.pacing import Pace
from analect.pipeline.processor import Processor, ProcessorContext, needs_of
from analect.pipeline.registry import followers, load_processors
from analect.pipeline.runner import Runner, RunnerOptions
from analect.pipeline.workers import release_dead, worker_name
from analect.privacy.detect import PrivacyOptions
from analect.privacy.keyring import FolderKeyRing
from analect.privacy.keys import DataKeys, open_data_keys
from analect.privacy.patterns import KINDS
from analect.privacy.pseudonymise import Pseudonymiser
from analect.privacy.randomness import BufferedRandom
from analect.privacy.seal import Sealer
from analect.service.concluding import Conclusions
from analect.service.drift import DriftWatch, Truth
from analect.service.finding import Finder
from analect.service.intake import Intake
from analect.service.older import OlderData
from analect.service.opening import Opener
from analect.service.papers import Papers
from analect.service.relating import Relations
from analect.service.retaining import Retaining
from analect.service.revealing import Revealer
from analect.service.status import Status
from analect.service.upkeep import Upkeep
from analect.settings import Settings
from analect.store.backup_places import BackupPlaces
from analect.store.cursor import Cursors
from analect.store.engine import is_postgres, open_engine
from analect.store.entries import Depth, Retry
from analect.store.erasure import PENDING, ErasureRows
from analect.store.estimates import count_records
from analect.store.feed import Beyond
from analect.store.key_rows import SqlKeyRows
from analect.store.leader import Announcer
from analect.store.migrate import migrate
from analect.store.reads import RecordReads
from analect.store.sampling import place_by_chance
from analect.store.shared_clock import SharedClock
from analect.store.store import Store
from analect.store.tier_files import TierFiles
from analect.store.vault import VaultRows
from analect.telemetry.metrics import Telemetry

if TYPE_CHECKING:
    from analect.lifecycle.backup.shipper import Shipper

log = structlog.get_logger(__name__)

DATABASE = "analect.db"
INDEXES = "index"


def wall_clock() -> Micros:
    """Microseconds since the epoch, now."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a façade is made of."""

    store: Store
    reads: TieredReads
    keys: DataKeys
    pseudonymiser: Pseudonymiser
    opener: Opener
    intake: Intake
    finder: Finder
    relations: Relations
    papers: Papers
    upkeep: Upkeep
    drift: DriftWatch
    eraser: Eraser
    retaining: Retaining
    older: OlderData
    conclusions: Conclusions
    revealer: Revealer
    indexes: Indexes
    runner: Runner
    background: BackgroundProcessing
    shipping: Shipping | None
    telemetry: Telemetry
    status: Status
    cache: Cache
    clock: Clock


@dataclass(frozen=True, slots=True)
class _Ground:
    """What every part stands on: the database, the keys, the files and the indexes, open."""

    settings: Settings
    engine: Engine
    clock: SharedClock
    random_bytes: RandomBytes
    telemetry: Telemetry
    keys: DataKeys
    cursors: Cursors
    files: FiledTiers
    reads: TieredReads
    indexes: Indexes
    processors: Mapping[str, Processor]
    store: Store
    for_records: BufferedRandom
    sealer: Sealer
    opener: Opener
    pseudonymiser: Pseudonymiser

    @property
    def names(self) -> tuple[str, ...]:
        """Of the processors."""
        return tuple(self.processors)

    def load(self, ids: Sequence[RecordId]) -> list[Record]:
        """Those of ``ids`` that are stored, opened."""
        return self.opener.open(self.reads.get(ids))

    def requeue(self, ids: Sequence[RecordId], names: Sequence[str]) -> int:
        """Have records processed again by the processors of these names; how many entries."""
        return self.store.outbox.requeue(ids, names, self.clock())

    def recent(self, where: RecordFilter, limit: int) -> list[Record]:
        """The newest in the hot tier, opened."""
        return self.opener.open(self.store.reads.list(where, PageRequest(limit)).items)


def wire(
    settings: Settings,
    stack: ExitStack,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    telemetry: Telemetry,
) -> Parts:
    """Open everything that ``settings`` name; ``stack`` closes it again, in the right order."""
    ground = _open(settings, stack, clock=clock, random_bytes=random_bytes, telemetry=telemetry)
    conclusions = Conclusions(
        store=ground.store, keys=ground.keys, sealer=ground.sealer, clock=ground.clock
    )
    runner = _runner(ground, conclusions)
    upkeep = _upkeep(ground)
    eraser = _eraser(ground)
    drift = _drift(ground)
    background = _background(ground, runner, upkeep, eraser, drift)
    shipping = shipping_of(
        settings, ground.engine, ground.keys, clock=ground.clock, random_bytes=random_bytes
    )
    if shipping is not None:
        stack.callback(shipping.stop, settings.http.shutdown_seconds / 4)
    stack.callback(background.stop, settings.http.shutdown_seconds / 4)
    _announce(ground, background, stack)
    status = Status(
        settings,
        store=ground.store,
        indexes=ground.indexes,
        files=TierFiles(ground.engine),
        shipping=shipping,
        clock=ground.clock,
    )
    telemetry.store.watch(status.look, ground.names)
    cache = _cache(settings, stack, telemetry)
    retaining = _retaining(ground, cache)
    telemetry.tiers.watch(retaining.look)
    intake = _intake(ground)
    return Parts(
        store=ground.store,
        reads=ground.reads,
        keys=ground.keys,
        pseudonymiser=ground.pseudonymiser,
        opener=ground.opener,
        intake=intake,
        finder=Finder(ground.indexes, ground.load, ground.recent, ground.cursors),
        relations=Relations(ground.indexes),
        papers=_papers(ground),
        upkeep=upkeep,
        drift=drift,
        eraser=eraser,
        retaining=retaining,
        older=_older(ground, intake, retaining),
        conclusions=conclusions,
        revealer=Revealer(VaultRows(ground.engine), ground.keys, ground.sealer, ground.clock),
        indexes=ground.indexes,
        runner=runner,
        background=background,
        shipping=shipping,
        telemetry=telemetry,
        status=status,
        cache=cache,
        clock=ground.clock,
    )


def _open(
    settings: Settings,
    stack: ExitStack,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    telemetry: Telemetry,
) -> _Ground:
    engine = open_engine(database_url(settings))
    stack.callback(engine.dispose)
    migrate(engine)
    shared = SharedClock(engine, clock)
    keys = open_data_keys(settings, SqlKeyRows(engine), clock=shared, random_bytes=random_bytes)
    cursors = Cursors(keys.pseudonym_key)
    files = FiledTiers(settings, engine)
    reads = TieredReads(RecordReads(engine, cursors), files, cursors)
    indexes = open_indexes(settings, settings.home / INDEXES, telemetry=telemetry, clock=shared)
    stack.callback(indexes.close)
    processors = load_processors(ProcessorContext(settings, indexes, shared))
    store = _store(
        settings,
        engine,
        cursors,
        followers=followers(processors),
        clock=shared,
        telemetry=telemetry,
        beyond=reads.beyond,
    )
    stack.callback(store.close)
    for_records = BufferedRandom(random_bytes)
    sealer = Sealer(for_records)
    return _Ground(
        settings=settings,
        engine=engine,
        clock=shared,
        random_bytes=random_bytes,
        telemetry=telemetry,
        keys=keys,
        cursors=cursors,
        files=files,
        reads=reads,
        indexes=indexes,
        processors=processors,
        store=store,
        for_records=for_records,
        sealer=sealer,
        opener=Opener(keys, sealer),
        pseudonymiser=pseudonymiser_of(settings, keys.pseudonym_key),
    )


def _announce(ground: _Ground, background: BackgroundProcessing, stack: ExitStack) -> None:
    """Tell of each commit those who wait for work: here, and behind a queue."""
    ground.store.on_commit(background.wake)
    if ground.settings.queue_url is not None:
        announcer = Announcer(ground.engine)
        stack.callback(announcer.close)
        ground.store.on_commit(announcer.wake)


def _upkeep(ground: _Ground) -> Upkeep:
    return Upkeep(
        indexes=ground.indexes,
        reads=ground.reads,
        feed=ground.store.feed,
        load=ground.load,
        requeue=ground.requeue,
        clock=ground.clock,
    )


def _drift(ground: _Ground) -> DriftWatch:
    engine, outbox = ground.engine, ground.store.outbox

    def records() -> int:
        warm = (file.rows for file in TierFiles(engine).standing("warm") if file.indexed)
        return count_records(engine) + sum(warm)

    truth = Truth(
        walk=ground.reads.hashes,
        place=lambda: place_by_chance(engine, int.from_bytes(ground.random_bytes(8))),
        records=records,
        oldest=lambda name: outbox.depth().get(name, Depth()).oldest,
        given_up=lambda name: {
            one.record_id for one in outbox.quarantined(10_000) if one.processor == name
        },
    )
    return DriftWatch(ground.indexes, truth, ground.telemetry.drift, ground.clock)


def _eraser(ground: _Ground) -> Eraser:
    return Eraser(
        ground.engine,
        ground.keys,
        ground.sealer,
        ground.indexes,
        clock=ground.clock,
        random_bytes=ground.random_bytes,
        processors=ground.names,
        mirror=lambda: _spread_erasures(ground.settings, ground.engine, ground.keys),
        filed=lambda: ground.files.erasing(ground.sealer, ground.clock, ground.random_bytes),
    )


def _retaining(ground: _Ground, cache: Cache) -> Retaining:
    return Retaining(
        ground.settings,
        ground.engine,
        ground.pseudonymiser,
        processors=ground.names,
        monthly={
            name: index for name, index in ground.indexes.present() if isinstance(index, Monthly)
        },
        requeue=ground.requeue,
        expire_documents=lambda: ground.store.documents.expire(ground.clock()),
        cache=cache,
        cursors=ground.cursors,
        clock=ground.clock,
        random_bytes=ground.random_bytes,
    )


def _older(ground: _Ground, intake: Intake, retaining: Retaining) -> OlderData:
    return OlderData(
        ground.engine,
        keys=ground.keys,
        intake=intake,
        reads=ground.reads,
        pseudonymiser=ground.pseudonymiser,
        retaining=retaining,
        processors=ground.names,
        clock=ground.clock,
    )


def _intake(ground: _Ground) -> Intake:
    privacy = ground.settings.privacy
    return Intake(
        store=ground.store,
        keys=ground.keys,
        sealer=ground.sealer,
        pseudonymiser=ground.pseudonymiser,
        processors=[name for name, one in ground.processors.items() if not needs_of(one)],
        omit_services=frozenset(privacy.omit_services),
        keep_payload=privacy.keep_payload,
        vault=privacy.vault,
        observe=ground.telemetry.ingest.batch,
        clock=ground.clock,
        random_bytes=ground.for_records,
    )


def _papers(ground: _Ground) -> Papers:
    return Papers(
        documents=ground.store.documents,
        keys=ground.keys,
        sealer=ground.sealer,
        identifier=ground.pseudonymiser.identifier,
        text=ground.pseudonymiser.text,
        clock=ground.clock,
    )


def _spread_erasures(settings: Settings, engine: Engine, keys: DataKeys) -> None:
    """Tell the ring and every copy of it who is erased."""
    ring = FolderKeyRing(settings.ring)
    ErasedList(ring, keys.pseudonym_key).add(ErasureRows(engine).receipts(PENDING))
    mirror_all(ring, BackupPlaces(engine).all(), settings.objects)


def shipping_of(
    settings: Settings,
    engine: Engine,
    keys: DataKeys,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
) -> Shipping | None:
    """What sends changes of a store on SQLite to the place of its backups, if there is one."""
    dest = settings.backup.place
    database = engine.url.database
    if dest is None or is_postgres(engine) or database is None:
        return None

    def make() -> Shipper:
        from analect.lifecycle.backup.files import files_out
        from analect.lifecycle.backup.job import BackupJob
        from analect.lifecycle.backup.keys import BackupKeys
        from analect.lifecycle.backup.manifest import Catalog
        from analect.lifecycle.backup.shipper import Shipper
        from analect.lifecycle.places.opening import open_place

        store = SqlKeyRows(engine).store_id() or ""
        backup_keys = BackupKeys(keys.pseudonym_key, random_bytes)
        catalog = Catalog(open_place(dest, settings.objects), store, backup_keys)
        files = files_out(settings, catalog)
        return Shipper(BackupJob(engine, catalog, clock, random_bytes, files=files))

    return Shipping(
        make, Path(f"{database}.shipping"), interval=settings.backup.log_seconds, clock=clock
    )


def _store(
    settings: Settings,
    engine: Engine,
    cursors: Cursors,
    *,
    followers: Mapping[str, Sequence[str]],
    clock: Clock,
    telemetry: Telemetry,
    beyond: Beyond,
) -> Store:
    processing = settings.processing
    retry = Retry(processing.max_attempts, first=int(processing.backoff_seconds * 1_000_000))
    return Store(
        engine,
        cursors=cursors,
        clock=clock,
        retry=retry,
        followers=followers,
        observe=telemetry.store.committed,
        beyond=beyond,
    )


def _cache(settings: Settings, stack: ExitStack, telemetry: Telemetry) -> Cache:
    shared = None
    if settings.cache_url is not None:
        setting = "cache.url" if settings.cache.url else "queue.url"
        shared = open_shared(settings.cache_url, settings.queue, setting=setting)
    cache = Cache(settings.cache, shared=shared, heard=telemetry.cache)
    stack.callback(cache.close)
    return cache


def pseudonymiser_of(settings: Settings, key: bytes) -> Pseudonymiser:
    """What replaces personal data in this store."""
    privacy = settings.privacy
    options = PrivacyOptions(
        detectors=privacy.detectors or KINDS,
        allow=privacy.allow,
        deny=privacy.deny,
        names=privacy.names,
        names_model=privacy.names_model,
    )
    return Pseudonymiser(key, options)


def _runner(ground: _Ground, conclusions: Conclusions) -> Runner:
    settings = ground.settings
    return Runner(
        outbox=ground.store.outbox,
        processors=ground.processors,
        load=ground.load,
        absent=ground.reads.absent,
        indexed=ground.reads.indexed,
        annotate=conclusions.keep,
        observer=ground.telemetry.processing,
        options=RunnerOptions(settings.limits, settings.processing.lease_seconds),
        worker=worker_name(),
        clock=ground.clock,
    )


def _background(
    ground: _Ground, runner: Runner, upkeep: Upkeep, eraser: Eraser, drift: DriftWatch
) -> BackgroundProcessing:
    store, indexes, clock = ground.store, ground.indexes, ground.clock

    def first() -> None:
        release_dead(store.outbox, clock)
        erased = ErasedList(FolderKeyRing(ground.settings.ring), ground.keys.pseudonym_key)
        open_missing(ground.engine, erased.all())
        indexes.check()

    def housekeeping() -> None:
        mend_indexes(indexes, upkeep)
        eraser.settle()
        ground.keys.refresh()
        clock.adjust()
        store.partitions.ensure_ahead(clock())
        store.documents.expire(clock())
        if ground.settings.queue_url is None:  # else the dispatcher that leads looks
            drift.look()

    return BackgroundProcessing(
        runner,
        interval=ground.settings.processing.interval_seconds,
        first=first,
        housekeeping=housekeeping,
        urgent=lambda: bool(indexes.health.damaged()),
        rest=Pace(store.seconds_writing).rest,
    )


def mend_indexes(indexes: Indexes, upkeep: Upkeep) -> None:
    """Make again what cannot be used."""
    for name in indexes.health.damaged():
        log.warning("index is made again from the truth", index=name)
        count = upkeep.rebuild(name)
        indexes.health.mended(name)
        log.info("index is whole again", index=name, records=count)


def database_url(settings: Settings) -> str:
    """Where the truth is: the database that is set, or a file in the home folder."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{Path(settings.home).resolve() / DATABASE}"
