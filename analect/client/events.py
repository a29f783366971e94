"""Server-sent events out of the bytes of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class EventStream:
    """One stream, fed as its bytes come; comments are skipped.

    Lines end at line feeds only: JSON may hold what Unicode calls a line separator.
    """

    _rest: bytes = b""
    _id: str | None = None
    _data: list[bytes] = field(default_factory=list)

    def feed(self, chunk: bytes) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """(id, data) of every event that ends in ``chunk``."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            name, _, value = line.removesuffix(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
            elif name == b"id":
                self._id = value.decode()
            elif not line.strip() and self._data:
                yield self._id, json.loads(b"\n".join(self._data))
                self._data = []
