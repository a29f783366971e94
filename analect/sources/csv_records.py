"""CSV (RFC 4180): one record a row, the same columns in the same order always.

Payload fields, tags, dimensions and measures are JSON text. A cell that a spreadsheet would run
as a formula gets an apostrophe in front, and loses it again on the way in.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec

from analect.model.errors import InvalidInput
from analect.model.flat import draft_from_flat, to_flat
from analect.model.record import NUMBER_FIELDS, PAYLOAD_FIELDS, Record
from analect.sources.columns import COLLECTIONS, COLUMNS
from analect.sources.line import MAX_LINE_BYTES, Line

_JSON = frozenset((*COLLECTIONS, *PAYLOAD_FIELDS))
_WHOLE = frozenset({"input_tokens", "output_tokens", "rating", "turn"})

_DANGEROUS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What starts a formula; the last four are the wide forms of the first four."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class CsvWriter:
    """Writes records to a binary stream, header first."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
        self._rows = csv.writer(self._text)
        self._rows.writerow(COLUMNS)

    def write(self, record: Record) -> None:
        """Append one row."""
        flat = to_flat(record)
        self._rows.writerow([_cell(name, flat.get(name)) for name in COLUMNS])

    def close(self) -> None:
        """Hand the rest to the stream, which stays open."""
        self._text.flush()
        self._text.detach()


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool) and name == "success":
        return "true" if value else "false"
    if name in NUMBER_FIELDS:
        return repr(value)
    return guard(_encode(value).decode() if name in _JSON else value)


def guard(text: str) -> str:
    """``text`` as a cell that no spreadsheet takes for a formula; :func:`unguard` undoes it."""
    start = text.lstrip(" ")[:1]
    return "'" + text if start in _DANGEROUS or text.startswith("'") else text


def unguard(cell: str) -> str:
    """The text that :func:`guard` was given."""
    if cell.startswith("'") and (cell[1:2] == "'" or cell[1:].lstrip(" ")[:1] in _DANGEROUS):
        return cell[1:]
    return cell


def read_csv(stream: IO[bytes], *, skip: int = 0) -> Iterator[Line]:
    """Every row of ``stream`` behind its header, after the first ``skip`` lines of the file.

    Columns may come in any order, and absent ones are "not said"; an unknown column is an error
    of every row. A row's number is that of its first line. A payload cell that is not JSON is
    taken as the text it is.

    Raises:
        InvalidInput: there is no header, or it names a column twice.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _read_rows(csv.reader(text), skip)
    finally:
        text.detach()  # the stream is the caller's to close


def _read_rows(rows: Any, skip: int) -> Iterator[Line]:
    header = next(rows, None)
    if not header:
        raise InvalidInput("the file has no header row: its first line must name the columns")
    if len(set(header)) != len(header):
        raise InvalidInput("the header names a column twice")
    while True:
        number = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield Line(number, None, InvalidInput("the row is not CSV (RFC 4180)"))
            continue
        if number <= skip or not row:
            continue
        try:
            yield Line(number, draft_from_flat(_flat(header, row), exported=True))
        except InvalidInput as error:
            yield Line(number, None, error)


def _flat(header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(header):
        raise InvalidInput(f"the row has {len(row)} cells and the header {len(header)}")
    return {
        name: _READERS.get(name, _text)(name, cell)
        for name, cell in zip(header, row, strict=True)
        if cell
    }


def _text(name: str, cell: str) -> str:
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name} is not UTF-8", field=name) from error
    return unguard(cell)


def _whole(name: str, cell: str) -> int:
    try:
        return int(cell)
    except ValueError as error:
        raise InvalidInput(f"{name} must be a whole number", field=name) from error


def _number(name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise InvalidInput(f"{name} must be a number", field=name) from error


def _truth(name: str, cell: str) -> bool:
    lowered = cell.lower()
    if lowered not in {"true", "false"}:
        raise InvalidInput(f"{name} must be true or false", field=name)
    return lowered == "true"


def _collection(name: str, cell: str) -> Any:
    try:
        return _decode(_text(name, cell))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"{name} must be JSON", field=name) from error


def _payload(name: str, cell: str) -> Any:
    plain = _text(name, cell)
    try:
        return _decode(plain)
    except msgspec.DecodeError:
        return plain
    except RecursionError as error:
        raise InvalidInput(f"{name} is nested too deeply", field=name) from error


_READERS: dict[str, Callable[[str, str], Any]] = {
    "success": _truth,
    **{name: _whole if name in _WHOLE else _number for name in NUMBER_FIELDS},
    **dict.fromkeys(COLLECTIONS, _collection),
    **dict.fromkeys(PAYLOAD_FIELDS, _payload),
}
