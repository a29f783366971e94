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
from analect.index.text.expression import Node
from analect.model.errors import InvalidQuery
from analect.model.ids import RecordId, id_bytes, id_floor, id_text
from analect.model.query import RecordFilter

RANKED = 5_000
"""How many matches of a question are scored."""

_SEARCH = """
WITH ranked AS MATERIALIZED (
    SELECT words.rowid AS seq, -bm25(words, 1.0, 0.0) AS score
    FROM {source}
    WHERE words MATCH :match {conditions}
    ORDER BY words.rowid DESC LIMIT :ranked)
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
    source = _COMPARED if conditions else _PLAIN
    sql = _SEARCH.format(source=source, conditions=conditions or _LIVING)
    try:
        found = connection.execute(sql, values).fetchall()
    except sqlite3.OperationalError as error:
        if "fts5" in str(error):
            raise InvalidQuery("q cannot be read: try fewer signs", field="q") from error
        raise
    return [IndexHit(id_text(raw), score) for raw, score in found]


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
