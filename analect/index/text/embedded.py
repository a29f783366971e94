"""The text index that needs no server: SQLite FTS5 in a folder of its own."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import structlog

from analect.index.progress import Filled
from analect.index.protocols import IndexHit, ItemFailure, TextDocument
from analect.index.text.database import connect, create, transaction, translated
from analect.index.text.expression import parse
from analect.index.text.file import WRITER_CACHE_KIB, IndexFile
from analect.index.text.folder import Folder
from analect.index.text.highlight import snippets as highlighted
from analect.index.text.purging import empty_log, merge, purge
from analect.index.text.ranking import RANKED, search
from analect.index.text.rows import Purpose, forget, prepare, put, remove
from analect.model.errors import ConfigurationError, Corrupt, EngineUnavailable
from analect.model.ids import RecordId, id_bytes, id_text
from analect.model.query import RecordFilter

log = structlog.get_logger(__name__)

MAX_TEXT = 100_000_000
"""Characters of one record's text; more is refused, item by item."""
_ENTRIES = 2_000
_MISSING = "the text index is missing: make it again with `analect rebuild text`"

Change = Callable[[sqlite3.Connection, Purpose], None]


class EmbeddedTextIndex(Filled):
    """Implements :class:`~analect.index.protocols.TextIndex`.

    Safe to use from many threads, and from many processes on one folder: readers never wait,
    writers take turns, and a rebuild by one process is seen by all.

    Ranking is BM25 over the whole index. Of a question that more than ``ranked`` records match,
    only the ``ranked`` that arrived last are scored and can be found: common words lead to recent
    records, rare ones reach all the way back, and filters count before the limit, so a narrower
    question reaches further. Words that nearly every record holds must match but add no score.

    Args:
        folder: where the files are; made when absent.
        ranked: how many matches of one question are scored.
        filling: name of a fresh file, for the index that :meth:`rebuilding` gives.
    """

    def __init__(self, folder: Path, *, ranked: int = RANKED, filling: str | None = None) -> None:
        self._folder = Folder(folder)
        self._ranked = ranked
        self._filling = filling
        self._lock = Lock()
        self._name = ""
        self._file: IndexFile | None = None
        self._fresh_name = ""
        self._fresh: IndexFile | None = None

    def upsert(self, documents: Sequence[TextDocument]) -> list[ItemFailure]:
        """Add or replace. What is there already in the same words costs nothing.

        Raises:
            Corrupt, ConfigurationError: the index must be rebuilt.
            EngineUnavailable: it cannot be written now.
        """
        rows, refused = [], []
        for document in documents:
            if len(document.text) > MAX_TEXT:
                refused.append(ItemFailure(document.facets.id, "too_large", transient=False))
            else:
                rows.append(prepare(document))
        if rows:
            self._write(lambda connection, purpose: put(connection, rows, purpose))
        return refused

    def delete(self, ids: Sequence[RecordId]) -> None:
        """Hide records at once; :meth:`purge` takes their words out of the file."""
        raw = [id_bytes(id_) for id_ in ids]

        def change(connection: sqlite3.Connection, purpose: Purpose) -> None:
            (forget if purpose is Purpose.MEANWHILE else remove)(connection, raw)

        if raw:
            self._write(change)

    def purge(self) -> None:
        """Leave no byte of deleted records in any file. Searches and writes go on meanwhile.

        Raises:
            EngineUnavailable: a reader kept the log; purge again.
        """
        self._folder.give_up()  # what nobody fills any more is not worth purging
        connection = connect(self._usable().path, cache_kib=WRITER_CACHE_KIB)
        try:
            with translated():
                taken = purge(connection)
        finally:
            connection.close()
        log.info("text index purged", rows=taken)

    def search(
        self, query: str, where: RecordFilter, limit: int, after: tuple[float, RecordId] | None
    ) -> list[IndexHit]:
        """Best first by (score descending, id descending); see the class for what is scored.

        Raises:
            InvalidQuery: nothing to look for, or a filter by an unknown number.
        """
        expression = parse(query)
        with self._reading() as connection:
            return search(connection, expression, where, limit, after, ranked=self._ranked)

    def highlight(self, query: str, text: str, snippets: int = 3) -> tuple[str, ...]:
        """HTML-escaped snippets of ``text`` with matches in ``<em>``."""
        return highlighted(parse(query), text, snippets)

    def count(self) -> int:
        """How many records it holds."""
        with self._reading() as connection:
            (number,) = connection.execute("SELECT count(*) FROM facets").fetchone()
            return int(number)

    def entries(self, after: RecordId | None = None) -> Iterator[tuple[RecordId, bytes]]:
        """(id, content hash) in id order, some thousands at a time."""
        last = b"" if after is None else id_bytes(after)
        while True:
            with self._reading() as connection:
                page = connection.execute(
                    "SELECT id, content_hash FROM facets WHERE id > ? ORDER BY id LIMIT ?",
                    (last, _ENTRIES),
                ).fetchall()
            if not page:
                return
            yield from ((id_text(raw), content_hash) for raw, content_hash in page)
            last = page[-1][0]

    def check(self) -> None:
        """Look through the whole file (half a second a gigabyte when it is in memory).

        Raises:
            Corrupt: it is damaged or missing.
            ConfigurationError: another release made it.
        """
        file = self._usable()
        if not file.path.exists():  # an open file outlives its name, but nobody will find it again
            raise Corrupt(_MISSING)
        with self._reading() as connection:
            (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if finding != "ok":
                raise Corrupt(
                    "the text index is damaged: make it again with `analect rebuild text`"
                )
            connection.execute("SELECT count(*) FROM words WHERE words MATCH 'a'").fetchone()

    @contextmanager
    def rebuilding(self) -> Iterator[EmbeddedTextIndex]:
        """A fresh index to fill. The old one answers and is written until the block ends, and what
        is written to it by any process goes to the fresh one too, where it counts as newer than
        what the block puts in. An unusable old one is no obstacle. What a rebuild that was killed
        had put in is in it already.

        Raises:
            Conflict: another rebuild is under way.
        """
        with self._folder.rebuilding() as (announce, left):
            name = self._gone_on_with(left)
            if name is None:
                name = self._folder.fresh_name()
                create(self._folder.path / name)
            fresh = EmbeddedTextIndex(self._folder.path, ranked=self._ranked, filling=name)
            fresh._progress = self._folder.progress(name)
            try:
                announce(name)
                with self._held():  # writers that began before the announcement have ended
                    pass
                yield fresh
                self._take_over(fresh, name)
            except BaseException:
                fresh.close()
                self._folder.drop(name)
                raise
            fresh.close()
        self._folder.drop_others(name)
        self._folder.done(name)
        log.info("text index rebuilt", records=self.count())

    def close(self) -> None:
        """Release files and connections."""
        with self._lock:
            files, self._file, self._fresh = (self._file, self._fresh), None, None
        for file in files:
            if file is not None:
                file.close()

    def _gone_on_with(self, left: str | None) -> str | None:
        """A file that was left, if this release can fill it."""
        if left is None:
            return None
        try:
            connect(self._folder.path / left, cache_kib=64).close()
        except (Corrupt, ConfigurationError):
            self._folder.drop(left)
            return None
        return left

    def _take_over(self, fresh: EmbeddedTextIndex, name: str) -> None:
        """Put a filled file in the place of the old one: prepared at leisure, switched at once."""
        with fresh._usable().writing() as connection:
            with translated():
                purge(connection)
            merge(connection)
            with self._held():
                with transaction(connection):
                    connection.execute("DELETE FROM forgotten")
                empty_log(connection)
                _sync(self._folder.path / name)
                self._folder.switch(name)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep every writer of the file in use waiting; nothing to keep when it is unusable."""
        try:
            connection = connect(self._usable().path, cache_kib=64)
        except (Corrupt, ConfigurationError):
            yield
            return
        try:
            with transaction(connection):
                yield
        finally:
            connection.close()

    def _write(self, change: Change) -> None:
        if self._filling is not None:
            with self._usable().writing() as connection, transaction(connection):
                change(connection, Purpose.COPY)
            return
        while True:
            try:
                if self._written(self._usable(), change):
                    return
            except (Corrupt, ConfigurationError):
                if self._written_to_fresh(change):
                    return  # it will be in use soon; the old one is beyond help
                raise

    def _written(self, file: IndexFile, change: Change) -> bool:
        """Whether the file was still the one in use when its lock was had."""
        with file.writing() as connection, transaction(connection):
            if self._folder.current() != file.path.name:
                return False
            self._written_to_fresh(change)
            change(connection, Purpose.NORMAL)
        return True

    def _written_to_fresh(self, change: Change) -> bool:
        """Write to the file that is being filled, if there is one."""
        name = self._folder.announced()
        if name is None:
            return False
        with self._lock:
            stale = self._fresh if self._fresh_name != name else None
            if self._fresh is None or stale is not None:
                self._fresh, self._fresh_name = IndexFile(self._folder.path / name), name
            fresh = self._fresh
        if stale is not None:
            stale.close()
        try:
            with fresh.writing() as connection, transaction(connection):
                change(connection, Purpose.MEANWHILE)
        except (Corrupt, ConfigurationError, EngineUnavailable):
            # What nobody fills any more is in nobody's way: another release may have begun it.
            if not self._folder.give_up():
                raise
            return False
        return True

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        file, connection = self._reader()
        try:
            with translated():
                yield connection
        finally:
            file.give_back(connection)

    def _reader(self) -> tuple[IndexFile, sqlite3.Connection]:
        """A connection, on the new file if the old one was replaced just now."""
        while True:
            file = self._usable()
            try:
                return file, file.take()
            except EngineUnavailable:
                if self._filling or self._folder.current() == file.path.name:
                    raise

    def _usable(self) -> IndexFile:
        """The file in use now: another process may have replaced it.

        Raises:
            Corrupt: it is missing.
        """
        name = self._filling or self._folder.current() or self._first()
        with self._lock:
            if self._file is not None and self._name == name:
                return self._file
            stale, path = self._file, self._folder.path / name
            if not path.exists():
                raise Corrupt(_MISSING)
            self._file, self._name = IndexFile(path, durable=self._filling is None), name
            file = self._file
        if stale is not None:
            stale.close()
        return file

    def _first(self) -> str:
        """Make the first file; one process does."""
        self._folder.make()
        with self._folder.lock():
            name = self._folder.current()
            if name is None:
                name = self._folder.fresh_name()
                create(self._folder.path / name)
                self._folder.switch(name)
            return name


def _sync(path: Path) -> None:
    """Bring a file that was filled without waiting for the disk onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        raise EngineUnavailable("the text index cannot be written to the disk") from error
    finally:
        os.close(handle)
