"""One warm file: written in row groups sorted by id, read back and compared before it counts.

Layout below the place: ``warm/kind=K/month=YYYY-MM/part-….parquet``, so that Spark, Trino and
DuckDB find kind and month in the path. The payload is not compressed again: sealed bytes do not
shrink.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyarrow import parquet

from analect.lifecycle.places.hashing import hash_of
from analect.lifecycle.places.place import Place
from analect.lifecycle.tiers.columns import SCHEMA
from analect.lifecycle.tiers.locator import Locator, locate
from analect.model.errors import Corrupt
from analect.model.ids import RecordId
from analect.store.tier_files import kind_of

ROW_GROUP = 4096
"""Rows. To read one record, the row group around it is read."""
MOST_ROWS = 131_072
MOST_BYTES = 256 * 1024 * 1024
"""Of a file, which is held in memory until it was read back: it ends after either."""
WRITTEN_AT_ONCE = 4 * 1024 * 1024
"""Bytes."""
WARM = "warm"

FILE_SCHEMA = SCHEMA.remove(SCHEMA.get_field_index("kind"))
"""The kind is in the path, where readers of partitioned folders look for it, and only there."""

_ENCODED = [name for name in FILE_SCHEMA.names if name not in {"id", "payload", "content_hash"}]
_COMPRESSION = {name: "zstd" for name in FILE_SCHEMA.names if name != "payload"} | {
    "payload": "none"
}


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written, and what it must read back as: of a warm one the row groups
    themselves, of a cold one digests of its frames.
    """

    name: str
    rows: int
    size: int
    sha256: str
    first_id: RecordId
    last_id: RecordId
    locator: Locator
    groups: tuple[Any, ...] = ()
    digests: tuple[bytes, ...] = ()


class Sink(io.RawIOBase):
    """Passes on what is written, counts and hashes it."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._hash = hashlib.sha256()
        self.written = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes so far."""
        return self.written

    def write(self, data: Any) -> int:
        """All of it."""
        self._stream.write(data)
        self._hash.update(data)
        self.written += len(data)
        return len(data)

    def sha256(self) -> str:
        """Of everything so far."""
        return self._hash.hexdigest()


def write_part(place: Place, name: str, tables: Iterable[Any]) -> Written:
    """Write tables of :data:`SCHEMA`, whose ids rise, as an object of ``place``.

    Raises:
        StoreUnavailable: the place cannot be written.
    """
    groups = []
    with place.create(name) as stream:
        sink = Sink(stream)
        # Every call of Python waits for its lock, which those have who get the next rows ready.
        buffered = pa.BufferedOutputStream(pa.PythonFile(sink, "w"), WRITTEN_AT_ONCE)
        with buffered, _writer(buffered) as writer:
            for group in full_groups(tables):
                groups.append(group.drop_columns("kind"))
                writer.write_table(groups[-1], row_group_size=ROW_GROUP)
    return Written(
        name=name,
        rows=sum(map(len, groups)),
        size=sink.written,
        sha256=sink.sha256(),
        first_id=RecordId(groups[0].column("id")[0].as_py()),
        last_id=RecordId(groups[-1].column("id")[-1].as_py()),
        locator=locate(groups),
        groups=tuple(groups),
    )


def _writer(sink: Sink) -> Any:
    return parquet.ParquetWriter(
        sink,
        FILE_SCHEMA,
        compression=_COMPRESSION,
        compression_level={name: 3 for name in _COMPRESSION if name != "payload"},
        use_dictionary=_ENCODED,
        write_page_checksum=True,
        bloom_filter_options={"thread_id": {"ndv": ROW_GROUP, "fpp": 0.05}},
        sorting_columns=[parquet.SortingColumn(0)],
        store_schema=False,
    )


def verify_part(place: Place, written: Written) -> None:
    """Read a file back: its bytes, its count, every row.

    Raises:
        Corrupt: it is not what was written.
    """
    if hash_of(place, written.name) != (written.size, written.sha256):
        raise Corrupt(f"{written.name} does not read back as it was written")
    with open_part(place, written.name) as file:
        if file.metadata.num_rows != written.rows:
            raise Corrupt(f"{written.name} does not hold as many rows as were written")
        for number, expected in enumerate(written.groups):
            if not file.read_row_group(number, use_threads=False).equals(expected):
                raise Corrupt(f"{written.name} does not hold the rows that were written")


def open_part(place: Place, name: str) -> Any:
    """A warm file to read from; its pages are checked as they are read.

    Raises:
        NotFound: it is not there.
        Corrupt: it is no Parquet.
    """
    stream = place.open(name)
    path = getattr(stream, "name", None)
    source: Any = cast("Any", stream)
    if isinstance(path, str):
        stream.close()
        source = pa.OSFile(path)
    try:
        return parquet.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise Corrupt(f"{name} is not a whole Parquet file") from error


def row_groups(table: Any) -> list[Any]:
    """A table cut into row groups."""
    whole = table.combine_chunks()
    return [whole.slice(start, ROW_GROUP) for start in range(0, len(whole), ROW_GROUP)]


def full_groups(tables: Iterable[Any]) -> Iterator[Any]:
    """The rows of tables in row groups, of which only the last is not full."""
    held = SCHEMA.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table]).combine_chunks() if len(held) else table
        ready = len(held) - len(held) % ROW_GROUP
        yield from (held.slice(start, ROW_GROUP) for start in range(0, ready, ROW_GROUP))
        held = held.slice(ready)
    if len(held):
        yield held


def read_groups(
    file: Any, name: str, groups: Sequence[int], columns: Sequence[str] | None = None
) -> Any:
    """Row groups of an open file as a table of these columns, of :data:`SCHEMA` when not given."""
    wanted = list(SCHEMA.names if columns is None else columns)
    stored = [one for one in wanted if one != "kind"]
    table = file.read_row_groups(list(groups), columns=stored, use_threads=False)
    if "kind" in wanted:
        kind = kind_of(name)
        table = table.append_column("kind", pa.array([kind] * len(table), pa.string()))
    return table.select(wanted)


def read_part(file: Any, name: str, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """All of an open file, a row group at a time."""
    for number in range(file.num_row_groups):
        yield read_groups(file, name, [number], columns)
