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

import msgspec

from analect.lifecycle.backup.channel import END, ERROR, PART, READ, READY, ROWS, SUM, Channel
from analect.lifecycle.backup.format import (
    Part,
    RowHash,
    Tally,
    cipher_of,
    compacted,
    unpack_row,
    unsealed,
)
from analect.lifecycle.places.place import Place
from analect.model.errors import AnalectError

_encode = msgspec.msgpack.Encoder().encode
_decode_rows = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_task = msgspec.msgpack.Decoder(tuple[bytes, list[tuple[str, bytes]], int]).decode


@dataclass(frozen=True, slots=True)
class Helper:
    """Does what it is told, one thing after another."""

    place: Place
    hashing: RowHash
    channel: Channel

    def run(self) -> None:
        """Until there is no more."""
        while (told := self.channel.receive()) is not None:
            kind, body = told
            try:
                if kind == READ:
                    self._read(body)
                else:
                    self._sum(told)
            except AnalectError as error:
                self.channel.send(ERROR, pickle.dumps(error))

    def _read(self, body: memoryview) -> None:
        """Every chunk of some objects, but for the first ones."""
        keyset, objects, behind = _decode_task(body)
        cipher = cipher_of(keyset)
        for path, bound in objects:
            for number, done, packed in unsealed(self.place, path, cipher, bound):
                if behind:
                    behind -= 1
                    continue
                part = Part(number, done, *compacted(list(map(unpack_row, packed))))
                self.channel.send(PART, _encode(part))
        self.channel.send(END)

    def _sum(self, told: tuple[int, memoryview] | None) -> None:
        """The sum of the hashes of rows, these and those that follow."""
        tally = Tally(self.hashing)
        while told is not None and told[0] == ROWS:
            tally.add(_decode_rows(told[1]))
            told = self.channel.receive()
        self.channel.send(SUM, _encode(tally.sum))


def main() -> None:
    """Serve the process that started this one."""
    # Nothing here makes cycles, and looking for some goes through every row.
    gc.disable()
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever else is written there
    channel = Channel(source, answers, int(sys.argv[1]), first=False)
    try:
        if (begin := channel.receive()) is not None:
            place, hashing = pickle.loads(begin[1])  # noqa: S301  (of the process that started this one)
            channel.send(READY)
            Helper(place, hashing, channel).run()
    except BrokenPipeError:
        sys.exit(1)  # nobody waits for an answer any more


if __name__ == "__main__":
    main()
