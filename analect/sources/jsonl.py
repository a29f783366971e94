"""JSON Lines: one flat JSON object of the contract a line, UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import msgspec

from analect.model.errors import InvalidInput, TooLarge
from analect.model.flat import draft_from_flat, to_flat
from analect.model.record import Record
from analect.sources.line import MAX_LINE_BYTES, Line

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class JsonLinesWriter:
    """Writes records to a binary stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, record: Record) -> None:
        """Append one record."""
        self.write_object(to_flat(record))

    def write_object(self, flat: dict[str, Any]) -> None:
        """Append one JSON object."""
        self._stream.write(_encode(flat) + b"\n")

    def close(self) -> None:
        """Nothing is left to write."""


def read_json_lines(stream: IO[bytes], *, skip: int = 0) -> Iterator[Line]:
    """Every line of ``stream`` that is not blank, after the first ``skip`` lines.

    A wrong line is given back with its error, in its place; reading goes on behind it.
    """
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES):
        number += 1
        whole = _finish_long_line(stream, raw)
        if number <= skip or not raw.strip():
            continue
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            if not whole:
                raise TooLarge(f"the line is over {MAX_LINE_BYTES >> 20} MiB")
            yield Line(number, draft_from_flat(_parse(raw), exported=True))
        except InvalidInput as error:
            yield Line(number, None, error)


def _finish_long_line(stream: IO[bytes], raw: bytes) -> bool:
    """Read past the rest of a line that did not fit; whether it fitted."""
    if raw.endswith(b"\n") or len(raw) < MAX_LINE_BYTES:
        return True
    while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        continue
    return False


def _parse(raw: bytes) -> Any:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("the line is not JSON (RFC 8259, UTF-8)") from error
