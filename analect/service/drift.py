"""A look at a few records now and then: are the indexes what the truth says they are?

Once a minute, behind a place that chance chooses, some hundred records are compared with each
index. What differs is compared again when the processor has come to everything that waited at the
time: only what differs still is drift, the rest was on its way. The samples of an hour together
say how much of the whole differs.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile

import structlog

from analect.index.catalog import Indexes
from analect.model.errors import AnalectError
from analect.model.ids import Clock, Micros, RecordId
from analect.service.upkeep import differences
from analect.telemetry.drift import DriftMetrics

log = structlog.get_logger(__name__)

SAMPLE = 500
"""Records of one look."""
_KEPT = 60
_MOST_INDEXED = 4 * SAMPLE
"""An index with very many records too much is not read further for one look."""
KINDS = ("missing", "stale", "orphaned")

Difference = tuple[str, RecordId]
Walk = Callable[[RecordId | None], Iterator[tuple[RecordId, bytes]]]
"""(id, content hash) of everything behind an id."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is asked of the truth: ``walk`` through it; ``place``: a place by chance; ``records``:
    how many there are, about; ``oldest``: since when the oldest work of a processor waits, None
    when none does; ``given_up``: what stands in quarantine for it.
    """

    walk: Walk
    place: Callable[[], RecordId | None]
    records: Callable[[], int]
    oldest: Callable[[str], Micros | None]
    given_up: Callable[[str], set[RecordId]]


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """What differed behind a place, and when that was."""

    place: RecordId | None
    differing: frozenset[Difference]
    seen_at: Micros


@dataclass(slots=True)
class _Samples:
    """Of one index: those of the last hour, as (records compared, drift by kind)."""

    done: deque[tuple[int, Counter[str]]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    suspicion: _Suspicion | None = None
    drifts: bool = False


class DriftWatch:
    """One look after the other; not for two threads at once."""

    def __init__(self, indexes: Indexes, truth: Truth, metrics: DriftMetrics, clock: Clock) -> None:
        self._indexes = indexes
        self._truth = truth
        self._metrics = metrics
        self._clock = clock
        self._samples: dict[str, _Samples] = {}

    def look(self) -> None:
        """Compare one sample of each index, and tell the metrics. An index that does not answer
        is left out.
        """
        for name, _ in self._indexes.present():
            try:
                with self._indexes.health.watching(name):
                    self._look(name, self._samples.setdefault(name, _Samples()))
            except AnalectError as error:
                log.info("index not compared", index=name, code=error.code)

    def forget(self) -> None:
        """Another process looks now."""
        self._samples.clear()
        self._metrics.forget()

    def _look(self, name: str, samples: _Samples) -> None:
        waiting = samples.suspicion
        if waiting is not None:
            oldest = self._truth.oldest(name)
            if oldest is not None and oldest <= waiting.seen_at:
                return  # it may still be on its way
            compared, again = self._compare(name, waiting.place)
            found = waiting.differing & again
            samples.suspicion = None
        else:
            place = self._truth.place() if self._truth.records() > SAMPLE else None
            compared, found = self._compare(name, place)
            if found:
                samples.suspicion = _Suspicion(place, found, self._clock())
                return
        samples.done.append((compared, Counter(kind for kind, _ in found)))
        self._tell(name, samples)

    def _compare(self, name: str, place: RecordId | None) -> tuple[int, frozenset[Difference]]:
        """How many records of the truth there were, and what differs, but for what a processor
        gave up on: that has a metric of its own.
        """
        ours = list(islice(self._truth.walk(place), SAMPLE))
        end = ours[-1][0] if len(ours) == SAMPLE else None
        behind = self._indexes.named(name).entries(place)
        here = takewhile(lambda one: end is None or one[0] <= end, behind)
        theirs = list(islice(here, _MOST_INDEXED))
        if len(theirs) == _MOST_INDEXED:
            last = theirs[-1][0]
            ours = [one for one in ours if one[0] <= last]
        found = set(differences(iter(ours), iter(theirs), Counter()))
        if found:
            given_up = self._truth.given_up(name)
            found = {one for one in found if one[1] not in given_up}
        return len(ours), frozenset(found)

    def _tell(self, name: str, samples: _Samples) -> None:
        compared = sum(count for count, _ in samples.done)
        drift: Counter[str] = sum((found for _, found in samples.done), Counter())
        # A sample of all there is needs no projection, and is the only one that counts.
        newest, differing = samples.done[-1]
        whole = max(self._truth.records(), newest)
        if newest == whole or not compared:
            compared, drift = newest, differing
        scale = whole / compared if compared else 1.0
        told = {kind: round(drift[kind] * scale) for kind in KINDS}
        self._metrics.found(name, compared, told)
        if any(told.values()) and not samples.drifts:
            log.warning("index drifts", index=name, **told)
        samples.drifts = any(told.values())
