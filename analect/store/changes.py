"""Which rows were added, replaced or removed since a moment, in the order of commits.

New records are in the journal already. What else changes is noted by triggers in the table
``row_changes``: table and primary key, nothing of the row. They are made with the first backup and
taken away with the last place of backups, so a store without backups pays nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import msgspec
from sqlalchemy import Connection, Engine, select

from analect.model.ids import Micros
from analect.store.engine import is_postgres, read_transaction, write_transaction
from analect.store.raw import RawTable, Row, has_table, key_from_text, raw_table
from analect.store.tables import meta
from analect.store.upsert import insert_into

TABLE = "row_changes"
ALL = ("insert", "update", "delete")
TRACKED: Mapping[str, Sequence[str]] = {
    "records": ("update", "delete"),  # added ones are in the journal
    "commits": ("delete",),  # added ones are those behind a number
    "content_hashes": ALL,
    "documents": ALL,
    "document_versions": ALL,
    "annotations": ALL,
    "data_keys": ALL,
    "vault": ALL,
    "access_log": ALL,
    "tier_files": ALL,  # each with a locator, which may be long
    "lifecycle_reports": ALL,
}
"""Tables whose changes are told row by row. The others are small, and told whole."""

JOURNALLED = frozenset({"records", "commits"})
"""What is added to these is in the journal, and the log has the rest."""
HEADS = "backup_heads"
LOG = "row_changes"
"""Rows of ``meta``: where each place of backups stands, and the id of the log of changes."""
STALE: Micros = 45 * 86_400 * 1_000_000
"""A place that got no backup for so long is not waited for: its next one is full."""

_STANDING = """
SELECT m.value, to_regclass(%s) IS NOT NULL, ARRAY(
    SELECT t.tgname::text FROM pg_trigger t WHERE t.tgname LIKE 'analect\\_note\\_%%'
    AND t.tgparentid = 0 AND t.tgrelid::regclass::text = ANY(%s))
FROM meta m WHERE m.name = %s
"""
"""The id of the log, whether its table is there, and which triggers: asked of Postgres at once."""
_MONTH = "month"
_LOCK = 0x616E616C0004


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A moment: the last numbers that were given by then on SQLite, the oldest transaction that
    was still running on Postgres. Later ones are greater.
    """

    changes: int = 0
    commits: int = 0
    outbox: int = 0
    xmin: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """The last backup in a place, and how far its log of changes goes behind it: ``number`` of
    segments, the last of which is ``log``.
    """

    log_id: str
    backup: str
    position: Position
    at: Micros
    number: int = 0
    log: str | None = None
    log_position: Position | None = None

    @property
    def last(self) -> str:
        """The last link of all."""
        return self.log or self.backup

    @property
    def last_position(self) -> Position:
        """Where that one stands."""
        return self.log_position or self.position

    @property
    def order(self) -> tuple[Position, str, int]:
        """What is greater of a later one: what changed since the lesser one's may be forgotten."""
        return (self.position, self.backup, self.number)


@dataclass(frozen=True, slots=True)
class Noted:
    """Tables of which the log of changes has rows, and whether it has whole ``months`` of records."""

    tables: frozenset[str]
    months: bool

    def has(self, table: str) -> bool:
        """Whether rows of a tracked table may have been added, replaced or removed."""
        return table in self.tables or table in JOURNALLED


class Changes:
    """The log of changed rows, and who still needs it. Safe beside other processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, log_id: str) -> str:
        """Note changes from now on, if nobody does yet; the id of the log that stands.

        A log of which a trigger is missing (a migration made a table anew) is begun again, under
        ``log_id``: nothing can be added to backups that were made with the one before.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with write_transaction(self._engine) as connection:
            if is_postgres(connection):
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if (stands := standing(connection)) is not None:
                return stands
            clear(connection)
            for statement in _statements(connection):
                connection.exec_driver_sql(statement)
            _set(connection, LOG, log_id)
            return log_id

    def end(self) -> None:
        """Note nothing any more."""
        with write_transaction(self._engine) as connection:
            clear(connection)

    def standing(self) -> str | None:
        """The id of the log, if it is whole."""
        with read_transaction(self._engine) as connection:
            return standing(connection)

    def head(self, address: str) -> Head | None:
        """Where a place stands, if the log that it stands in is whole."""
        with read_transaction(self._engine) as connection:
            return head_of(connection, address)

    def heads(self) -> dict[str, Head]:
        """Where each place stands, by its address."""
        with read_transaction(self._engine) as connection:
            return _heads(connection)

    def advance(self, address: str, head: Head) -> bool:
        """A place has more now; what no place needs any more is forgotten. Whether it was so: one
        that began later may have ended before, and then nothing goes on from this one.
        """
        with write_transaction(self._engine) as connection:
            heads = {
                name: one
                for name, one in _heads(connection, held=True).items()
                if head.at - one.at < STALE and one.log_id == head.log_id
            }
            if address in heads and heads[address].order >= head.order:
                return False
            heads[address] = head
            _save(connection, heads)
            _prune(connection, [one.position for one in heads.values()])
            return True

    def forget(self, address: str) -> None:
        """A place is gone; with the last one the log ends."""
        with write_transaction(self._engine) as connection:
            heads = _heads(connection, held=True)
            heads.pop(address, None)
            _save(connection, heads)
            if not heads:
                clear(connection)


