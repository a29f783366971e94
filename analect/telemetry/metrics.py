"""Every metric of a process, a module a subsystem, in one registry that is passed in."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from analect.model.ids import Clock, Micros
from analect.telemetry.cache import CacheMetrics
from analect.telemetry.drift import DriftMetrics
from analect.telemetry.embedding import EmbeddingMetrics
from analect.telemetry.engines import EngineMetrics
from analect.telemetry.finding import FindingMetrics
from analect.telemetry.http import HttpMetrics
from analect.telemetry.ingest import IngestMetrics
from analect.telemetry.processing import ProcessingMetrics
from analect.telemetry.queue import QueueMetrics
from analect.telemetry.store import StoreMetrics
from analect.telemetry.tiers import TierMetrics


def _wall_clock() -> Micros:
    return time.time_ns() // 1000


class Telemetry:
    """The metrics of one process. Make one and hand it to whatever records."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, clock: Clock = _wall_clock
    ) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self.http = HttpMetrics(self.registry)
        self.ingest = IngestMetrics(self.registry, clock)
        self.store = StoreMetrics(self.registry)
        self.processing = ProcessingMetrics(self.registry)
        self.queue = QueueMetrics(self.registry)
        self.engines = EngineMetrics(self.registry)
        self.cache = CacheMetrics(self.registry)
        self.drift = DriftMetrics(self.registry)
        self.embedding = EmbeddingMetrics(self.registry)
        self.finding = FindingMetrics(self.registry)
        self.tiers = TierMetrics(self.registry)
