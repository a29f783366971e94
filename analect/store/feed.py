"""Everything once, in the order of commits.

The journal (``commits``) is read by (transaction id, seq). On Postgres only transactions older
than every one still running are shown: whatever commits later has a higher transaction id, so a
reader that goes on from its cursor meets it. A long write transaction anywhere in that Postgres
holds the feed back until it ends. SQLite has one writer at a time, and its seq is the order.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from analect.model.ids import RecordId, id_text
from analect.model.query import Page
from analect.store.cursor import Cursors, digest
from analect.store.engine import is_postgres, read_transaction
from analect.store.reads import RecordReads, check_limit
from analect.store.rows import StoredRecord

POLL_SECONDS = 0.25
"""How often a waiting reader looks for commits of other processes."""

_QUERY = digest("changes")
_PLACE = struct.Struct(">qqI")
_ALL = 2**32 - 1
_COMMITS_AT_ONCE = 64
_SETTLED = "txid < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"


Beyond = Callable[[Sequence[RecordId]], dict[RecordId, StoredRecord]]
"""Finds records by id."""


@dataclass(frozen=True, slots=True)
class StoredChange:
    """One item of the feed. ``operation``: ``put`` (``stored`` is the record) or ``delete``;
    ``cursor`` resumes after it.
    """

    cursor: str
    operation: str
    record_id: RecordId
    stored: StoredRecord | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Behind the first ``taken`` ids of one commit."""

    txid: int = -1
    seq: int = -1
    taken: int = _ALL

    def pack(self) -> bytes:
        return _PLACE.pack(self.txid, self.seq, self.taken)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One id of the journal, and the place behind it."""

    operation: str
    record_id: RecordId
    place: _Place


class Feed:
    """The change feed. Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        cursors: Cursors,
        reads: RecordReads,
        beyond: Beyond = lambda _ids: {},
    ) -> None:
        """``beyond`` finds records that have left the tables."""
        self._beyond = beyond
        self._engine = engine
        self._cursors = cursors
        self._reads = reads
        self._order = f"{_SETTLED} AND" if is_postgres(engine) else ""
        self._changed = threading.Condition()
        self._commits_seen = 0

    def changes(self, after: str | None, limit: int) -> Page[StoredChange]:
        """At most ``limit`` changes behind ``after``; ``None`` is the beginning.

        ``next`` is always there and says where to go on, now or when there is more. A record that
        was put and deleted since shows its deletion only.

        Raises:
            InvalidQuery: limit or cursor is wrong.
        """
        check_limit(limit)
        place = self._place(after)
        items: list[StoredChange] = []
        with read_transaction(self._engine) as connection:
            while len(items) < limit:
                entries = list(self._entries(connection, place, limit - len(items)))
                if not entries:
                    break
                place = entries[-1].place
                items.extend(self._with_records(connection, entries))
        return Page(tuple(items), self._cursors.make(_QUERY, place.pack()))

    def head(self) -> str:
        """The cursor behind everything there is now."""
        with read_transaction(self._engine) as connection:
            return self._cursors.make(_QUERY, self._last(connection).pack())

    def notify(self) -> None:
        """This process committed something: whoever waits should look."""
        with self._changed:
            self._commits_seen += 1
            self._changed.notify_all()

    def wait_for_change(self, timeout: float, after: str | None = None) -> bool:
        """Wait at most ``timeout`` seconds until there is a change behind ``after`` (``None``:
        behind what was there at the call); whether there is one.

        Raises:
            InvalidQuery: the cursor is wrong.
        """
        deadline = time.monotonic() + timeout
        place = None if after is None else self._place(after)
        while True:
            seen = self._commits_seen
            with read_transaction(self._engine) as connection:
                if place is None:
                    place = self._last(connection)
                elif next(self._entries(connection, place, 1), None) is not None:
                    return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            with self._changed:
                if self._commits_seen == seen:
                    self._changed.wait(min(remaining, POLL_SECONDS))

    def _place(self, after: str | None) -> _Place:
        if after is None:
            return _Place()
        return _Place(*_PLACE.unpack(self._cursors.read(_QUERY, after, field="after")))

    def _last(self, connection: Connection) -> _Place:
        statement = (
            f"SELECT txid, seq FROM commits WHERE {self._order} txid >= 0"
            " ORDER BY txid DESC, seq DESC LIMIT 1"
        )
        row = connection.execute(text(statement)).first()
        return _Place() if row is None else _Place(row[0], row[1])

    def _entries(self, connection: Connection, place: _Place, limit: int) -> Iterator[_Entry]:
        """At most ``limit`` ids behind ``place`` (all of them, or the end, when fewer)."""
        statement = text(
            f"SELECT txid, seq, operation, ids FROM commits WHERE {self._order}"
            " (txid, seq) >= (:txid, :seq) ORDER BY txid, seq LIMIT :limit"
        )
        left = limit
        while True:
            rows = connection.execute(
                statement,
                {"txid": place.txid, "seq": place.seq, "limit": min(left, _COMMITS_AT_ONCE) + 1},
            ).fetchall()
            for txid, seq, operation, ids in rows:
                same = (txid, seq) == (place.txid, place.seq)
                taken = place.taken if same else 0
                for record_id, reached in _split(bytes(ids), taken, left):
                    left -= 1
                    place = _Place(txid, seq, reached)
                    yield _Entry(operation, record_id, place)
                    if left == 0:
                        return
                place = _Place(txid, seq)
            if len(rows) <= 1:
                return

    def _with_records(
        self, connection: Connection, entries: Sequence[_Entry]
    ) -> Iterator[StoredChange]:
        wanted = [entry.record_id for entry in entries if entry.operation == "put"]
        found = self._reads.get_within(connection, wanted)
        if missing := [one for one in wanted if one not in found]:
            found |= self._beyond(missing)
        for entry in entries:
            stored = found.get(entry.record_id) if entry.operation == "put" else None
            if stored is None and entry.operation == "put":
                continue
            cursor = self._cursors.make(_QUERY, entry.place.pack())
            yield StoredChange(cursor, entry.operation, entry.record_id, stored)


def _split(ids: bytes, taken: int, limit: int) -> Iterator[tuple[RecordId, int]]:
    """The next ids of a commit, each with how many are taken then (all of them at the last)."""
    count = len(ids) // 16
    for number in range(taken, min(count, taken + limit)):
        reached = number + 1 if number + 1 < count else _ALL
        yield id_text(ids[16 * number : 16 * number + 16]), reached
