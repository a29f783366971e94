"""The queue behind a client: batches in the background, retries, and no silent loss.

A record that was taken by :meth:`Outgoing.put` ends in one of four ways, each counted: stored
(``accepted`` or ``duplicates``), refused by the server or unsent at the end (both handed to
``on_unaccepted`` and logged without content), or lying in the spool.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from analect.client.options import Counters, Options, Unaccepted
from analect.client.spool import Spool
from analect.client.transport import Delivery
from analect.client.wire import Entry, decode
from analect.model.errors import (
    AnalectError,
    InvalidInput,
    Overloaded,
    TransientError,
)

log = structlog.get_logger(__name__)

_LONGEST_WAIT = 30.0


class Sender(Protocol):
    """What carries a batch to the server."""

    def send(self, entries: Sequence[Entry]) -> Delivery:
        """One attempt."""
        ...

    def renew(self) -> None:
        """Forget the connections of the process that forked."""
        ...


class Outgoing:
    """A bounded queue and the thread that empties it. Thread-safe; a forked child starts empty,
    for what was queued before the fork is sent by the parent.
    """

    def __init__(
        self,
        sender: Sender,
        options: Options,
        *,
        spool: Spool | None = None,
        on_unaccepted: Callable[[Unaccepted], None] | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._sender = sender
        self._options = options
        self._spool = spool
        self._on_unaccepted = on_unaccepted
        self._random_bytes = random_bytes
        self._begin()
        _open.add(self)
        if spool is not None and spool.oldest() is not None:
            with self._changed:
                self._wake_worker()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Entry] = deque()
        self._in_flight: list[Entry] = []
        self._oldest_at = 0.0
        self._hurry = 0
        self._closing = False
        self._abandon = threading.Event()
        self._spooling = False
        self._worker: threading.Thread | None = None
        self._counters = Counters()

    def after_fork(self) -> None:
        """In the child: a queue, a lock and connections of its own."""
        self._begin()
        self._sender.renew()

    @property
    def counters(self) -> Counters:
        """The counts as they stand."""
        with self._changed:
            return replace(self._counters, queued=self._held())

    # -- the program's side ----------------------------------------------------------------

    def put(self, entry: Entry, *, block: bool | None = None) -> None:
        """Queue one record.

        Raises:
            Overloaded: the queue is full and ``when_full`` is ``raise`` (or ``block`` is false).
            InvalidInput: the client is closed.
        """
        blocking = self._options.when_full == "block" if block is None else block
        with self._changed:
            while not self._closing and self._held() >= self._options.max_queued:
                if not blocking:
                    raise Overloaded(
                        f"{self._options.max_queued} records wait to be sent: slow down, or "
                        "look whether the server is away"
                    )
                self._changed.wait()
            if self._closing:
                raise InvalidInput("the client is closed")
            if not self._waiting:
                self._oldest_at = time.monotonic()
            self._waiting.append(entry)
            self._wake_worker()
            if len(self._waiting) == 1 or len(self._waiting) >= self._options.batch_size:
                self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Send now what is queued; whether the server (or the spool) has all of it."""
        with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._held() == 0, timeout)
            finally:
                self._hurry -= 1

    def close(self, timeout: float | None = None) -> int:
        """Send what is queued, then stop; how many records were left unsent (0 is good)."""
        limit = self._options.close_timeout if timeout is None else timeout
        with self._changed:
            if self._closing:
                return 0
            self._closing = True
            self._changed.notify_all()
            worker = self._worker
        if worker is not None:
            worker.join(limit)
            self._abandon.set()
            worker.join(min(limit, 1.0))
        _open.discard(self)
        with self._changed:
            left = [*self._in_flight, *self._waiting]
            self._in_flight, self._waiting = [], deque()
            self._changed.notify_all()
        return self._leave(left)

    def _leave(self, left: list[Entry]) -> int:
        if left and not self._to_spool(left):
            log.error("client closed with records unsent", records=len(left))
            self._count(unsent=len(left))
            for entry in left:
                self._tell(entry, "unsent", "the client was closed before the server took it")
            return len(left)
        return 0

    # -- the thread's side -----------------------------------------------------------------

    def _wake_worker(self) -> None:
        if self._worker is None:
            _flush_at_exit()
            self._worker = threading.Thread(target=self._run, name="analect-client", daemon=True)
            self._worker.start()

    def _run(self) -> None:
        while not self._abandon.is_set():
            batch = self._next_batch()
            try:
                if batch:
                    self._deliver(batch)
                if self._closing and not self._waiting:
                    return
                while not (self._waiting or (self._spooling and batch)) and self._replay():
                    continue
            except Exception as error:  # a defect must cost its batch, not all that follow
                log.error("batch failed", error=type(error).__name__)  # noqa: TRY400  (a traceback may show values)
                self._refuse(list(self._in_flight), AnalectError("the client failed on its batch"))

    def _next_batch(self) -> list[Entry]:
        """Wait for a batch that is full, old or in a hurry; empty when closing, or when it is
        time to look at the spool.
        """
        options = self._options
        with self._changed:
            if not self._waiting and not self._closing:
                # With a spool, wake up now and then to see whether the server is back.
                self._changed.wait(options.max_age if self._spooled() else None)
            while self._waiting and not (self._closing or self._hurry):
                left = self._oldest_at + options.max_age - time.monotonic()
                if len(self._waiting) >= options.batch_size or left <= 0:
                    break
                self._changed.wait(left)
            size = 0
            while self._waiting and len(self._in_flight) < options.batch_size:
                size += len(self._waiting[0].body)
                if self._in_flight and size > options.batch_bytes:
                    break
                self._in_flight.append(self._waiting.popleft())
            self._oldest_at = time.monotonic()
            return list(self._in_flight)

    def _spooled(self) -> bool:
        return self._spool is not None and self._spool.oldest() is not None

    def _deliver(self, batch: list[Entry]) -> None:
        """Until the server answers for every record of it, or it is in the spool, or abandoned
        (then it stays in flight, for ``close`` to account for).
        """
        parts = [batch]
        attempt, began = 0, time.monotonic()
        while parts:
            part = parts[-1]
            try:
                answered = self._sender.send(part)
            except TransientError as error:
                patience = 0.0 if self._spooling else self._options.spool_after
                if time.monotonic() - began >= patience and self._to_spool(part):
                    self._settle(parts.pop())
                    continue
                attempt += 1
                self._count(retries=1)
                if self._abandon.wait(self._delay(attempt, error)):
                    return
            except InvalidInput as error:  # as a whole; the fault may be in one of them
                parts.pop()
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                else:
                    self._refuse(part, error)
            except AnalectError as error:
                self._refuse(parts.pop(), error)
            else:
                self._spooling = False
                attempt, began = 0, time.monotonic()
                self._answer(part, answered)
                self._settle(parts.pop())

    def _delay(self, attempt: int, error: AnalectError) -> float:
        """Seconds: what the server asked for, else doubling with jitter."""
        if isinstance(error, TransientError) and error.retry_after is not None:
            return min(error.retry_after, _LONGEST_WAIT)
        longest = min(0.1 * (1 << min(attempt, 10)), _LONGEST_WAIT)
        share = int.from_bytes(self._random_bytes(2), "big") / 65536
        return longest * (0.5 + share / 2)

    def _replay(self) -> bool:
        """Send the oldest batch of the spool; whether that went well and there may be more."""
        path = self._spool.oldest() if self._spool is not None else None
        if self._spool is None or path is None:
            return False
        entries = self._spool.read(path)
        try:
            answered = self._sender.send(entries) if entries else None
        except InvalidInput as error:
            if len(entries) > 1:  # the fault may be in one of them
                middle = len(entries) // 2
                self._spool.write(entries[:middle])
                self._spool.write(entries[middle:])
            else:
                self._reject(entries, error)
        except AnalectError as error:  # away, or it does not let us in: what lies there is safe
            self._abandon.wait(self._delay(5, error))
            return False
        else:
            self._spooling = False
            if answered is not None:
                self._answer(entries, answered)
        self._spool.remove(path)
        return not self._closing

    def _to_spool(self, entries: list[Entry]) -> bool:
        if self._spool is None:
            return False
        try:
            self._spool.write(entries)
        except AnalectError as error:
            log.error("spool failed", code=error.code, records=len(entries))  # noqa: TRY400  (as above)
            return False
        self._spooling = True
        self._count(spooled=len(entries))
        return True

    # -- accounts --------------------------------------------------------------------------

    def _refuse(self, part: list[Entry], error: AnalectError) -> None:
        self._reject(part, error)
        self._settle(part)

    def _answer(self, part: list[Entry], answered: Delivery) -> None:
        self._count(
            accepted=answered.accepted,
            duplicates=answered.duplicates,
            rejected=len(answered.rejected),
        )
        for refused in answered.rejected:
            self._tell(part[refused.index], refused.code, refused.message, refused.field)

    def _reject(self, part: list[Entry], error: AnalectError) -> None:
        self._count(rejected=len(part))
        for entry in part:
            self._tell(entry, error.code, str(error), error.field)

    def _tell(self, entry: Entry, code: str, message: str, field: str | None = None) -> None:
        log.warning("record not accepted", code=code, field=field)
        if self._on_unaccepted is None:
            return
        try:
            self._on_unaccepted(Unaccepted(decode(entry.body), code, message, field))
        except Exception as error:  # the program's callback must not stop the others
            log.error("callback failed", error=type(error).__name__)  # noqa: TRY400  (as above)

    def _settle(self, part: list[Entry]) -> None:
        done = {id(entry) for entry in part}
        with self._changed:
            self._in_flight = [entry for entry in self._in_flight if id(entry) not in done]
            self._changed.notify_all()

    def _held(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def _count(self, **by: int) -> None:
        with self._changed:
            now = self._counters
            self._counters = replace(
                now, **{name: getattr(now, name) + more for name, more in by.items()}
            )


_open: weakref.WeakSet[Outgoing] = weakref.WeakSet()
_registered_in: list[int] = []


def _close_all() -> None:
    for outgoing in list(_open):
        outgoing.close()


def _flush_at_exit() -> None:
    """Send what is left when the process ends; a child of multiprocessing ends without atexit."""
    if os.getpid() in _registered_in:
        return
    _registered_in[:] = [os.getpid()]
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    import multiprocessing
    from multiprocessing import util

    if multiprocessing.parent_process() is not None:
        util.Finalize(None, _close_all, exitpriority=10)


def _after_fork() -> None:
    for outgoing in list(_open):
        outgoing.after_fork()


os.register_at_fork(after_in_child=_after_fork)
