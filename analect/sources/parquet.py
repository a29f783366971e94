"""Parquet with typed columns, for those who analyse: times are timestamps, tags a list,
dimensions and measures maps, payload fields JSON text. Needs the extra ``archive``.
"""

from __future__ import annotations

from typing import IO, Any

import msgspec

from analect.model.errors import ConfigurationError
from analect.model.record import NUMBER_FIELDS, PAYLOAD_FIELDS, TEXT_FIELDS, Record
from analect.sources.columns import COLUMNS

ROW_GROUP = 5_000
_WHOLE = frozenset({"input_tokens", "output_tokens", "turn"})
_encode = msgspec.json.Encoder().encode


class ParquetWriter:
    """Writes records to a binary stream, ``ROW_GROUP`` at a time."""

    def __init__(self, stream: IO[bytes]) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise ConfigurationError(
                "Parquet needs pyarrow: install it with `pip install 'analect[archive]'`"
            ) from error
        self._arrow = pa
        self._schema = _schema(pa)
        self._file = parquet.ParquetWriter(stream, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, record: Record) -> None:
        """Append one row."""
        self._rows.append(_row(record))
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write the rest and the file's footer; the stream stays open."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()


def _schema(pa: Any) -> Any:
    moment = pa.timestamp("us", tz="UTC")

    def number(name: str) -> Any:
        if name == "rating":
            return pa.int8()
        return pa.int64() if name in _WHOLE else pa.float64()

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("occurred_at", moment, nullable=False),
            pa.field("received_at", moment, nullable=False),
            *((name, pa.string()) for name in ("external_id", *TEXT_FIELDS)),
            ("success", pa.bool_()),
            *((name, number(name)) for name in NUMBER_FIELDS),
            ("tags", pa.list_(pa.string())),
            ("dimensions", pa.map_(pa.string(), pa.string())),
            ("measures", pa.map_(pa.string(), pa.float64())),
            *((name, pa.string()) for name in PAYLOAD_FIELDS),
            ("payload_state", pa.string()),
            ("tier", pa.string()),
        ]
    )


def _row(record: Record) -> dict[str, Any]:
    row = {name: getattr(record, name) for name in COLUMNS}
    row["tags"] = list(record.tags)
    row["dimensions"] = list(record.dimensions.items())
    row["measures"] = [(name, float(value)) for name, value in record.measures.items()]
    for name in PAYLOAD_FIELDS:
        row[name] = None if row[name] is None else _encode(row[name]).decode()
    return row
