"""Rows without their empty columns, and messages between two processes."""

from __future__ import annotations

import os
import threading

from analect.lifecycle.backup.channel import PART, ROWS, SLOT, SLOTS, Channel, shared_memory
from analect.lifecycle.backup.format import compacted, widened


def test_columns_that_are_empty_in_all_rows_are_left_out_and_come_back():
    rows = [(1, None, None, "a"), (2, None, b"", None)]
    held, fewer = compacted(rows)
    assert held == (0, 2, 3)
    assert fewer == [(1, None, "a"), (2, b"", None)]
    assert widened(held, fewer, 4) == rows
    assert compacted([]) == ((), [])
    whole = [(1, 2)]
    assert compacted(whole) == ((0, 1), whole)
    assert widened((0, 1), whole, 2) is whole


class Ends:
    """Two ends of a channel, the second answered by a thread."""

    def __init__(self, answer):
        memory = shared_memory()
        pipes = [os.pipe(), os.pipe()]
        streams = [(os.fdopen(r, "rb", 0), os.fdopen(w, "wb", 0)) for r, w in pipes]
        (there, to), (here, back) = streams
        self.first = Channel(here, to, memory, first=True)
        self._files = [to, here]
        self._thread = threading.Thread(
            target=self._serve,
            args=(Channel(there, back, memory, first=False), answer, there, back),
        )
        os.close(memory)
        self._thread.start()

    def _serve(self, channel, answer, *files):
        answer(channel)
        for file in files:
            file.close()

    def close(self):
        for file in self._files:
            file.close()
        self._thread.join()


def test_messages_of_any_size_arrive_in_order():
    sizes = [0, 1, SLOT, SLOT + 1, 0, 7, *range(1, 3 * SLOTS)]
    bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
    heard = []

    def echo(channel):
        while (told := channel.receive()) is not None:
            heard.append((told[0], bytes(told[1])))
            if told[0] == PART:
                for body in bodies:
                    channel.send(PART, body)

    ends = Ends(echo)
    for body in bodies:
        ends.first.send(ROWS, body)
    ends.first.send(PART)
    answers = []
    for _ in bodies:
        kind, body = ends.first.receive()
        assert kind == PART
        answers.append(bytes(body))
    ends.close()
    assert answers == bodies
    assert heard == [*((ROWS, body) for body in bodies), (PART, b"")]


def test_an_end_that_is_gone_is_told():
    ends = Ends(lambda channel: channel.receive())
    ends.first.send(ROWS, b"x")
    assert ends.first.receive() is None
    ends.close()
