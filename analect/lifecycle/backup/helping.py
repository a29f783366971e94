"""The process beside a restore: ``python -m analect.lifecycle.backup.helping``.

It reads what a restore writes, and hashes what the database gives back, while the other one talks
to the database. It is told everything over standard input, keys too, and answers over standard
output; when its input ends, so does it. What it imports is little, for a restore waits for it.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from analect.lifecycle.backup.format import (
    Part,
    Tally,
    cipher_of,
    compacted,
    unpack_row,
    unsealed,
)
from analect.lifecycle.backup.frames import END, ERROR, PART, READ, ROWS, SUM, receive, send
from analect.lifecycle.places.place import Place
from analect.model.errors import AnalectError

_encode = msgspec.msgpack.Encoder().encode
_decode_rows = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_task = msgspec.msgpack.Decoder(tuple[bytes, list[tuple[str, bytes]]]).decode


@dataclass(frozen=True, slots=True)
class Helper:
    """Does what comes in, frame by frame."""

    place: Place
    key: bytes
    source: BinaryIO
    answers: BinaryIO

    def run(self) -> None:
        """Until there is no more."""
        while (frame := receive(self.source)) is not None:
            kind, body = frame
            try:
                if kind == READ:
                    self._read(body)
                else:
                    self._sum(frame)
            except AnalectError as error:
                send(self.answers, ERROR, pickle.dumps(error))

    def _read(self, body: bytearray) -> None:
        """Every chunk of some objects."""
        keyset, objects = _decode_task(body)
        cipher = cipher_of(keyset)
        for path, bound in objects:
            for number, done, packed in unsealed(self.place, path, cipher, bound):
                part = Part(number, done, *compacted(list(map(unpack_row, packed))))
                send(self.answers, PART, _encode(part))
        send(self.answers, END)

    def _sum(self, frame: tuple[int, bytearray] | None) -> None:
        """The sum of the hashes of rows, these and those that follow."""
        tally = Tally(self.key)
        while frame is not None and frame[0] == ROWS:
            tally.add(_decode_rows(frame[1]))
            frame = receive(self.source)
        send(self.answers, SUM, _encode(tally.sum))


def main() -> None:
    """Serve the process that started this one."""
    # Nothing here makes cycles, and looking for some goes through every row.
    gc.disable()
    source: Any = os.fdopen(os.dup(0), "rb", buffering=0)
    answers: Any = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        begin = receive(source)
        if begin is not None:
            place, key = pickle.loads(begin[1])  # noqa: S301  (of the process that started this one)
            Helper(place, key, source, answers).run()
    except BrokenPipeError:
        sys.exit(1)  # nobody waits for an answer any more


if __name__ == "__main__":
    main()
