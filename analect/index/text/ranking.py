"""Asking a file of the text index.

FTS5's BM25 costs about a microsecond a match, half a second for a word in half of a million
records. So matches are taken from the newest back, and only the first :data:`RANKED` that pass the
filters are scored. Their scores are exact: how many records hold a word is counted in the whole
index (20 ns a record). Equality filters and tags are labels inside the same index, so they narrow
the posting lists before anything is read; times and numbers are compared in ``facets``, times
after a look at which rows arrived then. A filter by a number alone reads a row for each match until
it has enough: the slowest question there is, a third of a second for a common word in a million.
"""

from __future__ import annotations

import math
import sqlite3

from analect.index.facets import range_clause, wanted_labels
from analect.index.protocols import IndexHit
from analect.index.text.expression import Every, Node, Term
from analect.model.errors import InvalidQuery
from analect.model.ids import RecordId, id_bytes, id_floor, id_text
from analect.model.query import RecordFilter

RANKED = 5_000
"""How many matches of a question are scored."""

MANY = 50_000
"""From so many records on, words that are nearly everywhere are not scored."""
SAMPLE = 2_000
MOST = 0.6
_NEWEST = "SELECT max(seq) FROM facets"
_HELD = "SELECT count(*) FROM words WHERE words MATCH ? AND rowid > ?"
_RANKED = """
    SELECT words.rowid AS seq, -bm25(words, 1.0, 0.0) AS score
    FROM {source}
    WHERE words MATCH :match {conditions}
    ORDER BY words.rowid DESC LIMIT :ranked
"""
_RANKED_BY_SOME = """
    SELECT words.rowid AS seq, -bm25(words, 1.0, 0.0) AS score
    FROM words, (SELECT min(seq) AS first, max(seq) AS last FROM matches)
    WHERE words MATCH :telling AND words.rowid BETWEEN first AND last
        AND +words.rowid IN (SELECT seq FROM matches)
"""
_MATCHES = """
matches AS MATERIALIZED (
    SELECT words.rowid AS seq FROM {source}
    WHERE words MATCH :match {conditions}
    ORDER BY words.rowid DESC LIMIT :ranked),
"""
_SEARCH = """
WITH {matches} ranked AS MATERIALIZED ({ranked})
SELECT facets.id, score
FROM ranked CROSS JOIN facets ON facets.seq = ranked.seq
WHERE score >= coalesce((
        SELECT score FROM ranked WHERE score < :score
        ORDER BY score DESC LIMIT 1 OFFSET :limit - 1), -1e999)
    AND (score < :score OR score = :score AND id < :id)
ORDER BY score DESC, id DESC LIMIT :limit
"""
"""The threshold is the score of the last hit that can be wanted, so that ``facets`` is read for a
page of hits and those of the same score, not for every match."""
_PLAIN = "words"
_LIVING = "AND words.rowid NOT IN (SELECT seq FROM dead)"
_COMPARED = "words CROSS JOIN facets ON facets.seq = words.rowid"
_ARRIVED = "SELECT min(seq), max(seq) FROM facets WHERE id >= ? AND id < ?"


def search(
    connection: sqlite3.Connection,
    expression: Node,
    where: RecordFilter,
    limit: int,
    after: tuple[float, RecordId] | None,
    *,
    ranked: int,
) -> list[IndexHit]:
    """Best first by (score descending, id descending), strictly behind ``after``.

    Raises:
        InvalidQuery: a filter by an unknown number.
    """
    values: dict[str, object] = {
        "match": _match(expression, where),
        "ranked": ranked,
        "limit": limit,
        "score": math.inf if after is None else after[0],
        "id": b"" if after is None else id_bytes(after[1]),
    }
    conditions = _conditions(connection, where, values)
    if conditions is None:
        return []
    telling = _telling(connection, expression)
    values["telling"] = _match(telling, where)
    some = telling is not expression
    sql = _SEARCH.format(
        matches=_MATCHES if some else "", ranked=_RANKED_BY_SOME if some else _RANKED
    ).format(source=_COMPARED if conditions else _PLAIN, conditions=conditions or _LIVING)
    try:
        found = connection.execute(sql, values).fetchall()
    except sqlite3.OperationalError as error:
        if "fts5" in str(error):
            raise InvalidQuery("q cannot be read: try fewer signs", field="q") from error
        raise
    return [IndexHit(id_text(raw), score) for raw, score in found]


def _telling(connection: sqlite3.Connection, expression: Node) -> Node:
    """``expression`` without the words that nearly all records hold, when others are left.

    They still must match, but BM25 gives a word in more than half of the records nothing, and
    counting those records is what it costs: 20 ms of a million.
    """
    if not isinstance(expression, Every):
        return expression
    (newest,) = connection.execute(_NEWEST).fetchone()
    if newest is None or newest < MANY:
        return expression
    parts = tuple(part for part in expression.parts if not _everywhere(connection, part, newest))
    return Every(parts) if 0 < len(parts) < len(expression.parts) else expression


def _everywhere(connection: sqlite3.Connection, part: Node, newest: int) -> bool:
    """Whether a word is in most of the newest records."""
    if not isinstance(part, Term) or part.prefix or len(part.words) > 1:
        return False
    match = f"body : ({part.fts5()})"
    (held,) = connection.execute(_HELD, (match, newest - SAMPLE)).fetchone()
    return bool(held > SAMPLE * MOST)


def _match(expression: Node, where: RecordFilter) -> str:
    match = f"body : ({expression.fts5()})"
    labels = " AND ".join(f'"{label}"' for label in wanted_labels(where))
    return f"{match} AND labels : ({labels})" if labels else match


def _conditions(
    connection: sqlite3.Connection, where: RecordFilter, values: dict[str, object]
) -> str | None:
    """Times and numbers as SQL; ``None`` when no record lies in the times asked for."""
    clause, parameters = range_clause(where)
    if not clause:
        return ""
    for number, parameter in enumerate(parameters):
        clause = clause.replace("?", f":value{number}", 1)
        values[f"value{number}"] = parameter
    if where.since is None and where.until is None:
        return f"AND {clause}"
    # Records mostly arrive in order of time, so a stretch of time is a short stretch of rows.
    since = id_bytes(id_floor(where.since)) if where.since is not None else b""
    until = id_bytes(id_floor(where.until + 999)) if where.until is not None else b"\xff" * 17
    values["first"], values["last"] = connection.execute(_ARRIVED, (since, until)).fetchone()
    if values["first"] is None:
        return None
    return f"AND words.rowid BETWEEN :first AND :last AND {clause}"
