"""An index is rebuilt beside itself and then switched, over threads and processes.

Generation 7 of the index ``graph`` is every file called ``graph.7.*`` of a folder. The file
``graph.current`` names the generation that answers (the first, when there is none) and is replaced
atomically. While one is being built, ``graph.building`` names it and is locked by the process that
builds; whoever writes meanwhile, in any process, writes to both. A lock that nobody holds means
that the builder died. What it left is removed, unless ``graph.7.reached`` says how far it came:
then writes go on reaching it, for a day, and the next builder goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, get_ident
from typing import Generic, Protocol, TypeVar

from analect.index.progress import Progress
from analect.index.sqlite_file import translated
from analect.model.errors import ConfigurationError, Corrupt, EngineUnavailable
from analect.model.ids import RecordId, is_record_id


class IndexFile(Protocol):
    """The files of one generation, opened."""

    def check(self) -> None:
        """Raise ``Corrupt`` or ``ConfigurationError`` if it cannot be used."""
        ...

    def close(self) -> None:
        """Release them."""
        ...


F = TypeVar("F", bound=IndexFile)
T = TypeVar("T")

_LOCK_SECONDS = 1.0
"""How long to wait while another process looks whether a lock is held."""
ABANDONED_SECONDS = 24 * 3600.0
"""For so long somebody may go on with what a dead builder left."""


@dataclass(slots=True)
class _Held(Generic[F]):
    """An open generation and how many are using it."""

    file: F
    users: int = 0
    retired: bool = False


class Generations(Generic[F]):
    """``open_file(stem, create)`` opens the files ``<stem>.*``; without ``create`` a missing one is
    ``Corrupt``.
    """

    def __init__(self, folder: Path, name: str, open_file: Callable[[Path, bool], F]) -> None:
        self._folder = folder
        self._name = name
        self._open = open_file
        self._pointer = folder / f"{name}.current"
        self._marker = folder / f"{name}.building"
        self._lock = Lock()
        self._closed = False
        self._held: dict[int, _Held[F]] = {}
        self._seen: tuple[tuple[int, int], int] | None = None

    @contextmanager
    def present(self) -> Iterator[F]:
        """The generation that answers now; it stays open while it is used."""
        with self._leased(self._current()) as file:
            yield file

    def write(self, action: Callable[[F, bool], T]) -> T:
        """``action(file, building)`` on the present generation, and on the one being built.

        The action must be idempotent: when a switch comes in between, the new one gets it too.

        Returns:
            What the action returned for the present generation (for the other one, when the
            present one is damaged or of another model).
        """
        done: dict[int, T] = {}
        unusable: set[int] = set()
        while True:
            # In this order: a build that starts in between reads the truth later than this.
            building = self._building()
            current = self._current()
            todo = {current, building} - {None} - done.keys() - unusable
            if not todo:
                return done[current] if current in done else done[max(done)]
            for number in sorted(n for n in todo if n is not None):
                try:
                    with self._leased(number) as file:
                        done[number] = action(file, number != current)
                except (Corrupt, ConfigurationError):
                    # That is what the new one is being built for, and one that nobody builds any
                    # more is in nobody's way.
                    if building is None or (number != current and not self._given_up(number)):
                        raise
                    unusable.add(number)

    @contextmanager
    def rebuilding(self, *, resume: bool = False) -> Iterator[tuple[F, Progress]]:
        """A fresh generation, or with ``resume`` the one that a dead builder left, and the place
        that was reached in it; leaving without an error switches to it, with one drops it.

        Raises:
            EngineUnavailable: one is being built already.
        """
        with translated(self._name):
            self._folder.mkdir(parents=True, exist_ok=True)
            marker = self._lock_marker()
        fresh = None
        try:
            with translated(self._name):
                fresh = self._taken_up(marker) if resume else None
                if fresh is None:
                    os.ftruncate(marker, 0)
                    fresh = self._made(marker)
                held, progress = self._held[fresh], self._progress(fresh)
            yield held.file, progress
            with translated(self._name):
                self._switch(fresh)
                self._reached_file(fresh).unlink(missing_ok=True)
        except BaseException:
            if fresh is not None and not self._points_to(fresh):
                self._drop(fresh)
            raise
        finally:
            self._marker.unlink(missing_ok=True)
            os.close(marker)
        self._retire_others(fresh)
        for number in self._numbers():
            if number != fresh:
                self._drop(number)

    def _given_up(self, number: int) -> bool:
        """Drop what a dead builder left; false when its builder lives."""
        with translated(self._name):
            descriptor = os.open(self._marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if not _locked(descriptor, fcntl.LOCK_EX):
                    return False
                if _is_at(descriptor, self._marker):
                    self._marker.unlink()
            finally:
                os.close(descriptor)
        if not self._points_to(number):  # nor has its builder just finished
            self._drop(number)
        return True

    def _made(self, marker: int) -> int:
        """A generation that was never used before: somebody may still hold open what an earlier
        build dropped.
        """
        number = max(self._newest() + 1, time.time_ns() // 1_000_000)
        with self._lock:
            self._held[number] = _Held(self._open(self._stem(number), True))
        os.pwrite(marker, str(number).encode(), 0)
        return number

    def _taken_up(self, marker: int) -> int | None:
        """The generation that a dead builder left, opened, if it can be gone on with."""
        number = _number_in(marker)
        if number is None or self._points_to(number) or not self._can_go_on(number):
            return None
        try:
            with self._lock:
                if number not in self._held:
                    self._held[number] = _Held(self._open(self._stem(number), False))
                self._held[number].file.check()
        except (Corrupt, ConfigurationError):  # it was to be of another model, or broke
            self._drop(number)
            return None
        return number

    def _reached_file(self, number: int) -> Path:
        return self._stem(number).with_name(f"{self._name}.{number}.reached")

    def _progress(self, number: int) -> Progress:
        """How far a generation is, in a file beside it."""
        path = self._reached_file(number)

        def note(record_id: RecordId | None) -> None:
            with translated(self._name):
                draft = path.with_name(f"{path.name}.new")
                draft.write_text(record_id or "")
                draft.replace(path)

        reached = path.read_text("ascii", "replace") if path.exists() else ""
        return Progress(note, RecordId(reached) if is_record_id(reached) else None)

    def _can_go_on(self, number: int) -> bool:
        try:
            written = self._reached_file(number).stat().st_mtime
        except FileNotFoundError:
            return False
        return time.time() - written < ABANDONED_SECONDS

    def close(self) -> None:
        """Close every generation, those in use when they are given back."""
        self._closed = True
        self._retire_others(None)

    def _stem(self, number: int) -> Path:
        return self._folder / f"{self._name}.{number}"

    def _numbers(self) -> set[int]:
        parts = (path.name.split(".") for path in self._folder.glob(f"{self._name}.*.*"))
        return {int(part[1]) for part in parts if part[1].isdigit()}

    def _newest(self) -> int:
        return max(self._numbers(), default=0)

    def _current(self) -> int:
        """The number in the pointer; read again only when the file is another."""
        with translated(self._name):
            try:
                state = self._pointer.stat()
            except FileNotFoundError:
                return 1
            mark = (state.st_ino, state.st_mtime_ns)
            if self._seen is not None and self._seen[0] == mark:
                return self._seen[1]
            text = self._pointer.read_text("ascii", "replace")
        if not text.isdecimal():
            raise Corrupt(f"{self._pointer.name} is damaged: run `analect rebuild {self._name}`")
        number = int(text)
        self._retire_others(number, self._building())
        self._seen = (mark, number)
        return number

    def _points_to(self, number: int) -> bool:
        try:
            return self._pointer.read_text("ascii", "replace") == str(number)
        except FileNotFoundError:
            return False

    def _switch(self, number: int, *, first: bool = False) -> None:
        """Write the pointer in one step; ``first``: unless there is one already."""
        temporary = self._folder / f"{self._name}.switching-{os.getpid()}-{get_ident()}"
        with temporary.open("w") as file:
            file.write(str(number))
            file.flush()
            os.fsync(file.fileno())
        if first:
            with suppress(FileExistsError):
                os.link(temporary, self._pointer)
            temporary.unlink()
        else:
            temporary.replace(self._pointer)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _lock_marker(self) -> int:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            descriptor = os.open(self._marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _locked(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, self._marker):
                return descriptor
            os.close(descriptor)
            if time.monotonic() > deadline:
                raise EngineUnavailable(f"the {self._name} index is being rebuilt already")
            time.sleep(0.01)

    def _building(self) -> int | None:
        """The number of the generation that somebody is building, or may go on building."""
        with translated(self._name):
            try:
                descriptor = os.open(self._marker, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                number = _number_in(descriptor)
                if not _locked(descriptor, fcntl.LOCK_SH):
                    return number
                if number is not None and self._can_go_on(number):
                    return number
                if _is_at(descriptor, self._marker):
                    self._marker.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
            if number is not None and not self._points_to(number):
                self._drop(number)
            return None

    @contextmanager
    def _leased(self, number: int) -> Iterator[F]:
        with self._lock:
            if self._closed:
                raise EngineUnavailable(f"the {self._name} index is closed")
            held = self._held.get(number)
            if held is None:
                held = self._held[number] = _Held(self._opened(number))
            held.users += 1
        try:
            yield held.file
        finally:
            with self._lock:
                held.users -= 1
                finished = held.retired and not held.users
            if finished:
                held.file.close()

    def _opened(self, number: int) -> F:
        """The first generation comes into being by being used; the others were built."""
        if number == 1 and not self._pointer.exists():
            with translated(self._name):
                self._folder.mkdir(parents=True, exist_ok=True)
            file = self._open(self._stem(1), True)
            with translated(self._name):
                self._switch(1, first=True)
            return file
        try:
            return self._open(self._stem(number), False)
        except Corrupt as error:
            if self._points_to(number):
                raise
            raise EngineUnavailable(
                f"the {self._name} index was replaced just now: ask again"
            ) from error

    def _retire_others(self, *keep: int | None) -> None:
        with self._lock:
            retired = [self._held.pop(n) for n in list(self._held) if n not in keep]
            for held in retired:
                held.retired = True
            finished = [held for held in retired if not held.users]
        for held in finished:
            held.file.close()

    def _drop(self, number: int) -> None:
        with self._lock:
            held = self._held.pop(number, None)
            if held is not None:
                held.retired = True
            idle = held is not None and not held.users
        if held is not None and idle:
            held.file.close()
        for path in self._folder.glob(f"{self._name}.{number}.*"):
            path.unlink(missing_ok=True)


class Fixed(Generic[F]):
    """One generation by itself, where :class:`Generations` would choose: the one being filled."""

    def __init__(self, file: F) -> None:
        self._file = file

    @contextmanager
    def present(self) -> Iterator[F]:
        """The one there is."""
        yield self._file

    def write(self, action: Callable[[F, bool], T]) -> T:
        """On the one there is."""
        return action(self._file, False)


def _number_in(descriptor: int) -> int | None:
    """What a marker names."""
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace")
    return int(text) if text.isdecimal() else None


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
