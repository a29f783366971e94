"""Leaving nothing of removed records in a file of the text index.

FTS5 needs a row's own words to take it out of a contentless table. They are read back from the
index (``fts5vocab`` gives each word with its row and place), one pass over the index for some
thousands of removed rows; measured at 12 s a million records of 150 words. Then all segments are
merged into one, in steps that let other writers in between: only a full merge drops the markers
of removed words, and ``secure_delete`` overwrites the pages it frees. At last the log is emptied.
"""

from __future__ import annotations

import sqlite3
from itertools import groupby
from operator import itemgetter

from analect.index.text.database import transaction, translated
from analect.model.errors import EngineUnavailable

ROWS_A_BATCH = 10_000
MERGE_PAGES = 500
"""Pages of output of one merging step."""

_VOCABULARY = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.instances USING fts5vocab(main, words, instance)"
)
_WORDS_OF_DEAD = """
SELECT doc, col, term FROM temp.instances
WHERE doc BETWEEN :first AND :last AND doc IN (SELECT seq FROM dead)
ORDER BY doc, col, "offset"
"""
_BATCH = "SELECT min(seq), max(seq) FROM (SELECT seq FROM dead WHERE seq > ? ORDER BY seq LIMIT ?)"
_TAKE_OUT = "INSERT INTO words (words, rowid, body, labels) VALUES ('delete', ?, ?, ?)"
_MERGE = "INSERT INTO words (words, rank) VALUES ('merge', ?)"


def purge(connection: sqlite3.Connection) -> int:
    """Take out what was removed; returns how many rows that were.

    Raises:
        EngineUnavailable: a reader keeps the log from being emptied; try again.
    """
    with translated():
        connection.execute(_VOCABULARY)
        taken, last = 0, 0
        while (bounds := _next_pass(connection, last)) is not None:
            taken += _take_out(connection, *bounds)
            last = bounds[1]
    if taken:
        merge(connection)
    empty_log(connection)
    return taken


def empty_log(connection: sqlite3.Connection) -> None:
    """Bring the write-ahead log into the file and cut it to nothing.

    Raises:
        EngineUnavailable: a reader keeps it.
    """
    with translated():
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise EngineUnavailable("a reader keeps the text index's log: purge again", retry_after=1.0)


def _next_pass(connection: sqlite3.Connection, last: int) -> tuple[int, int] | None:
    first, final = connection.execute(_BATCH, (last, ROWS_A_BATCH)).fetchone()
    return None if first is None else (first, final)


def _take_out(connection: sqlite3.Connection, first: int, last: int) -> int:
    """Read the words back outside the write lock (nobody changes a removed row), then take out."""
    bounds = {"first": first, "last": last}
    rows: dict[int, dict[str, str]] = {}
    found = connection.execute(_WORDS_OF_DEAD, bounds)
    for (seq, column), group in groupby(found, key=itemgetter(0, 1)):
        rows.setdefault(seq, {})[column] = " ".join(term for _, _, term in group)
    with transaction(connection):
        dead = connection.execute(
            "SELECT seq FROM dead WHERE seq BETWEEN :first AND :last", bounds
        ).fetchall()
        connection.executemany(
            _TAKE_OUT,
            (
                (seq, rows.get(seq, {}).get("body", ""), rows.get(seq, {}).get("labels", ""))
                for (seq,) in dead
            ),
        )
        connection.execute("DELETE FROM dead WHERE seq BETWEEN :first AND :last", bounds)
    return len(dead)


def merge(connection: sqlite3.Connection) -> None:
    """Merge every segment into one; a negative number begins, positive ones go on."""
    with transaction(connection):
        connection.execute(_MERGE, (-MERGE_PAGES,))
    while True:
        before = connection.total_changes
        with transaction(connection):
            connection.execute(_MERGE, (MERGE_PAGES,))
        if connection.total_changes - before < 2:
            return  # SQLite's own sign that there was nothing left to do
