"""The daily job: let records age, tidy up, refresh summaries, check files, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import structlog
from sqlalchemy import Engine

from analect.lifecycle.places.folder import FolderPlace
from analect.lifecycle.places.hashing import hash_of
from analect.lifecycle.places.place import Place
from analect.lifecycle.retention.policy import Policy
from analect.lifecycle.retention.run import Progress, Report, Retention
from analect.lifecycle.retention.summaries import Summaries
from analect.lifecycle.tiers.tables import TierTables
from analect.model.errors import AnalectError, Corrupt
from analect.model.ids import DAY, Clock, Micros, RandomBytes, new_id
from analect.store.reports import Reports
from analect.store.tier_files import TierFile, TierFiles

log = structlog.get_logger(__name__)

CHECKED_BYTES = 2 * 1024**3
"""Bytes of files read and hashed a day, in turn; the size of every file is checked every day."""
_EXAMPLES = 20


@dataclass(slots=True)
class Archived:
    """What the job did. ``damaged`` names files that are missing or are not what was written (at
    most 20); ``outcome`` is ``complete`` or ``damaged``.
    """

    id: str
    started_at: Micros
    retention: Report
    finished_at: Micros = 0
    outcome: str = "complete"
    expired_documents: int = 0
    temporary_files: int = 0
    months_refreshed: int = 0
    aggregates_dropped: int = 0
    files: int = 0
    files_hashed: int = 0
    damaged: list[str] = field(default_factory=list)


class Archiver:
    """Runs the job; :class:`Retention` sees that it is the only one."""

    def __init__(
        self,
        engine: Engine,
        place: Place,
        retention: Retention,
        *,
        expire_documents: Callable[[], int],
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._place = place
        self._retention = retention
        self._expire_documents = expire_documents
        self._clock = clock
        self._random_bytes = random_bytes
        self._files = TierFiles(engine)
        self._reports = Reports(engine)
        self._summaries = Summaries(engine, TierTables(self._files, place))

    def run(
        self, policies: Sequence[Policy], progress: Progress = lambda _done, _total: None
    ) -> Archived:
        """Do it all.

        Raises:
            StoreUnavailable: a retention run is under way, or database or place do not answer.
        """
        now = self._clock()
        done = Archived(
            id=new_id(now, self._random_bytes),
            started_at=now,
            retention=self._aged(policies, progress, now),
        )
        done.expired_documents = self._expire_documents()
        if isinstance(self._place, FolderPlace):
            done.temporary_files = self._place.tidy((now - DAY) / 1_000_000)
        self._check(done, now)
        if not done.damaged:
            done.months_refreshed = self._summaries.catch_up(now)
        done.aggregates_dropped = self._summaries.drop_old(policies, now)
        done.outcome = "damaged" if done.damaged else "complete"
        done.finished_at = self._clock()
        times = (done.started_at, done.finished_at)
        self._reports.keep("archive", done.outcome, asdict(done), times)
        return done

    def _aged(self, policies: Sequence[Policy], progress: Progress, now: Micros) -> Report:
        """What retention did; a damaged file ends it, and the check that follows names it."""
        try:
            return self._retention.run(policies, progress)
        except Corrupt as error:
            log.warning("retention met a damaged file", problem=str(error))
            stopped = new_id(now, self._random_bytes)
            return Report(id=stopped, started_at=now, finished_at=now, outcome="stopped")

    def _check(self, done: Archived, now: Micros) -> None:
        """Every file is as large as it was written, and of some the bytes are read."""
        files = self._files.standing()
        done.files = len(files)
        left = CHECKED_BYTES
        start = now // DAY % max(len(files), 1)
        for number, file in enumerate([*files[start:], *files[:start]]):
            hashing = number == 0 or file.bytes <= left
            left -= file.bytes if hashing else 0
            done.files_hashed += hashing
            if not self._whole(file, hashing=hashing) and len(done.damaged) < _EXAMPLES:
                done.damaged.append(file.name)
                log.error("a file of the tiers is damaged", file=file.name)

    def _whole(self, file: TierFile, *, hashing: bool) -> bool:
        if self._place.size(file.name) != file.bytes:
            return False
        try:
            return not hashing or hash_of(self._place, file.name) == (file.bytes, file.sha256)
        except AnalectError as error:
            log.warning("a file of the tiers cannot be read", code=error.code)
            return False
