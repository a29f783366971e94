"""How the parts fit together: the one place that knows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
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
from analect.service.finding import Finder
from analect.service.intake import Intake
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
from analect.store.erasure import PENDING, ErasureRows
from analect.store.feed import Beyond
from analect.store.key_rows import SqlKeyRows
from analect.store.leader import Announcer
from analect.store.migrate import migrate
from analect.store.outbox import Retry
from analect.store.reads import RecordReads
from analect.store.shared_clock import SharedClock
from analect.store.store import Store
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
    eraser: Eraser
    retaining: Retaining
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

    def load(self, ids: Sequence[RecordId]) -> list[Record]:
        """Those of ``ids`` that are stored, opened."""
        return self.opener.open(self.reads.get(ids))


def wire(
    settings: Settings,
    stack: ExitStack,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    telemetry: Telemetry,
) -> Parts:
    """Open everything that ``settings`` name; ``stack`` closes it again, in the right order."""
    engine = open_engine(database_url(settings))
    stack.callback(engine.dispose)
    migrate(engine)
    clock = shared = SharedClock(engine, clock)
    keys = open_data_keys(settings, SqlKeyRows(engine), clock=clock, random_bytes=random_bytes)
    cursors = Cursors(keys.pseudonym_key)
    files = FiledTiers(settings, engine)
    reads = TieredReads(RecordReads(engine, cursors), files, cursors)
    indexes = open_indexes(settings, settings.home / INDEXES, telemetry=telemetry, clock=clock)
    stack.callback(indexes.close)
    processors = load_processors(ProcessorContext(settings, indexes, clock))
    store = _store(
        settings,
        engine,
        cursors,
        followers=followers(processors),
        clock=clock,
        telemetry=telemetry,
        beyond=reads.beyond,
    )
    stack.callback(store.close)
    for_records = BufferedRandom(random_bytes)
    sealer = Sealer(for_records)
    opener = Opener(keys, sealer)
    pseudonymiser = pseudonymiser_of(settings, keys.pseudonym_key)

    def load(ids: Sequence[RecordId]) -> list[Record]:
        return opener.open(reads.get(ids))

    def recent(where: RecordFilter, limit: int) -> list[Record]:
        return opener.open(store.reads.list(where, PageRequest(limit)).items)

    conclusions = Conclusions(store=store, keys=keys, sealer=sealer, clock=clock)
    runner = _runner(
        settings,
        store=store,
        processors=processors,
        load=load,
        exist=reads.exists,
        conclusions=conclusions,
        telemetry=telemetry,
        clock=clock,
    )
    names = tuple(runner.processors)
    upkeep = Upkeep(
        indexes=indexes,
        reads=reads,
        feed=store.feed,
        load=load,
        requeue=lambda ids, named: store.outbox.requeue(ids, named, clock()),
    )
    eraser = Eraser(
        engine,
        keys,
        sealer,
        indexes,
        clock=clock,
        random_bytes=random_bytes,
        processors=names,
        mirror=lambda: _spread_erasures(settings, engine, keys),
        filed=lambda: files.erasing(sealer, clock, random_bytes),
    )
    background = _background(
        settings,
        runner=runner,
        store=store,
        keys=keys,
        indexes=indexes,
        upkeep=upkeep,
        eraser=eraser,
        clock=shared,
    )
    shipping = shipping_of(settings, engine, keys, clock=clock, random_bytes=random_bytes)
    if shipping is not None:
        stack.callback(shipping.stop, settings.http.shutdown_seconds / 4)
    stack.callback(background.stop, settings.http.shutdown_seconds / 4)
    store.on_commit(background.wake)
    if settings.queue_url is not None:
        announcer = Announcer(engine)
        stack.callback(announcer.close)
        store.on_commit(announcer.wake)
    status = Status(settings, store=store, indexes=indexes, shipping=shipping, clock=clock)
    telemetry.store.watch(status.look, names)
    intake = Intake(
        store=store,
        keys=keys,
        sealer=sealer,
        pseudonymiser=pseudonymiser,
        processors=[name for name in names if not needs_of(processors[name])],
        omit_services=frozenset(settings.privacy.omit_services),
        keep_payload=settings.privacy.keep_payload,
        vault=settings.privacy.vault,
        observe=telemetry.ingest.batch,
        clock=clock,
        random_bytes=for_records,
    )
    papers = Papers(
        documents=store.documents,
        keys=keys,
        sealer=sealer,
        identifier=pseudonymiser.identifier,
        text=pseudonymiser.text,
        clock=clock,
    )
    retaining = Retaining(
        settings,
        engine,
        pseudonymiser,
        processors=names,
        expire_documents=lambda: store.documents.expire(clock()),
        clock=clock,
        random_bytes=random_bytes,
    )
    telemetry.tiers.watch(retaining.look)
    return Parts(
        store=store,
        reads=reads,
        keys=keys,
        pseudonymiser=pseudonymiser,
        opener=opener,
        intake=intake,
        finder=Finder(indexes, load, recent, cursors),
        relations=Relations(indexes),
        papers=papers,
        upkeep=upkeep,
        eraser=eraser,
        retaining=retaining,
        conclusions=conclusions,
        revealer=Revealer(VaultRows(engine), keys, sealer, clock),
        indexes=indexes,
        runner=runner,
        background=background,
        shipping=shipping,
        telemetry=telemetry,
        status=status,
        cache=_cache(settings, stack, telemetry),
        clock=clock,
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
        from analect.lifecycle.backup.format import BackupKeys
        from analect.lifecycle.backup.job import BackupJob
        from analect.lifecycle.backup.manifest import Catalog
        from analect.lifecycle.backup.shipper import Shipper
        from analect.lifecycle.places.opening import open_place

        store = SqlKeyRows(engine).store_id() or ""
        backup_keys = BackupKeys(keys.pseudonym_key, random_bytes)
        catalog = Catalog(open_place(dest, settings.objects), store, backup_keys)
        return Shipper(BackupJob(engine, catalog, clock, random_bytes))

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
        shared = open_shared(settings.cache_url, settings.queue)
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


def _runner(
    settings: Settings,
    *,
    store: Store,
    processors: Mapping[str, Processor],
    load: Callable[[Sequence[RecordId]], list[Record]],
    exist: Callable[[Sequence[RecordId]], set[RecordId]],
    conclusions: Conclusions,
    telemetry: Telemetry,
    clock: Clock,
) -> Runner:
    return Runner(
        outbox=store.outbox,
        processors=processors,
        load=load,
        exist=exist,
        annotate=conclusions.keep,
        observer=telemetry.processing,
        options=RunnerOptions(settings.limits, settings.processing.lease_seconds),
        worker=worker_name(),
        clock=clock,
    )


def _background(
    settings: Settings,
    *,
    runner: Runner,
    store: Store,
    keys: DataKeys,
    indexes: Indexes,
    upkeep: Upkeep,
    eraser: Eraser,
    clock: SharedClock,
) -> BackgroundProcessing:
    def first() -> None:
        release_dead(store.outbox, clock)
        open_missing(
            store.engine,
            ErasedList(FolderKeyRing(settings.ring), keys.pseudonym_key).all(),
        )
        indexes.check()

    def housekeeping() -> None:
        mend_indexes(indexes, upkeep)
        eraser.settle()
        keys.refresh()
        clock.adjust()
        store.partitions.ensure_ahead(clock())
        store.documents.expire(clock())

    return BackgroundProcessing(
        runner,
        interval=settings.processing.interval_seconds,
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
