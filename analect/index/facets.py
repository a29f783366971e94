"""Filtering inside an embedded SQLite index: where a :class:`RecordFilter` meets SQL.

An index file creates :data:`SCHEMA` and keeps a row a record. ``seq`` is the index's own number of
the record, rising in order of arrival. Whatever is compared for equality (kind, thread, tags,
dimensions, ...) becomes a *label*: 16 hex digits of a hash of field and value. The labels of a
record are words of a tiny full-text table, so a filter is an intersection of posting lists, and a
record costs a few bytes a label instead of an index entry in each of twenty B-trees. Times and
numbers are columns.

    connection.execute("SELECT seq FROM facets WHERE " + sql, parameters)   # of where_clause()

Rows are put with :data:`INSERT` and removed with :data:`DELETE`; triggers keep the label table in
step. A replaced record is removed first (by ``id``) and inserted with a new ``seq``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

from analect.index.protocols import Facets
from analect.model.errors import InvalidQuery
from analect.model.ids import id_bytes, id_floor
from analect.model.query import RecordFilter
from analect.model.record import NUMBER_FIELDS

BASE_COLUMNS = (
    "seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, occurred_at INTEGER NOT NULL, "
    "content_hash BLOB NOT NULL, " + ", ".join(f"{name} REAL" for name in NUMBER_FIELDS)
)

_LABEL_TABLE = """
CREATE VIRTUAL TABLE IF NOT EXISTS facet_labels USING fts5(
    labels, content='facets', content_rowid='seq', detail=none, columnsize=0, tokenize='ascii')
"""
_PUT_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS facets_put AFTER INSERT ON facets BEGIN
    INSERT INTO facet_labels (rowid, labels) VALUES (new.seq, new.labels);
END
"""
_DROP_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS facets_drop AFTER DELETE ON facets BEGIN
    INSERT INTO facet_labels (facet_labels, rowid, labels)
    VALUES ('delete', old.seq, old.labels);
END
"""
SCHEMA = (
    f"CREATE TABLE IF NOT EXISTS facets ({BASE_COLUMNS}, labels TEXT NOT NULL)",
    _LABEL_TABLE,
    _PUT_TRIGGER,
    _DROP_TRIGGER,
)

INSERT_BASE = (
    "INSERT INTO facets (seq, id, occurred_at, content_hash, "
    + ", ".join(NUMBER_FIELDS)
    + ") VALUES (?, ?, ?, ?"
    + ", ?" * len(NUMBER_FIELDS)
    + ")"
)
INSERT = INSERT_BASE.replace(") VALUES", ", labels) VALUES").removesuffix(")") + ", ?)"
DELETE = "DELETE FROM facets WHERE id = ?"


def base_row(seq: int, facets: Facets) -> tuple[object, ...]:
    """The parameters of :data:`INSERT_BASE`; with ``(labels(facets),)`` behind, of :data:`INSERT`."""
    numbers = facets.numbers
    return (
        seq,
        id_bytes(facets.id),
        facets.occurred_at,
        facets.content_hash,
        *(numbers.get(name) for name in NUMBER_FIELDS),
    )


@lru_cache(maxsize=16_384)
def label(group: str, name: str, value: str) -> str:
    """16 hex digits that stand for ``name = value`` of a group (field, tag, dimension)."""
    message = f"{group}\0{name}\0{value}".encode("utf-8", "surrogatepass")
    return blake2b(message, digest_size=8).hexdigest()


def labels(facets: Facets) -> str:
    """Every label of a record, separated by blanks."""
    found = [label("field", name, value) for name, value in facets.texts.items()]
    found.extend(label("tag", "", tag) for tag in facets.tags)
    found.extend(label("dimension", name, value) for name, value in facets.dimensions.items())
    if facets.success is not None:
        found.append(_success(facets.success))
    return " ".join(found)


def wanted_labels(where: RecordFilter) -> list[str]:
    """The labels a record must carry, all of them, to pass ``where``."""
    wanted = [label("field", name, value) for name, value in where.equals.items()]
    wanted.extend(label("tag", "", tag) for tag in where.tags)
    wanted.extend(label("dimension", name, value) for name, value in where.dimensions.items())
    if where.success is not None:
        wanted.append(_success(where.success))
    return wanted


def range_clause(where: RecordFilter) -> tuple[str, list[object]]:
    """What labels do not say, as SQL over the columns of ``facets``: times and numbers.

    The condition is empty when there is none. Times compare ids first, which are indexed.

    Raises:
        InvalidQuery: a number's name is not one of ``NUMBER_FIELDS``.
    """
    conditions: list[tuple[str, object]] = list(_times(where))
    for name, bounds in where.numbers.items():
        if name not in NUMBER_FIELDS:
            raise InvalidQuery(f"{name} is not a number that can be filtered by", field=name)
        conditions.append((f"facets.{name} > ?", float("-inf")))
        if bounds.minimum is not None:
            conditions.append((f"facets.{name} >= ?", bounds.minimum))
        if bounds.maximum is not None:
            conditions.append((f"facets.{name} <= ?", bounds.maximum))
    return " AND ".join(sql for sql, _ in conditions), [value for _, value in conditions]


def where_clause(where: RecordFilter) -> tuple[str, list[object]]:
    """``where`` as an SQL condition on ``facets`` (with :data:`SCHEMA`) and its parameters.

    Never empty: no filter at all is ``1``.

    Raises:
        InvalidQuery: a number's name is not one of ``NUMBER_FIELDS``.
    """
    sql, parameters = range_clause(where)
    wanted = wanted_labels(where)
    if wanted:
        found = "facets.seq IN (SELECT rowid FROM facet_labels WHERE facet_labels MATCH ?)"
        sql = f"{sql} AND {found}" if sql else found
        parameters.append(" AND ".join(f'"{each}"' for each in wanted))
    return sql or "1", parameters


def purge(connection: sqlite3.Connection) -> None:
    """Write the label table anew, so that it holds no label of a removed record.

    The caller runs it in a transaction of its own, with ``secure_delete`` on, and checkpoints.
    """
    connection.execute("INSERT INTO facet_labels (facet_labels) VALUES ('rebuild')")


def _times(where: RecordFilter) -> Iterator[tuple[str, object]]:
    if where.since is not None:
        yield "facets.id >= ?", id_bytes(id_floor(where.since))
        yield "facets.occurred_at >= ?", where.since
    if where.until is not None:
        yield "facets.id < ?", id_bytes(id_floor(where.until + 999))
        yield "facets.occurred_at < ?", where.until


def _success(value: bool) -> str:
    return label("field", "success", "true" if value else "false")