def head_of(connection: Connection, address: str) -> Head | None:
    """Where a place stands, if the log that it stands in is whole."""
    head = _heads(connection).get(address)
    return head if head is not None and standing(connection) == head.log_id else None


def stands_at(connection: Connection, address: str, link: str, since: Position) -> bool:
    """Whether a place still goes on from a link, and so all that changed ``since`` then is noted."""
    head = _heads(connection).get(address)
    if head is None:
        return False
    return (link, since) in {(head.backup, head.position), (head.last, head.last_position)}


def standing(connection: Connection) -> str | None:
    """The id of the log of changes, if it is whole."""
    if is_postgres(connection):
        asked = connection.exec_driver_sql(_STANDING, (TABLE, list(TRACKED), LOG)).first()
        log, table, there = asked or (None, None, ())
    else:
        log = connection.execute(select(meta.c.value).where(meta.c.name == LOG)).scalar()
        table = has_table(connection, TABLE)
        there = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'analect_note_%'"
        ).scalars()
    wanted = {_trigger(name, event) for name, events in TRACKED.items() for event in events}
    return str(log) if log is not None and table and wanted <= {*there} else None


def position(connection: Connection) -> Position:
    """The moment that the connection's transaction sees."""
    if is_postgres(connection):
        oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        return Position(xmin=int(connection.exec_driver_sql(oldest).scalar_one()))
    last = [
        connection.exec_driver_sql(f"SELECT coalesce(max(seq), 0) FROM {name}").scalar_one()
        for name in (TABLE, "commits", "outbox")
    ]
    return Position(*map(int, last))


def note_month(connection: Connection, month: str) -> None:
    """Anything may have become of the records of a month: its partition was dropped, or put back.
    To be called in the transaction that does it.
    """
    if has_table(connection, TABLE):
        connection.exec_driver_sql(
            f"INSERT INTO {TABLE} (txid, table_name, key) VALUES"
            " (pg_current_xact_id()::text::bigint, 'records', %s)",
            (json.dumps({_MONTH: month}),),
        )


def changed_months(connection: Connection, since: Position) -> list[str]:
    """Months of which :func:`note_month` was told behind ``since``."""
    behind = _behind(connection, since.changes, since)
    question = (
        f"SELECT DISTINCT key FROM {TABLE} WHERE table_name = 'records' AND {behind}"
        f" AND substr(key, 1, 1) = '{{'"
    )
    found = connection.exec_driver_sql(question).scalars()
    return sorted(json.loads(text)[_MONTH] for text in found)


def noted(connection: Connection, since: Position) -> Noted:
    """Of which tables the log has anything behind ``since``."""
    behind = _behind(connection, since.changes, since)
    question = f"SELECT DISTINCT table_name, substr(key, 1, 1) FROM {TABLE} WHERE {behind}"
    found = [tuple(row) for row in connection.exec_driver_sql(question)]
    return Noted(
        frozenset(name for name, mark in found if mark == "["),
        any(mark == "{" for _, mark in found),
    )


def changed_keys(
    connection: Connection, table: RawTable, since: Position, *, is_noted: bool = True
) -> Iterator[Row]:
    """Primary keys of the rows of a tracked table that were added, replaced or removed behind
    ``since``, each once; what became of a row, the table says. On Postgres some that changed a
    little before are among them. ``is_noted``: whether the log has any of them.
    """
    keys = _noted_keys(connection, table, since) if is_noted else iter(())
    if table.name not in JOURNALLED:
        yield from keys
        return
    known = {*keys}
    yield from known
    fresh = _added_records if table.name == "records" else _added_commits
    for key in fresh(connection, since):
        if key not in known:
            yield key


def _noted_keys(connection: Connection, table: RawTable, since: Position) -> Iterator[Row]:
    behind = _behind(connection, since.changes, since)
    question = f"SELECT DISTINCT key FROM {TABLE} WHERE table_name = '{table.name}' AND {behind}"
    question += " AND substr(key, 1, 1) = '['"
    found = connection.exec_driver_sql(question).scalars()
    return (key_from_text(table, text) for text in found)


def added_outbox(connection: Connection, since: Position) -> Iterator[Row]:
    """Primary keys of the entries of the outbox behind ``since``, on SQLite."""
    found = connection.exec_driver_sql(
        f"SELECT seq FROM outbox WHERE seq > {since.outbox} ORDER BY seq"
    )
    return (tuple(row) for row in found)


