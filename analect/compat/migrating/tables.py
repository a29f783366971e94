"""Where older data is read from: tables of rows, whether they are SQLite's or a JSON object's."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from analect.compat.plain import mapping, plain
from analect.model.errors import InvalidInput, StoreUnavailable

_SQLITE = b"SQLite format 3\0"
_CHUNK = 1 << 20
_INTERNAL = "sqlite_"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing of an older program: ``number`` counts from 1 within its table, ``key`` names it
    there, the same however often it is read.
    """

    number: int
    key: str
    fields: Mapping[str, Any]


class OlderTables(Protocol):
    """Tables by name, each readable as often as wanted and the same every time."""

    @property
    def digest(self) -> bytes:
        """What names this content (32 bytes)."""
        ...

    def counts(self) -> dict[str, int]:
        """The tables, and how many rows each has."""
        ...

    def rows(self, table: str) -> Iterator[Row]:
        """All rows of a table, in an order that stays."""
        ...


@contextmanager
def open_tables(source: Path | Mapping[str, Any]) -> Iterator[OlderTables]:
    """A SQLite file, a file with a JSON object, or that object itself.

    Raises:
        InvalidInput: there is no such file, or it is neither.
    """
    if not isinstance(source, Path):
        yield JsonTables(source, msgspec.json.encode(plain(source), order="deterministic"))
        return
    try:
        with source.open("rb") as stream:
            start = stream.read(len(_SQLITE))
    except OSError as error:
        raise InvalidInput(f"cannot read {source}: {error.strerror}", field="file") from error
    if start == _SQLITE:
        with _sqlite(source) as tables:
            yield tables
        return
    raw = source.read_bytes()
    try:
        state = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(
            f"{source} is neither an SQLite database nor JSON (UTF-8)", field="file"
        ) from error
    if not isinstance(state, dict):
        raise InvalidInput(
            f"{source} must hold a JSON object of collections (users, analyses, ...)", field="file"
        )
    yield JsonTables(state, raw)


class SqliteTables:
    """The tables of a database file as they stand at one moment; the file is not changed."""

    def __init__(self, connection: sqlite3.Connection, digest: bytes) -> None:
        self._connection = connection
        self.digest = digest

    def counts(self) -> dict[str, int]:
        """Every table that is not SQLite's own."""
        named = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = sorted(row[0] for row in named if not row[0].startswith(_INTERNAL))
        return {
            table: self._connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0]
            for table in tables
        }

    def rows(self, table: str) -> Iterator[Row]:
        """By their primary key, or by their place where they have none."""
        columns = self._connection.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
        ranked = sorted((column["pk"], column["name"]) for column in columns if column["pk"])
        names = [_quoted(name) for _, name in ranked] or ["rowid"]
        by = ", ".join(names)
        cursor = self._connection.execute(f"SELECT {by}, * FROM {_quoted(table)} ORDER BY {by}")
        for number, row in enumerate(cursor, start=1):
            key = "\x1f".join(str(part) for part in tuple(row)[: len(names)])
            titles = [column[0] for column in cursor.description][len(names) :]
            fields = dict(zip(titles, tuple(row)[len(names) :], strict=True))
            yield Row(number, key, fields)


class JsonTables:
    """The collections of an exported state: objects in a list, or by their key; what is in a list
    below a key (the messages of a conversation) is a row each, and has that key as ``_of``.
    """

    def __init__(self, state: Mapping[str, Any], raw: bytes) -> None:
        self._state = state
        self.digest = hashlib.sha256(raw).digest()

    def counts(self) -> dict[str, int]:
        """Everything that is a list or an object of objects."""
        return {
            name: sum(1 for _ in _objects(part))
            for name, part in self._state.items()
            if isinstance(part, (list, Mapping)) and any(True for _ in _objects(part))
        }

    def rows(self, table: str) -> Iterator[Row]:
        """In the order of the state. What has no key is named by its content."""
        seen: dict[str, int] = {}
        for number, (key, fields) in enumerate(_objects(self._state[table]), start=1):
            named = key
            if named is None:
                content = msgspec.json.encode(plain(fields), order="deterministic")
                same = hashlib.sha256(content).hexdigest()
                seen[same] = seen.get(same, 0) + 1
                named = f"{same}#{seen[same]}"
            yield Row(number, named, fields)


def _objects(part: Any) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if isinstance(value, list):
                for _, fields in _objects(value):
                    yield None, {"_of": str(key), **fields}
            elif (told := mapping(value)) is not None:
                yield str(key), {"_key": str(key), **told}
    elif isinstance(part, list):
        for value in part:
            if (told := mapping(value)) is not None:
                yield None, told


@contextmanager
def _sqlite(path: Path) -> Iterator[SqliteTables]:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from error
    try:
        connection.row_factory = sqlite3.Row
        connection.text_factory = _text
        connection.execute("BEGIN")  # one moment for all tables, whoever writes meanwhile
        yield SqliteTables(connection, digest.digest())
    except sqlite3.DatabaseError as error:
        raise InvalidInput(f"{path} cannot be read: {error}", field="file") from error
    finally:
        connection.close()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
