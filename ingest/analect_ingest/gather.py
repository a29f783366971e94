"""Small requests that arrive together are taken apart, submitted and answered together.

A record a request costs a thread's wake-up, a scan for personal data, a place in the writer's
queue and a wake-up back, each of them. Whatever arrived while the worker was busy shares them.
Nobody waits for company.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import structlog

from analect.model.errors import AnalectError, TransientError
from analect.model.record import Draft, IngestResult, Rejection
from analect.store.company import Company
from analect_ingest.decode import Decoded

log = structlog.get_logger(__name__)

MOST_TOGETHER = 64
"""Requests of one submission."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a body is to be stored. ``omit``: without payloads; ``dedupe``: by content."""

    omit: bool = False
    dedupe: bool = False


AS_IT_COMES = Options()


@dataclass(slots=True)
class _Part:
    """One request. ``decode`` takes its body apart."""

    decode: Callable[[], Decoded]
    options: Options
    answer: asyncio.Future[tuple[Decoded, IngestResult]]
    decoded: Decoded = field(default_factory=Decoded)


Submit = Callable[[list[Draft], Options], Future[IngestResult]]
Outcome = tuple[Decoded, IngestResult] | BaseException
NOTHING = IngestResult(0, 0, (), ())


class Gatherer:
    """``submit`` is called in the executor's threads, one call at a time."""

    def __init__(
        self,
        submit: Submit,
        executor: Executor,
        company: Company,
        *,
        together: int = MOST_TOGETHER,
    ) -> None:
        """``company`` hears of every request until it is submitted; ``together``: requests of one
        submission at most.
        """
        self._submit = submit
        self._company = company
        self._executor = executor
        self._together = together
        self._lock = threading.Lock()
        self._waiting: list[_Part] = []
        self._busy = False

    async def store(
        self, decode: Callable[[], Decoded], options: Options
    ) -> tuple[Decoded, IngestResult]:
        """Take one body apart and store it.

        Raises:
            AnalectError: what ``decode`` or the store raises.
        """
        answer: asyncio.Future[tuple[Decoded, IngestResult]] = (
            asyncio.get_running_loop().create_future()
        )
        self._company.expect()
        with self._lock:
            self._waiting.append(_Part(decode, options, answer))
            idle = not self._busy
            self._busy = True
        if idle:
            self._executor.submit(self._drain)
        return await answer

    def _drain(self) -> None:
        """Until nothing waits. In a worker thread."""
        while True:
            with self._lock:
                parts = self._waiting[: self._together]
                del self._waiting[: self._together]
                self._busy = bool(parts)
            if not parts:
                return
            groups: dict[Options, list[_Part]] = {}
            for part in parts:
                if _take_apart(part):
                    groups.setdefault(part.options, []).append(part)
                else:
                    self._company.arrived()
            for options, group in groups.items():
                self._store(options, group)
                self._company.arrived(len(group))

    def _store(self, options: Options, group: list[_Part]) -> None:
        drafts = [draft for part in group for draft in part.decoded.drafts]
        try:
            stored = self._submit(drafts, options)
        except Exception as error:  # reaches the callers
            self._failed(options, group, error)
            return
        stored.add_done_callback(lambda done: self._share(options, group, done))

    def _share(self, options: Options, group: list[_Part], done: Future[IngestResult]) -> None:
        """Give each part what became of its own drafts. In the writer's thread."""
        error = done.exception()
        if error is not None:
            self._failed(options, group, error)
            return
        result = done.result()
        settled: list[tuple[_Part, Outcome]] = []
        begin = 0
        for part in group:
            end = begin + len(part.decoded.drafts)
            own = result if len(group) == 1 else _cut(result, begin, end)
            settled.append((part, (part.decoded, own)))
            begin = end
        _settle(settled)

    def _failed(self, options: Options, group: list[_Part], error: BaseException) -> None:
        """A store that is away fails everyone; any other error is of one part, so each goes
        alone. Nothing of the group was stored.
        """
        if len(group) == 1 or isinstance(error, TransientError):
            _settle([(part, error) for part in group])
            return
        for part in group:
            try:
                self._executor.submit(self._store, options, [part])
            except RuntimeError:  # it was shut down meanwhile
                _settle([(part, error)])


def _take_apart(part: _Part) -> bool:
    """Whether there is anything to submit; if not, the part is settled."""
    try:
        part.decoded = part.decode()
    except Exception as error:  # reaches the caller
        _settle([(part, error)])
        return False
    if not part.decoded.drafts:
        _settle([(part, (part.decoded, NOTHING))])
        return False
    return True


def _cut(result: IngestResult, begin: int, end: int) -> IngestResult:
    """The result of the items from ``begin`` to before ``end``."""
    ids = result.ids[begin:end]
    repeats = tuple(place - begin for place in result.repeats if begin <= place < end)
    rejected = tuple(
        Rejection(one.index - begin, one.id, one.code, one.message, one.field)
        for one in result.rejected
        if begin <= one.index < end
    )
    taken = sum(id_ is not None for id_ in ids)
    return IngestResult(taken - len(repeats), len(repeats), rejected, ids, repeats)


def _settle(settled: list[tuple[_Part, Outcome]]) -> None:
    """Wake the loop once for all of them."""
    loop = settled[0][0].answer.get_loop()
    try:
        loop.call_soon_threadsafe(_answer, settled)
    except RuntimeError:  # the loop has ended, and with it the callers
        log.warning("requests ended before they were answered", requests=len(settled))


def _answer(settled: list[tuple[_Part, Outcome]]) -> None:
    for part, outcome in settled:
        if part.answer.done():
            # The caller was answered already, at its deadline; an error now is for the log.
            if isinstance(outcome, BaseException):
                code = outcome.code if isinstance(outcome, AnalectError) else "internal"
                log.warning("a batch failed after its caller was answered", code=code)
        elif isinstance(outcome, BaseException):
            part.answer.set_exception(outcome)
        else:
            part.answer.set_result(outcome)