def _added_records(connection: Connection, since: Position) -> Iterator[Row]:
    behind = _behind(connection, since.commits, since)
    question = f"SELECT ids FROM commits WHERE operation = 'put' AND {behind} ORDER BY seq"
    for raw in connection.exec_driver_sql(question).scalars():
        whole = bytes(raw)
        yield from ((whole[start : start + 16],) for start in range(0, len(whole), 16))


def _added_commits(connection: Connection, since: Position) -> Iterator[Row]:
    behind = _behind(connection, since.commits, since)
    question = f"SELECT seq FROM commits WHERE {behind} ORDER BY seq"
    return (tuple(row) for row in connection.exec_driver_sql(question))


def _behind(connection: Connection, seq: int, since: Position) -> str:
    return f"txid >= {since.xmin}" if is_postgres(connection) else f"seq > {seq}"


def _heads(connection: Connection, *, held: bool = False) -> dict[str, Head]:
    wanted = select(meta.c.value).where(meta.c.name == HEADS)
    found = connection.execute(wanted.with_for_update() if held else wanted).scalar()
    return msgspec.json.decode(found, type=dict[str, Head]) if found else {}


def _save(connection: Connection, heads: Mapping[str, Head]) -> None:
    _set(connection, HEADS, msgspec.json.encode({k: asdict(v) for k, v in heads.items()}).decode())


def _set(connection: Connection, name: str, value: str) -> None:
    row = insert_into(connection, meta).values(name=name, value=value)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def _prune(connection: Connection, needed: Sequence[Position]) -> None:
    if not has_table(connection, TABLE):
        return
    if is_postgres(connection):
        before = min(one.xmin for one in needed)
        connection.exec_driver_sql(f"DELETE FROM {TABLE} WHERE txid < {before}")
    else:
        before = min(one.changes for one in needed)
        connection.exec_driver_sql(f"DELETE FROM {TABLE} WHERE seq <= {before}")


# -- triggers ------------------------------------------------------------------------------


def _trigger(table: str, event: str) -> str:
    return f"analect_note_{table}_{event}"


def _statements(connection: Connection) -> Iterator[str]:
    if is_postgres(connection):
        yield (
            f"CREATE TABLE {TABLE} (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " txid bigint NOT NULL, table_name text NOT NULL, key text NOT NULL)"
        )
        yield f"CREATE INDEX {TABLE}_order ON {TABLE} (txid)"
        make = _of_postgres
    else:
        yield (
            f"CREATE TABLE {TABLE} (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
            " table_name TEXT NOT NULL, key TEXT NOT NULL)"
        )
        make = _of_sqlite
    for name, events in TRACKED.items():
        table = raw_table(connection, name)
        if table is not None:
            for event in events:
                yield from make(table, event)


def _of_sqlite(table: RawTable, event: str) -> Iterator[str]:
    row = "OLD" if event == "delete" else "NEW"
    parts = [
        f"lower(hex({row}.{table.columns[place]}))"
        if table.types[place].startswith("blob")
        else f"{row}.{table.columns[place]}"
        for place in table.key
    ]
    yield (
        f"CREATE TRIGGER {_trigger(table.name, event)} AFTER {event.upper()} ON {table.name} BEGIN"
        f" INSERT INTO {TABLE} (table_name, key) VALUES ('{table.name}', json_array({', '.join(parts)}));"
        " END"
    )


def _of_postgres(table: RawTable, event: str) -> Iterator[str]:
    parts = [
        f"encode({table.columns[place]}, 'hex')"
        if table.types[place] == "bytea"
        else table.columns[place]
        for place in table.key
    ]
    if event == TRACKED[table.name][0]:
        yield (
            f"CREATE FUNCTION analect_note_{table.name}() RETURNS trigger LANGUAGE plpgsql AS $$"
            f" BEGIN INSERT INTO {TABLE} (txid, table_name, key)"
            f" SELECT pg_current_xact_id()::text::bigint, '{table.name}',"
            f" json_build_array({', '.join(parts)})::text FROM changed; RETURN NULL; END $$"
        )
    side = "OLD" if event == "delete" else "NEW"
    yield (
        f"CREATE TRIGGER {_trigger(table.name, event)} AFTER {event.upper()} ON {table.name}"
        f" REFERENCING {side} TABLE AS changed FOR EACH STATEMENT"
        f" EXECUTE FUNCTION analect_note_{table.name}()"
    )


def clear(connection: Connection) -> None:
    """Take the log away, and what is known of places."""
    for name, events in TRACKED.items():
        if raw_table(connection, name) is None:
            continue
        for event in events:
            on = f" ON {name}" if is_postgres(connection) else ""
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {_trigger(name, event)}{on}")
        if is_postgres(connection):
            connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS analect_note_{name}()")
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {TABLE}")
    for name in (LOG, HEADS):
        connection.execute(meta.delete().where(meta.c.name == name))
