"""Metrics of what was stored: how fast, and what the records say of the programs they are from."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analect.model.ids import Clock, Micros
from analect.model.record import Draft, IngestResult
from analect.telemetry.labels import BoundedLabel
from analect.telemetry.sessions import ActiveSessions

_RESPONSE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_BATCH = (1, 5, 10, 50, 100, 500, 1000, 5000, 10_000)
_WHERE = ("project", "environment")


@dataclass(slots=True)
class _Tally:
    """One batch, one (project, environment): numbers are added up before a counter is touched."""

    records: int = 0
    successes: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    durations: list[float] = field(default_factory=list)


class IngestMetrics:
    """Counts once a batch, so that a record costs a microsecond or so."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._projects = BoundedLabel()
        self._environments = BoundedLabel()
        self._sessions = ActiveSessions()
        self._newest: Micros | None = None
        self._lock = threading.Lock()
        self._records = Counter(
            "analect_ingest_records_total",
            "Records by what became of them: stored, duplicate, rejected.",
            ("outcome",),
            registry=registry,
        )
        self._rejected = Counter(
            "analect_ingest_rejections_total",
            "Records rejected, by the code of the reason.",
            ("reason",),
            registry=registry,
        )
        self._batch = Histogram(
            "analect_ingest_batch_records",
            "Records in one request.",
            buckets=_BATCH,
            registry=registry,
        )
        self._stored = Counter(
            "analect_stored_records_total", "Records stored.", _WHERE, registry=registry
        )
        self._outcome = Counter(
            "analect_stored_outcomes_total",
            "Stored records that say whether they succeeded: success or error.",
            (*_WHERE, "outcome"),
            registry=registry,
        )
        self._response = Histogram(
            "analect_stored_response_seconds",
            "Response times that stored records tell.",
            _WHERE,
            buckets=_RESPONSE_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            "analect_stored_tokens_total",
            "Tokens that stored records tell: input or output.",
            (*_WHERE, "direction"),
            registry=registry,
        )
        self._cost = Counter(
            "analect_stored_cost_total",
            "Cost that stored records tell, in their own currency.",
            _WHERE,
            registry=registry,
        )
        registry.register(_Activity(self._active, self._newest_age))

    def batch(self, drafts: Sequence[Draft], result: IngestResult) -> None:
        """A batch is durable. ``drafts`` are as they were stored: pseudonymised."""
        self._batch.observe(len(result.ids))
        self._records.labels("stored").inc(result.accepted)
        self._records.labels("duplicate").inc(result.duplicates)
        self.rejected([rejection.code for rejection in result.rejected])
        if not result.accepted:
            return
        repeats = frozenset(result.repeats)
        stored = [
            draft
            for place, (draft, id_) in enumerate(zip(drafts, result.ids, strict=True))
            if id_ is not None and place not in repeats
        ]
        self._sessions.seen((d.session_id for d in stored), self._clock() / 1e6)
        newest = max((d.occurred_at or 0 for d in stored), default=0)
        with self._lock:
            self._newest = max(self._newest or 0, newest)
        for (project, environment), tally in _tallied(stored).items():
            where = (self._projects.of(project), self._environments.of(environment))
            self._count(where, tally)

    def rejected(self, codes: Sequence[str]) -> None:
        """These items were refused."""
        if not codes:
            return
        self._records.labels("rejected").inc(len(codes))
        for code in codes:
            self._rejected.labels(code).inc()

    def _count(self, where: tuple[str, str], tally: _Tally) -> None:
        self._stored.labels(*where).inc(tally.records)
        if tally.successes:
            self._outcome.labels(*where, "success").inc(tally.successes)
        if tally.errors:
            self._outcome.labels(*where, "error").inc(tally.errors)
        if tally.input_tokens:
            self._tokens.labels(*where, "input").inc(tally.input_tokens)
        if tally.output_tokens:
            self._tokens.labels(*where, "output").inc(tally.output_tokens)
        if tally.cost > 0:
            self._cost.labels(*where).inc(tally.cost)
        if tally.durations:
            response = self._response.labels(*where)
            for duration in tally.durations:
                response.observe(duration / 1000)

    def _active(self) -> int:
        return self._sessions.count(self._clock() / 1e6)

    def _newest_age(self) -> float | None:
        return None if self._newest is None else (self._clock() - self._newest) / 1e6


def _tallied(drafts: Sequence[Draft]) -> dict[tuple[str | None, str | None], _Tally]:
    tallies: dict[tuple[str | None, str | None], _Tally] = defaultdict(_Tally)
    for draft in drafts:
        tally = tallies[draft.project, draft.environment]
        tally.records += 1
        if draft.success is True:
            tally.successes += 1
        elif draft.success is False:
            tally.errors += 1
        if draft.duration_ms is not None:
            tally.durations.append(draft.duration_ms)
        tally.input_tokens += draft.input_tokens or 0
        tally.output_tokens += draft.output_tokens or 0
        if draft.cost is not None and draft.cost > 0:
            tally.cost += draft.cost
    return tallies


@dataclass(frozen=True, slots=True, eq=False)
class _Activity(Collector):
    """What is counted when it is asked for."""

    active: Callable[[], int]
    newest_age: Callable[[], float | None]

    def collect(self) -> Iterator[Metric]:
        """The two gauges; an age only once there is a record."""
        yield GaugeMetricFamily(
            "analect_stored_active_sessions",
            "Distinct sessions of records stored in the last five minutes.",
            value=self.active(),
        )
        age = GaugeMetricFamily(
            "analect_stored_newest_age_seconds",
            "Age of the newest record stored since this process began.",
        )
        seconds = self.newest_age()
        if seconds is not None:
            age.add_metric((), seconds)
        yield age
